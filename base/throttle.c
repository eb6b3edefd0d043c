/* SPDX-License-Identifier: BSD-2-Clause */
#include "throttle.h"

#include "loop.h"

#define SECOND UINT64_C(1000000000)
#define SAVED (SECOND / 10)

/* When a request may begin: each moves that time on by what it costs. */
static uint64_t reserve(_Atomic uint64_t *next, uint64_t time, uint64_t cost)
{
    uint64_t before = atomic_load(next), start;

    do {
        start = before > time - SAVED ? before : time - SAVED;
    } while (!atomic_compare_exchange_weak(next, &before, start + cost));
    return start;
}

uint64_t throttle_reserve(struct throttle *throttle, uint64_t bytes)
{
    uint64_t time = throttle->iops || throttle->bytes_per_second ? loop_now() : 0, start = 0, other;

    if (throttle->iops)
        start = reserve(&throttle->iops_next, time, SECOND / throttle->iops);
    if (throttle->bytes_per_second && bytes) {
        other = reserve(&throttle->bytes_next, time,
                        (uint64_t)((double)bytes * SECOND / (double)throttle->bytes_per_second));
        start = other > start ? other : start;
    }
    return start > time ? start : 0;
}
