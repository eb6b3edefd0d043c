/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues and requests of virtio-blk and virtio-scsi. */
#include "tests/fuzz/common/queue.h"
#include "vmm/devices.h"

#define ROUNDS 8u

static struct driver driver;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t seed[64] = {0, 0, 0, 1, 1};

    (void)argc, (void)argv;
    fuzz_disk_seed("one", seed, sizeof(seed));
    return 0;
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
        fuzz_drive(&driver, &bytes, scsi ? 3 : 1);
    virtio_free(driver.device);
    memory_close(&driver.memory);
    fuzz_disk_close(&disk);
    return 0;
}
