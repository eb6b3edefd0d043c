/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Raw: the file is the disk. A last sector that the file does not fill reads as if it were filled with zeros.
 */
#include <errno.h>
#include <string.h>

#include "raw.h"

#define SECTOR 512u

static int raw_open(struct vdisk *disk)
{
    disk->size = (disk->file->size + SECTOR - 1) / SECTOR * SECTOR;
    if (disk->size == 0)
        return disk_error(disk, -EINVAL, "the file is empty: a disk has at least one sector");
    disk->sector_size = disk->physical_sector_size = SECTOR;
    disk->type = DISK_DYNAMIC; /* discarded space is given back */
    disk->tail_reads_zero = true;
    return 0;
}

static int raw_sync(struct vdisk *disk)
{
    int err = file_sync(disk->file);

    if (err)
        disk_fail(disk, err);
    return err;
}

static int raw_resize(struct vdisk *disk, uint64_t size, uint64_t below)
{
    int err = file_resize(disk->file, size);

    (void)below;
    if (!err)
        err = file_sync(disk->file);
    return err ? disk_error(disk, err, "its size cannot be %llu bytes: %s", (unsigned long long)size, strerror(-err)) : 0;
}

static int raw_close(struct vdisk *disk)
{
    return disk->writable ? raw_sync(disk) : 0;
}

static int raw_create(struct file *file, const struct disk_geometry *geometry)
{
    int err;

    if (geometry->type == DISK_DIFFERENCING)
        return file_error(file, "raw", -EINVAL, "a raw file cannot be a differencing disk");
    if (geometry->sector_size != SECTOR)
        return file_error(file, "raw", -EINVAL, "a raw file cannot record a sector size of %u", geometry->sector_size);
    if (geometry->block_size)
        return file_error(file, "raw", -EINVAL, "a raw file has no blocks: a block size means nothing");
    if (geometry->type == DISK_FIXED)
        err = file_allocate(file, 0, geometry->size);
    else
        err = file_resize(file, geometry->size);
    return err ? file_error(file, "raw", err, "cannot grow to %llu bytes: %s", (unsigned long long)geometry->size,
                            strerror(-err))
               : 0;
}

static int raw_map(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length,
                   struct disk_extent *extent)
{
    (void)disk, (void)access;
    *extent = (struct disk_extent){.kind = VDISK_EXTENT_DATA, .length = length, .position = offset, .state = "raw"};
    return 0;
}

static void raw_info(struct vdisk *disk, vdisk_field_fn *field, void *arg)
{
    (void)disk, (void)field, (void)arg;
}

static int raw_check(struct file *file, const struct vdisk_progress *progress, vdisk_fault_fn *fault, void *arg)
{
    (void)file, (void)progress, (void)fault, (void)arg;
    return 0;
}

static const char *const suffixes[] = {".raw", ".img", NULL};

const struct disk_format raw_format = {
    .name = "raw",
    .suffixes = suffixes,
    .object_size = sizeof(struct vdisk),
    .open = raw_open,
    .close = raw_close,
    .create = raw_create,
    .map = raw_map,
    .sync = raw_sync,
    .resize = raw_resize,
    .info = raw_info,
    .check = raw_check,
};
