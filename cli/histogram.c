/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/histogram.h"

#define QUANTILE_PARTS 100000
#define LINEAR (UINT64_C(1) << HISTOGRAM_BITS)

static unsigned bucket_of(uint64_t value)
{
    unsigned shift;

    if (value < LINEAR)
        return (unsigned)value;
    shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_BITS;
    return (unsigned)((shift + 1) << HISTOGRAM_BITS) + (unsigned)((value >> shift) - LINEAR);
}

/* The largest value of a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    unsigned shift;

    if (bucket < LINEAR)
        return bucket;
    shift = (bucket >> HISTOGRAM_BITS) - 1;
    return (((bucket & (LINEAR - 1)) + LINEAR) << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->bucket[bucket_of(value)]++;
    if (h->count == 0 || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->count++;
    h->sum += value;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (from->count == 0)
        return;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    into->sum += from->sum;
}

uint64_t histogram_quantile(const struct histogram *h, unsigned parts)
{
    uint64_t wanted = (h->count * parts + QUANTILE_PARTS - 1) / QUANTILE_PARTS, seen = 0;

    if (wanted == 0)
        return h->min;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= wanted)
            return bucket_top(i) < h->max ? bucket_top(i) : h->max;
    }
    return h->max;
}
