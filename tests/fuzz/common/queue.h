/* SPDX-License-Identifier: BSD-2-Clause */
/* What a fuzzed driver does to a virtio queue: rings, descriptors, indirect tables, headers and data from the input, in a
 * memory of a few pages where they overlap easily. */
#ifndef FUZZ_QUEUE_H
#define FUZZ_QUEUE_H

#include "tests/driver.h"
#include "tests/fuzz/common/disk.h"

#define FUZZ_DESCRIPTORS 16u
#define FUZZ_MEMORY 16384u /* in which addresses lie, mostly: from DRIVER_HEAP on */

struct fuzz_record {
    uint8_t queue, head, descriptors, advance;
    uint32_t where; /* of the bytes that follow, in memory */
    uint16_t bytes;
};

static inline void fuzz_kick(void *owner)
{
    struct virtio_queue *queue = owner;

    if (queue->active)
        queue->device->about.ops->kick(queue);
}

/* One of the device's queues gets something, and is kicked. */
static inline struct fuzz_record fuzz_drive(struct driver *driver, struct fuzz_bytes *bytes, unsigned queues)
{
    struct fuzz_record record;
    struct driver_queue *queue;
    unsigned index;

    fuzz_take(bytes, &record, sizeof(record));
    index = record.queue % queues;
    queue = &driver->queue[index];
    for (unsigned i = 0; i < record.descriptors % FUZZ_DESCRIPTORS; i++) {
        struct vring_desc *descriptor = &queue->descriptors[i];

        fuzz_take(bytes, descriptor, sizeof(*descriptor));
        if (descriptor->addr >> 60 != 0xf) /* else as it is */
            descriptor->addr = DRIVER_HEAP + descriptor->addr % FUZZ_MEMORY;
        if (descriptor->len >> 28 != 0xf)
            descriptor->len %= 8192;
        if (descriptor->next >> 12 != 0xf)
            descriptor->next %= FUZZ_DESCRIPTORS;
    }
    fuzz_take(bytes, driver_at(driver, DRIVER_HEAP + record.where % FUZZ_MEMORY), record.bytes % 256);
    queue->avail->ring[queue->next % DRIVER_SIZE] =
        record.head >= 0xf0 ? (uint16_t)(record.head << 8) : record.head % FUZZ_DESCRIPTORS;
    queue->next += record.advance >= 0xf0 ? record.advance << 8 : 1;
    __atomic_store_n(&queue->avail->idx, queue->next, __ATOMIC_RELEASE);
    loop_call(driver->device->queue[index].loop, fuzz_kick, &driver->device->queue[index]);
    return record;
}

#endif
