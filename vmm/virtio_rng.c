/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-rng ([VIRTIO] 5.4): the host's random numbers. On the main loop. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "devices.h"
#include "virtio.h"

#define REQUEST_MAX 256u /* bytes: getrandom gives them whole and at once */

struct rng {
    struct virtio_device device;
    struct machine_part part;
    struct iovec iov[VIRTIO_QUEUE_SIZE];
    bool plugged;
};

static void kick(struct virtio_queue *queue)
{
    struct rng *rng = (struct rng *)((char *)queue->device - offsetof(struct rng, device));
    struct virtio_chain chain = {.iov = rng->iov, .iov_max = VIRTIO_QUEUE_SIZE};

    do {
        while (virtio_queue_pop(queue, &chain) > 0) {
            uint8_t bytes[REQUEST_MAX];
            ssize_t got = getrandom(bytes, sizeof(bytes), 0);

            virtio_queue_push(queue, &chain,
                              iov_write(chain.writable, chain.writable_count, 0, bytes, got > 0 ? (size_t)got : 0));
        }
        virtio_queue_signal(queue);
    } while (virtio_queue_listen(queue, true));
}

static void rng_close(void *owner)
{
    struct rng *rng = owner;

    if (rng->plugged)
        virtio_close(&rng->device);
    free(rng);
}

int virtio_rng_open(struct machine *machine)
{
    static const struct virtio_ops ops = {.kick = kick};
    static const struct virtio_description description = {
        .name = "entropy", .id = 4, .class = 0xff, .queue_count = 1, .ops = &ops};
    struct rng *rng = calloc(1, sizeof(*rng));
    int err;

    if (!rng)
        return -ENOMEM;
    rng->part = (struct machine_part){.name = "entropy", .close = rng_close, .owner = rng};
    machine_part_add(machine, &rng->part);
    err = virtio_open(&rng->device, machine, &description);
    rng->plugged = err == 0;
    return err;
}
