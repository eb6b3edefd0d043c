/* SPDX-License-Identifier: BSD-2-Clause */
/* See disk.h. */
#include "tests/fuzz/common/disk.h"

void fuzz_disk_open(struct fuzz_disk *disk)
{
    static const struct image_shape shape = {
        .format = "vhdx", .type = DISK_DYNAMIC, .size = FUZZ_DISK_SIZE, .block_size = 1 << 20, .sector_size = 512};
    static struct medium *base;
    struct vdisk_open_options options = {.flags = VDISK_OPEN_WRITE, .format = "vhdx"};

    if (!base)
        base = image_make(&shape);
    disk->memory = medium_over(base);
    medium_name(0, "base", disk->memory);
    test_ok(vdisk_port_open("base", &options, &disk->port));
}

void fuzz_disk_close(struct fuzz_disk *disk)
{
    test_ok(vdisk_port_close(disk->port));
    medium_name(0, NULL, NULL);
    medium_free(disk->memory);
}

void fuzz_disk_seed(const char *name, const void *input, size_t size)
{
    const char *dir = getenv("FUZZ_SEEDS");
    char path[TEST_PATH];
    FILE *file;

    if (!dir || !*dir)
        return;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "w");
    test_true(file && fwrite(input, 1, size, file) == size && fclose(file) == 0);
}

void fuzz_take(struct fuzz_bytes *bytes, void *into, size_t size)
{
    size_t part = bytes->left < size ? bytes->left : size;

    memset(into, 0, size);
    memcpy(into, bytes->at, part);
    bytes->at += part;
    bytes->left -= part;
}
