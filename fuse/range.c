/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock of ranges. Lists: there are as many ranges as requests in flight, some tens. */
#include "range.h"

#include <assert.h>
#include <stddef.h>

#include "disk/mutant.h"

void range_init(struct range_lock *lock)
{
    *lock = (struct range_lock){.tail = &lock->waiting};
    pthread_mutex_init(&lock->lock, NULL);
}

static bool conflicts(const struct range *a, const struct range *b)
{
    return (a->exclusive || b->exclusive) && a->begin < b->end && b->begin < a->end;
}

/* Does anything in the list up to end stand in the way? */
static bool blocked(const struct range *list, const struct range *end, const struct range *range)
{
    for (; list && list != end; list = list->next)
        if (conflicts(list, range))
            return true;
    return false;
}

static void hold(struct range_lock *lock, struct range *range)
{
    range->next = lock->held;
    lock->held = range;
}

bool range_take(struct range_lock *lock, struct range *range)
{
    bool taken;

    pthread_mutex_lock(&lock->lock);
    taken = MUTANT("range-not-locked") || (lock->exclusive == 0 && !range->exclusive) ||
            (!blocked(lock->held, NULL, range) && !blocked(lock->waiting, NULL, range));
    lock->exclusive += range->exclusive;
    if (taken) {
        hold(lock, range);
    } else {
        range->next = NULL;
        *lock->tail = range;
        lock->tail = &range->next;
    }
    pthread_mutex_unlock(&lock->lock);
    return taken;
}

/* Takes out of waiting what nothing stands in the way of any more; returns it as a list. */
static struct range *grant(struct range_lock *lock)
{
    struct range **at = &lock->waiting, *granted = NULL, *range;

    while ((range = *at)) {
        if (blocked(lock->held, NULL, range) || blocked(granted, NULL, range) ||
            blocked(lock->waiting, range, range)) {
            at = &range->next;
            continue;
        }
        *at = range->next;
        range->next = granted;
        granted = range;
    }
    lock->tail = at;
    return granted;
}

void range_give(struct range_lock *lock, struct range *range)
{
    struct range **at, *granted, *next;

    pthread_mutex_lock(&lock->lock);
    for (at = &lock->held; *at != range; at = &(*at)->next)
        assert(*at);
    *at = range->next;
    lock->exclusive -= range->exclusive;
    granted = lock->waiting ? grant(lock) : NULL;
    for (struct range *each = granted; each; each = next) {
        next = each->next;
        hold(lock, each);
        each->granted(each);
    }
    pthread_mutex_unlock(&lock->lock);
}
