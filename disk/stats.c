/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

#include <string.h>
#include <sys/mman.h>

#include "disk.h"

#define PART_BITS 3 /* eight buckets to each power of two */
#define PARTS (1u << PART_BITS)

struct counters {
    _Atomic uint64_t count, errors, bytes, nanoseconds;
    _Atomic uint64_t latency[VDISK_STATS_BUCKETS];
};

struct stats {
    struct {
        _Alignas(64) struct counters op[STATS_OPS];
    } slot[DISK_EPOCH_SLOTS];
};

static unsigned bucket_of(uint64_t value)
{
    unsigned shift, bucket;

    if (value < PARTS)
        return (unsigned)value;
    shift = 63 - (unsigned)__builtin_clzll(value) - PART_BITS;
    bucket = ((shift + 1) << PART_BITS) + (unsigned)((value >> shift) - PARTS);
    return bucket < VDISK_STATS_BUCKETS ? bucket : VDISK_STATS_BUCKETS - 1;
}

uint64_t vdisk_stats_bound(unsigned bucket)
{
    unsigned shift;

    if (bucket < PARTS)
        return bucket;
    shift = (bucket >> PART_BITS) - 1;
    return ((((uint64_t)bucket & (PARTS - 1)) + PARTS) << shift) + ((UINT64_C(1) << shift) - 1);
}

uint64_t vdisk_stats_quantile(const struct vdisk_stats_op *op, double part)
{
    uint64_t total = 0, seen = 0;

    for (unsigned i = 0; i < VDISK_STATS_BUCKETS; i++)
        total += op->latency[i];
    for (unsigned i = 0; i < VDISK_STATS_BUCKETS; i++) {
        seen += op->latency[i];
        if (op->latency[i] > 0 && (double)seen >= part * (double)total)
            return vdisk_stats_bound(i);
    }
    return 0;
}

/* Zeroed pages, of which only those take memory where something is counted. */
struct stats *stats_open(void)
{
    struct stats *stats = mmap(NULL, sizeof(*stats), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return stats == MAP_FAILED ? NULL : stats;
}

void stats_close(struct stats *stats)
{
    if (stats)
        munmap(stats, sizeof(*stats));
}

static void add(_Atomic uint64_t *counter, uint64_t value)
{
    atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

void stats_add(struct stats *stats, unsigned slot, const struct vdisk_io *io, int error, uint64_t nanoseconds)
{
    struct counters *counters;

    if (io->op > VDISK_FLUSH)
        return;
    counters = &stats->slot[slot].op[io->op];
    add(&counters->count, 1);
    add(&counters->nanoseconds, nanoseconds);
    add(&counters->latency[bucket_of(nanoseconds)], 1);
    if (error)
        add(&counters->errors, 1);
    else
        add(&counters->bytes, io->length);
}

void stats_sum(const struct stats *stats, struct vdisk_stats *sum)
{
    memset(sum, 0, sizeof(*sum));
    for (unsigned slot = 0; slot < DISK_EPOCH_SLOTS; slot++)
        for (unsigned i = 0; i < STATS_OPS; i++) {
            const struct counters *counters = &stats->slot[slot].op[i];
            struct vdisk_stats_op *op = &sum->op[i];

            op->count += atomic_load_explicit(&counters->count, memory_order_relaxed);
            op->errors += atomic_load_explicit(&counters->errors, memory_order_relaxed);
            op->bytes += atomic_load_explicit(&counters->bytes, memory_order_relaxed);
            op->nanoseconds += atomic_load_explicit(&counters->nanoseconds, memory_order_relaxed);
            for (unsigned b = 0; b < VDISK_STATS_BUCKETS; b++)
                op->latency[b] += atomic_load_explicit(&counters->latency[b], memory_order_relaxed);
        }
}
