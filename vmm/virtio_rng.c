/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-rng ([VIRTIO] 5.4): the host's random numbers. On the main loop. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "devices.h"

#define REQUEST_MAX 256u /* bytes: getrandom gives them whole and at once */

static size_t answer(struct virtio_device *device, const struct virtio_chain *chain)
{
    uint8_t bytes[REQUEST_MAX];

    (void)device;
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        return 0;
    return iov_write(chain->writable, chain->writable_count, 0, bytes, sizeof(bytes));
}

static void kick(struct virtio_queue *queue)
{
    virtio_queue_serve(queue, answer);
}

static void rng_free(struct virtio_device *device)
{
    free(device);
}

int virtio_rng_open(struct machine *machine)
{
    static const struct virtio_ops ops = {.kick = kick, .free = rng_free};
    static const struct virtio_description description = {
        .name = "entropy", .id = VIRTIO_ID_RNG, .class = 0xff0000, .queue_count = 1, .ops = &ops};
    struct virtio_device *device = calloc(1, sizeof(*device));
    int err = device ? virtio_open(device, machine, &description) : -ENOMEM;

    if (err < 0)
        free(device);
    return err;
}
