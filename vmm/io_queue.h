/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request queue of a disk controller: a thread with a loop and a ring of its own, and a slot for each request.
 *
 * A request is popped into a slot, of which there are more than descriptors, and stays there until it is given back.
 *
 * Threads: open, close and reset by whoever holds the machine's lock; everything else is on the queue's thread.
 */
#ifndef VMM_IO_QUEUE_H
#define VMM_IO_QUEUE_H

#include "base/loop.h"
#include "base/throttle.h"
#include "disk/vdisk.h"
#include "virtio.h"

#define IO_SEGMENTS 126u /* of data; a header and a status besides */

struct io_queue;

/* The device's request begins with one. */
struct io_slot {
    struct throttle_wait wait; /* first */
    struct io_queue *queue;
    struct io_slot *next; /* free */
    struct virtio_chain chain;
    struct iovec iov[IO_SEGMENTS + 2];
};

struct io_queue_ops {
    size_t slot_size;

    /* A request has been popped: it is begun or given back. Text: it is beyond repair, and the queue with it. */
    const char *(*take)(struct io_slot *slot);

    /* A request that was begun may go on now; or, where the queue is drained before its turn, never does. */
    void (*submit)(struct io_slot *slot);
    void (*give_up)(struct io_slot *slot);
};

struct io_queue {
    const struct io_queue_ops *ops;
    struct virtio_queue *virtio;
    bool confined; /* its thread narrows itself: sandbox.h */
    struct loop_thread thread;
    struct vdisk_ring *ring; /* polled whenever the loop is about to wait */
    int error;               /* of opening it */
    struct loop_source completed;
    struct loop_hook hook;
    struct throttle_line delayed; /* requests that are not begun yet */
    struct io_slot *free;
    unsigned taken, used; /* slots that hold a request, and that ever held one */
    void *slots;
};

/* How many queues a controller has: as many as were asked for, or one a processor and at most four. */
unsigned io_queues_wanted(const struct machine *machine, unsigned asked, unsigned most);

/* For the device's queue of that number; its thread may do no more than I/O where the device is in a machine. */
int io_queue_open(struct io_queue *queue, struct virtio_device *device, unsigned index, const char *name,
                  const struct io_queue_ops *ops);
void io_queue_close(struct io_queue *queue); /* nothing is in flight. One that was not opened is left alone */

void io_queue_kick(struct io_queue *queue);

/* Gives the request back to the driver, with so many bytes written; the slot is free. */
void io_slot_push(struct io_slot *slot, size_t written);

/* Returns when nothing is in flight: what is delayed is given up. Reset (any thread) forgets that. */
void io_queue_drain(void *queue);
void io_queue_reset(struct io_queue *queue);

/* Submits a request of so many bytes as soon as the disk may go on. */
void io_slot_begin(struct io_slot *slot, struct throttle *throttle, uint64_t bytes);

#endif
