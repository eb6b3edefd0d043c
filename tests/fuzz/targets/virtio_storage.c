/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues and requests of virtio-blk and virtio-scsi: rings, descriptors, indirect tables, headers and data from the
 * input, in a memory of a few pages where they overlap easily. */
#include "tests/fuzz/common/disk.h"

#include "tests/driver.h"
#include "vmm/devices.h"

#define ROUNDS 8u
#define DESCRIPTORS 16u
#define FEW 16u /* KiB of memory in which addresses lie, mostly */

struct record {
    uint8_t queue, head, descriptors, advance;
    uint32_t where; /* of the bytes that follow, in memory */
    uint16_t bytes;
};

static struct driver driver;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t seed[64] = {0, 0, 0, 1, 1};

    (void)argc, (void)argv;
    fuzz_disk_seed("one", seed, sizeof(seed));
    return 0;
}

static void kick(void *owner)
{
    struct virtio_queue *queue = owner;

    if (queue->active)
        queue->device->ops->kick(queue);
}

static void drive(struct fuzz_bytes *bytes, unsigned queues)
{
    struct record record;
    struct driver_queue *queue;
    unsigned index;

    fuzz_take(bytes, &record, sizeof(record));
    index = record.queue % queues;
    queue = &driver.queue[index];
    for (unsigned i = 0; i < record.descriptors % DESCRIPTORS; i++) {
        struct virtio_descriptor *descriptor = &queue->descriptors[i];

        fuzz_take(bytes, descriptor, sizeof(*descriptor));
        if (descriptor->address >> 60 != 0xf) /* else as it is */
            descriptor->address = DRIVER_HEAP + descriptor->address % (FEW << 10);
        if (descriptor->length >> 28 != 0xf)
            descriptor->length %= 8192;
        if (descriptor->next >> 12 != 0xf)
            descriptor->next %= DESCRIPTORS;
    }
    fuzz_take(bytes, driver_at(&driver, DRIVER_HEAP + record.where % (FEW << 10)), record.bytes % 256);
    queue->avail->ring[queue->next % DRIVER_SIZE] =
        record.head >= 0xf0 ? (uint16_t)(record.head << 8) : record.head % DESCRIPTORS;
    queue->next += record.advance >= 0xf0 ? record.advance << 8 : 1;
    __atomic_store_n(&queue->avail->index, queue->next, __ATOMIC_RELEASE);
    loop_call(driver.device->queue[index].loop, kick, &driver.device->queue[index]);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct fuzz_bytes bytes = {input, size};
    struct machine_disk given = {.queues = 1};
    const struct machine_disk *list[1] = {&given};
    struct fuzz_disk disk;
    uint8_t scsi;

    fuzz_take(&bytes, &scsi, 1);
    scsi &= 1u;
    fuzz_disk_open(&disk);
    given.port = disk.port;
    test_ok(memory_open(&driver.memory, DRIVER_MEMORY));
    if (scsi)
        test_ok(virtio_scsi_make(NULL, &driver.memory, list, 1, 1, &driver.device));
    else
        test_ok(virtio_blk_make(NULL, &driver.memory, &given, 0, &driver.device));
    driver_start(&driver, VIRTIO_INDIRECT | (scsi ? 0 : 1u << 9 | 1u << 13 | 1u << 14), scsi ? 3 : 1);
    for (unsigned i = 0; bytes.left > 0 && i < ROUNDS; i++)
        drive(&bytes, scsi ? 3 : 1);
    virtio_free(driver.device);
    memory_close(&driver.memory);
    fuzz_disk_close(&disk);
    return 0;
}
