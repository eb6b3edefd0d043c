/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock of ranges that nobody waits for by blocking: who does not get one at once is called when it is granted.
 *
 * Aligned writes of the same sectors may meet, as on any disk. A write that covers a part of a sector reads, changes and
 * writes it: between its read and its write nobody else may write there. So writers share, and such a one excludes.
 * First come, first served, where ranges overlap.
 */
#ifndef FUSE_RANGE_H
#define FUSE_RANGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct range {
    struct range *next;
    uint64_t begin, end;
    bool exclusive;
    void (*granted)(struct range *range); /* by who gave back what stood in the way, under the lock: it only passes on */
};

struct range_lock {
    pthread_mutex_t lock;
    struct range *held, *waiting, **tail; /* waiting: in the order of arrival */
    unsigned exclusive;                   /* how many of both */
};

void range_init(struct range_lock *lock);

/* True: taken now. False: granted will be called. The range is lent until range_give. */
bool range_take(struct range_lock *lock, struct range *range);
void range_give(struct range_lock *lock, struct range *range);

#endif
