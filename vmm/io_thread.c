/* SPDX-License-Identifier: BSD-2-Clause */
/* I/O threads and limits: see io_thread.h. */
#include <string.h>
#include <time.h>

#include "io_thread.h"

#define SECOND UINT64_C(1000000000)
#define SAVED (SECOND / 10)

static bool before_wait(void *owner)
{
    struct io_thread *io = owner;

    if (vdisk_ring_poll(io->ring, false) == 0)
        return false;
    if (io->polled)
        io->polled(io->owner);
    return true;
}

/* ---- What is delayed ---- */

static void timer_set(struct io_thread *io)
{
    uint64_t now = throttle_now();

    if (io->delayed)
        loop_timer_set(&io->timer, io->delayed->start > now ? io->delayed->start - now : 1, 0);
}

static void timer_ready(struct loop_source *source)
{
    struct io_thread *io = source->owner;
    uint64_t now = throttle_now();

    loop_timer_clear(source);
    while (io->delayed && io->delayed->start <= now) {
        struct io_delayed *delayed = io_thread_undelay(io);

        delayed->begin(delayed);
    }
    timer_set(io);
    if (io->polled)
        io->polled(io->owner);
}

void io_thread_delay(struct io_thread *io, struct io_delayed *delayed, uint64_t start)
{
    struct io_delayed **link = &io->delayed;

    while (*link && (*link)->start <= start)
        link = &(*link)->next;
    delayed->start = start;
    delayed->next = *link;
    *link = delayed;
    if (io->delayed == delayed)
        timer_set(io);
}

struct io_delayed *io_thread_undelay(struct io_thread *io)
{
    struct io_delayed *delayed = io->delayed;

    if (delayed)
        io->delayed = delayed->next;
    return delayed;
}

/* ---- The thread ---- */

static void begin(void *owner)
{
    struct io_thread *io = owner;

    io->error = vdisk_ring_open(0, VDISK_BACKEND_AUTO, &io->ring);
    if (io->error)
        return;
    io->completed = (struct loop_source){vdisk_ring_fd(io->ring), NULL, io};
    io->error = loop_add(&io->thread.loop, &io->completed, EPOLLIN);
    if (io->error == 0)
        io->error = loop_add(&io->thread.loop, &io->timer, EPOLLIN);
    if (io->error) {
        vdisk_ring_close(io->ring);
        return;
    }
    io->hook = (struct loop_hook){.before_wait = before_wait, .owner = io};
    loop_hook_add(&io->thread.loop, &io->hook);
}

int io_thread_open(struct io_thread *io, const char *name, void (*polled)(void *owner), void *owner)
{
    int err;

    memset(io, 0, sizeof(*io));
    io->polled = polled;
    io->owner = owner;
    err = loop_timer_open(&io->timer, timer_ready, io);
    if (err < 0)
        return err;
    err = loop_thread_open(&io->thread, name, NULL, NULL);
    if (err < 0)
        goto close_timer;
    io_thread_call(io, begin, io);
    err = io->error;
    if (err < 0)
        goto close_thread;
    return 0;

close_thread:
    loop_thread_close(&io->thread);
close_timer:
    loop_timer_close(&io->timer);
    return err;
}

void io_thread_close(struct io_thread *io)
{
    loop_thread_close(&io->thread);
    vdisk_ring_close(io->ring);
    loop_timer_close(&io->timer);
}

/* ---- Limits ---- */

uint64_t throttle_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* Each request moves the time at which the next may begin on by what it costs. */
static uint64_t take(_Atomic uint64_t *next, uint64_t now, uint64_t cost)
{
    uint64_t before = atomic_load(next), start;

    do {
        start = before > now - SAVED ? before : now - SAVED;
    } while (!atomic_compare_exchange_weak(next, &before, start + cost));
    return start;
}

uint64_t throttle_take(struct throttle *throttle, uint64_t bytes)
{
    uint64_t start = 0, other, now;

    if (throttle->iops == 0 && throttle->bytes_per_second == 0)
        return 0;
    now = throttle_now();
    if (throttle->iops)
        start = take(&throttle->iops_next, now, SECOND / throttle->iops);
    if (throttle->bytes_per_second && bytes) {
        other =
            take(&throttle->bytes_next, now, (uint64_t)((double)bytes * SECOND / (double)throttle->bytes_per_second));
        if (other > start)
            start = other;
    }
    return start > now ? start : 0;
}
