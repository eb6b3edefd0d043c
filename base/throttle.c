/* SPDX-License-Identifier: BSD-2-Clause */
#include "throttle.h"

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

static void timer_set(struct throttle_line *line)
{
    uint64_t time = loop_now();

    if (line->first)
        loop_timer_set(&line->timer, line->first->start > time ? line->first->start - time : 1, 0);
}

static void timer_ready(struct loop_source *source)
{
    struct throttle_line *line = source->owner;
    uint64_t time = loop_now();

    loop_timer_clear(source);
    while (line->first && line->first->start <= time)
        line->turn(throttle_line_take(line));
    timer_set(line);
}

int throttle_line_open(struct throttle_line *line, void (*turn)(struct throttle_wait *wait))
{
    *line = (struct throttle_line){.turn = turn};
    return loop_timer_open(&line->timer, timer_ready, line);
}

void throttle_line_close(struct throttle_line *line)
{
    loop_timer_close(&line->timer);
}

bool throttle_line_enter(struct throttle_line *line, struct throttle *throttle, uint64_t bytes,
                         struct throttle_wait *wait)
{
    struct throttle_wait **link = &line->first;

    wait->start = throttle_reserve(throttle, bytes);
    if (wait->start == 0)
        return false;
    while (*link && (*link)->start <= wait->start)
        link = &(*link)->next;
    wait->next = *link;
    *link = wait;
    if (line->first == wait)
        timer_set(line);
    return true;
}

struct throttle_wait *throttle_line_take(struct throttle_line *line)
{
    struct throttle_wait *wait = line->first;

    if (wait)
        line->first = wait->next;
    return wait;
}
