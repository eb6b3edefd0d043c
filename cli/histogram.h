/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts of durations in log-linear buckets: 64 to each power of two, so that no answer is off by more than 1/64. */
#ifndef CLI_HISTOGRAM_H
#define CLI_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS 6
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)

/* Zeroed: empty. One thread at a time. */
struct histogram {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t count, sum, min, max;
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The smallest value that parts of 100000 do not exceed; 0 where there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, unsigned parts);

#endif
