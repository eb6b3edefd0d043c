/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread that does a disk controller's I/O: a loop and a ring of its own. And how fast a disk may be.
 *
 * Threads: open and close by the machine's main thread; what is called back runs on the I/O thread.
 */
#ifndef VMM_IO_THREAD_H
#define VMM_IO_THREAD_H

#include "disk/vdisk.h"
#include "loop.h"

/* A request that waits until the disk may go on. */
struct io_delayed {
    struct io_delayed *next;
    uint64_t start;
    void (*begin)(struct io_delayed *delayed);
};

struct io_thread {
    struct loop_thread thread;
    struct vdisk_ring *ring;
    int error; /* of opening the ring */
    struct loop_source completed;
    struct loop_hook hook;
    void (*polled)(void *owner); /* after io has completed: what was pushed is to be signalled; may be NULL */
    void *owner;
    struct loop_source timer;   /* for the first that is delayed */
    struct io_delayed *delayed; /* by start */
};

/* The ring is polled whenever the loop is about to wait. */
int io_thread_open(struct io_thread *io, const char *name, void (*polled)(void *owner), void *owner);
void io_thread_close(struct io_thread *io); /* nothing is in flight */

/* Runs function on the thread and returns when it has. */
static inline void io_thread_call(struct io_thread *io, void (*function)(void *owner), void *owner)
{
    loop_call(&io->thread.loop, function, owner);
}

/* On the thread: begin is called at start; and takes one back before that, or NULL: there is none. */
void io_thread_delay(struct io_thread *io, struct io_delayed *delayed, uint64_t start);
struct io_delayed *io_thread_undelay(struct io_thread *io);

/* ---- Limits, shared by all queues of a disk; any thread, no lock ---- */

struct throttle {
    uint64_t iops, bytes_per_second;        /* 0: no limit */
    _Atomic uint64_t iops_next, bytes_next; /* when the next request may begin, nanoseconds of the monotonic clock */
};

uint64_t throttle_now(void);

/* When a request of so many bytes that comes now may begin; 0: at once. Times never go back. What was not used is saved
 * for a tenth of a second. */
uint64_t throttle_take(struct throttle *throttle, uint64_t bytes);

#endif
