/* SPDX-License-Identifier: BSD-2-Clause */
/* The request queues of disk controllers: see io_queue.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/sandbox.h"
#include "disk/mutant.h"
#include "io_queue.h"
#include "machine.h"

#define QUEUES 4u                     /* as long as nobody asks for more */
#define SLOTS (VIRTIO_QUEUE_SIZE + 1) /* those that may be in flight, and one to look for the next */

/* ---- Slots ---- */

/* One given back, while its memory is warm, or else one that never was used, of whose memory nothing has been touched. */
static struct io_slot *slot_take(struct io_queue *queue)
{
    struct io_slot *slot = queue->free;

    assert(slot || queue->used < SLOTS);
    if (slot)
        queue->free = slot->next;
    else
        slot = (struct io_slot *)((char *)queue->slots + queue->used++ * queue->ops->slot_size);
    slot->queue = queue;
    queue->taken++;
    return slot;
}

static void slot_free(struct io_slot *slot)
{
    slot->next = slot->queue->free;
    slot->queue->free = slot;
    slot->queue->taken--;
}

void io_slot_push(struct io_slot *slot, size_t written)
{
    virtio_queue_push(slot->queue->virtio, &slot->chain, written);
    slot_free(slot);
}

void io_queue_kick(struct io_queue *queue)
{
    for (;;) {
        struct io_slot *slot = slot_take(queue);
        const char *why;

        slot->chain = (struct virtio_chain){.iov = slot->iov, .iov_max = IO_SEGMENTS + 2};
        if (!virtio_queue_next(queue->virtio, &slot->chain)) {
            slot_free(slot);
            return;
        }
        why = queue->ops->take(slot);
        if (why) {
            slot_free(slot);
            virtio_queue_break(queue->virtio, why);
        }
    }
}

/* ---- Limits ---- */

void io_slot_begin(struct io_slot *slot, struct throttle *throttle, uint64_t bytes)
{
    if (!throttle_line_enter(&slot->queue->delayed, throttle, bytes, &slot->wait))
        slot->queue->ops->submit(slot);
}

static void turn(struct throttle_wait *wait)
{
    struct io_slot *slot = (struct io_slot *)wait;
    struct io_queue *queue = slot->queue;

    queue->ops->submit(slot);
    virtio_queue_signal(queue->virtio);
}

/* ---- Waiting ---- */

void io_queue_drain(void *owner)
{
    struct io_queue *queue = owner;
    struct throttle_wait *wait;

    while ((wait = throttle_line_take(&queue->delayed)))
        queue->ops->give_up((struct io_slot *)wait);
    while (queue->taken > 0 && !MUTANT("queue-reset-in-flight"))
        vdisk_ring_poll(queue->ring, true);
    virtio_queue_signal(queue->virtio);
}

static void forget(void *owner)
{
    struct io_queue *queue = owner;
    struct throttle_wait *wait;

    while ((wait = throttle_line_take(&queue->delayed)))
        slot_free((struct io_slot *)wait);
    io_queue_drain(queue);
}

void io_queue_reset(struct io_queue *queue)
{
    loop_call(&queue->thread.loop, forget, queue);
}

/* ---- The thread ---- */

static bool before_wait(void *owner)
{
    struct io_queue *queue = owner;

    if (vdisk_ring_poll(queue->ring, false) == 0)
        return false;
    virtio_queue_signal(queue->virtio);
    return true;
}

static void begin(void *owner)
{
    struct io_queue *queue = owner;

    queue->error = queue->confined ? sandbox_thread(SANDBOX_IO) : 0;
    if (queue->error == 0)
        queue->error = vdisk_ring_open(0, VDISK_BACKEND_AUTO, &queue->ring);
    if (queue->error)
        return;
    queue->completed = (struct loop_source){vdisk_ring_fd(queue->ring), NULL, queue};
    queue->error = loop_add(&queue->thread.loop, &queue->completed, EPOLLIN);
    if (queue->error == 0)
        queue->error = loop_add(&queue->thread.loop, &queue->delayed.timer, EPOLLIN);
    if (queue->error) {
        vdisk_ring_close(queue->ring);
        return;
    }
    queue->hook = (struct loop_hook){.before_wait = before_wait, .owner = queue};
    loop_hook_add(&queue->thread.loop, &queue->hook);
}

static int thread_open(struct io_queue *queue, const char *name)
{
    int err = throttle_line_open(&queue->delayed, turn);

    if (err < 0)
        return err;
    err = loop_thread_open(&queue->thread, name);
    if (err < 0)
        goto close_line;
    loop_call(&queue->thread.loop, begin, queue);
    err = queue->error;
    if (err < 0)
        goto close_thread;
    return 0;

close_thread:
    loop_thread_close(&queue->thread);
close_line:
    throttle_line_close(&queue->delayed);
    return err;
}

int io_queue_open(struct io_queue *queue, struct virtio_device *device, unsigned index, const char *name,
                  const struct io_queue_ops *ops)
{
    int err;

    *queue = (struct io_queue){.ops = ops, .virtio = &device->queue[index], .confined = device->machine};
    queue->slots = calloc(SLOTS, ops->slot_size);
    if (!queue->slots)
        return -ENOMEM;
    err = thread_open(queue, name);
    if (err == 0) {
        queue->virtio->loop = &queue->thread.loop;
        return 0;
    }
    free(queue->slots);
    queue->slots = NULL;
    return err;
}

void io_queue_close(struct io_queue *queue)
{
    if (!queue->slots)
        return;
    loop_thread_close(&queue->thread);
    vdisk_ring_close(queue->ring);
    throttle_line_close(&queue->delayed);
    free(queue->slots);
}

unsigned io_queues_wanted(const struct machine *machine, unsigned asked, unsigned most)
{
    unsigned cpus = machine ? machine->options->cpus : 1, queues = asked ? asked : cpus < QUEUES ? cpus : QUEUES;

    return queues < most ? queues : most;
}
