/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio driver for tests of devices without a machine: it drives the registers of the BAR and lays out the rings in
 * a memory of its own, as well or as badly as the test wants it.
 */
#ifndef TESTS_DRIVER_H
#define TESTS_DRIVER_H

#include <linux/virtio_pci.h>
#include <time.h>

#include "tests/support.h"
#include "vmm/virtio.h"

#define DRIVER_MEMORY (64u << 20)
#define DRIVER_RINGS 0x10000u /* of queue 0; each has so much */
#define DRIVER_INDIRECT 0x800000u
#define DRIVER_HEAP 0x1000000u /* what the test puts where it likes */
#define DRIVER_SIZE 256u

#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u

struct driver {
    struct memory memory;
    struct virtio_device *device;
    struct driver_queue {
        uint16_t next, seen; /* of avail, of used */
        struct vring_desc *descriptors;
        struct vring_avail *avail;
        struct vring_used *used;
    } queue[8];
};

static inline void *driver_at(struct driver *driver, uint64_t address)
{
    return driver->memory.base + address;
}

static inline uint64_t driver_get(struct driver *driver, uint64_t offset, unsigned size)
{
    const struct bus_range *range = &driver->device->pci.bar[0].range;

    return range->read(range->owner, offset, size);
}

static inline void driver_put(struct driver *driver, uint64_t offset, unsigned size, uint64_t value)
{
    const struct bus_range *range = &driver->device->pci.bar[0].range;

    range->write(range->owner, offset, size, value);
}

static inline void driver_queue_make(struct driver *driver, unsigned index)
{
    uint64_t rings = DRIVER_RINGS * (index + 1);
    struct driver_queue *queue = &driver->queue[index];

    memset(driver_at(driver, rings), 0, DRIVER_RINGS);
    queue->next = queue->seen = 0;
    queue->descriptors = driver_at(driver, rings);
    queue->avail = driver_at(driver, rings + 0x4000);
    queue->used = driver_at(driver, rings + 0x8000);
    driver_put(driver, VIRTIO_PCI_COMMON_Q_SELECT, 2, index);
    driver_put(driver, VIRTIO_PCI_COMMON_Q_SIZE, 2, DRIVER_SIZE);
    driver_put(driver, VIRTIO_PCI_COMMON_Q_DESCLO, 4, rings);
    driver_put(driver, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, rings + 0x4000);
    driver_put(driver, VIRTIO_PCI_COMMON_Q_USEDLO, 4, rings + 0x8000);
    driver_put(driver, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

/* Reset, features, queues, go. */
static inline void driver_start(struct driver *driver, uint64_t features, unsigned queues)
{
    features |= VIRTIO_VERSION_1;
    driver_put(driver, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    driver_put(driver, VIRTIO_PCI_COMMON_STATUS, 1, 3);
    driver_put(driver, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
    driver_put(driver, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)features);
    driver_put(driver, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
    driver_put(driver, VIRTIO_PCI_COMMON_GF, 4, features >> 32);
    driver_put(driver, VIRTIO_PCI_COMMON_STATUS, 1, 0xb);
    test_equal(driver_get(driver, VIRTIO_PCI_COMMON_STATUS, 1), 0xb);
    for (unsigned i = 0; i < queues; i++)
        driver_queue_make(driver, i);
    driver_put(driver, VIRTIO_PCI_COMMON_STATUS, 1, 0xf);
}

static inline bool driver_needs_reset(struct driver *driver)
{
    return driver_get(driver, VIRTIO_PCI_COMMON_STATUS, 1) & 0x40;
}

/* One part of a chain. */
struct part {
    uint64_t address;
    uint32_t length;
    bool write;
};

/* Makes the chain that begins at descriptor first available, once more if need be, and kicks. */
static inline void driver_give_again(struct driver *driver, unsigned index, uint16_t first)
{
    struct driver_queue *queue = &driver->queue[index];

    queue->avail->ring[queue->next % DRIVER_SIZE] = first;
    __atomic_store_n(&queue->avail->idx, ++queue->next, __ATOMIC_SEQ_CST);
    driver_put(driver, 0x3000 + 2 * index, 2, index);
}

/* Makes a chain available, from descriptor first on, and kicks. */
static inline void driver_give(struct driver *driver, unsigned index, uint16_t first, const struct part *parts,
                               unsigned count)
{
    struct driver_queue *queue = &driver->queue[index];

    for (unsigned i = 0; i < count; i++)
        queue->descriptors[first + i] = (struct vring_desc){
            parts[i].address, parts[i].length,
            (uint16_t)((parts[i].write ? DESC_WRITE : 0) | (i + 1 < count ? DESC_NEXT : 0)), (uint16_t)(first + i + 1)};
    driver_give_again(driver, index, first);
}

/* Waits for the next used element; its length. -1: none came within so many milliseconds. */
static inline int64_t driver_wait_for(struct driver *driver, unsigned index, unsigned milliseconds, uint32_t *id)
{
    struct driver_queue *queue = &driver->queue[index];
    struct timespec pause = {0, 100000};

    for (unsigned i = 0; i < milliseconds * 10; i++) {
        if (__atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) != queue->seen) {
            unsigned at = queue->seen++ % DRIVER_SIZE;

            if (id)
                *id = queue->used->ring[at].id;
            return queue->used->ring[at].len;
        }
        nanosleep(&pause, NULL);
    }
    return -1;
}

static inline int64_t driver_wait(struct driver *driver, unsigned index)
{
    int64_t length = driver_wait_for(driver, index, 20000, NULL);

    if (length < 0)
        test_fail("nothing came back on queue %u", index);
    return length;
}

#endif
