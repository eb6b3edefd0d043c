/* SPDX-License-Identifier: BSD-2-Clause */
/* How fast something may be, shared by all who use it: any thread, no lock. */
#ifndef BASE_THROTTLE_H
#define BASE_THROTTLE_H

#include <stdatomic.h>
#include <stdint.h>

struct throttle {
    uint64_t iops, bytes_per_second;        /* 0: no limit */
    _Atomic uint64_t iops_next, bytes_next; /* when the next request may begin, nanoseconds of the monotonic clock */
};

/* When a request of so many bytes may begin, by the same clock; 0: at once. It takes its part of what may be. What was
 * not used is saved for a tenth of a second. */
uint64_t throttle_reserve(struct throttle *throttle, uint64_t bytes);

#endif
