/* SPDX-License-Identifier: BSD-2-Clause */
#include <time.h>

#include "disk.h"
#include "pace.h"

#define SECOND INT64_C(1000000000)
#define CARRY (SECOND / 10) /* of time that was not used */
#define NAP (SECOND / 50)   /* at most, before it is looked whether the work is cancelled */

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

void pace_begin(struct pace *pace, uint64_t rate)
{
    *pace = (struct pace){.rate = rate, .due = now()};
}

void pace_keep(struct pace *pace, uint64_t done, const struct vdisk_progress *progress)
{
    double cost = pace->rate > 0 ? (double)(done - pace->done) * (double)SECOND / (double)pace->rate : 0;
    int64_t time = now();

    pace->done = done;
    if (pace->rate == 0)
        return;
    pace->due = cost < (double)(INT64_MAX - pace->due) ? pace->due + (int64_t)cost : INT64_MAX;
    for (; time < pace->due && !disk_cancelled(progress); time = now()) {
        int64_t left = pace->due - time;
        struct timespec nap = {.tv_nsec = left < NAP ? left : NAP};

        nanosleep(&nap, NULL);
    }
    if (pace->due < time - CARRY)
        pace->due = time - CARRY;
}
