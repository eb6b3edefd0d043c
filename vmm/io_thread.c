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

/* The hook, which runs before each wait, does what there is to do. */
static void completed(struct loop_source *source, uint32_t events)
{
    (void)source;
    (void)events;
}

static void begin(void *owner)
{
    struct io_thread *io = owner;

    io->error = vdisk_ring_open(0, VDISK_BACKEND_AUTO, &io->ring);
    if (io->error)
        return;
    io->completed = (struct loop_source){vdisk_ring_fd(io->ring), completed, io};
    io->error = loop_add(&io->thread.loop, &io->completed, EPOLLIN);
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
    err = loop_thread_open(&io->thread, name, NULL, NULL);
    if (err)
        return err;
    io_thread_call(io, begin, io);
    if (io->error)
        loop_thread_close(&io->thread);
    return io->error;
}

void io_thread_close(struct io_thread *io)
{
    loop_thread_close(&io->thread);
    vdisk_ring_close(io->ring);
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

uint64_t throttle_take(struct throttle *throttle, uint64_t now, uint64_t bytes)
{
    uint64_t start = 0, other;

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
