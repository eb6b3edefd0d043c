/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libfdisk works on a descriptor. It gets a file in memory of the disk's size with the disk's first and last bytes,
 * where partition tables are; what it writes there is written to the disk.
 */
#include "cli/partition.h"

#include <endian.h>
#include <errno.h>
#include <libfdisk/libfdisk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ENDS (UINT64_C(1) << 20)

/* [offset, offset + length) of the disk into the file, or what the file has there to the disk where it differs. */
static int carry(struct vdisk *disk, struct vdisk_ring *ring, int fd, uint64_t offset, uint64_t length, bool back)
{
    uint64_t unit = vdisk_sector_size(disk);
    char *bytes = malloc(length), *now = malloc(length);
    int err = bytes && now ? 0 : -ENOMEM;

    if (!err)
        err = vdisk_transfer(disk, ring, VDISK_READ, now, offset, length);
    if (!err && !back)
        err = pwrite(fd, now, length, (off_t)offset) == (ssize_t)length ? 0 : -EIO;
    if (!err && back)
        err = pread(fd, bytes, length, (off_t)offset) == (ssize_t)length ? 0 : -EIO;
    for (uint64_t at = 0; back && at < length && !err; at += unit)
        if (memcmp(bytes + at, now + at, unit) != 0)
            err = vdisk_transfer(disk, ring, VDISK_WRITE, bytes + at, offset + at, unit);
    free(bytes);
    free(now);
    return err;
}

/* The table as libfdisk sees it. */
struct view {
    struct vdisk *disk;
    struct vdisk_ring *ring;
    struct fdisk_context *context;
    int fd;
};

static void view_close(struct view *v)
{
    if (v->context)
        fdisk_deassign_device(v->context, 1);
    fdisk_unref_context(v->context);
    if (v->fd >= 0)
        close(v->fd);
    vdisk_ring_close(v->ring);
}

static int view_open(struct vdisk *disk, struct view *v)
{
    uint64_t size = vdisk_size(disk), ends = size < ENDS ? size : ENDS;
    int err;

    *v = (struct view){.disk = disk, .fd = memfd_create("partitions", MFD_CLOEXEC)};
    err = vdisk_ring_open(1, VDISK_BACKEND_AUTO, &v->ring);
    if (err) {
        v->ring = NULL;
        if (v->fd >= 0)
            close(v->fd);
        return err;
    }
    err = v->fd < 0 || ftruncate(v->fd, (off_t)size) < 0 ? -errno : 0;
    if (!err)
        err = carry(disk, v->ring, v->fd, 0, ends, false);
    if (!err)
        err = carry(disk, v->ring, v->fd, size - ends, ends, false);
    v->context = err ? NULL : fdisk_new_context();
    if (!err && !v->context)
        err = -ENOMEM;
    if (!err)
        err = fdisk_save_user_sector_size(v->context, vdisk_sector_size(disk), vdisk_sector_size(disk));
    if (!err)
        err = fdisk_assign_device_by_fd(v->context, v->fd, "partitions", 0);
    if (err)
        view_close(v);
    return err;
}

/* Where the backup begins: its header, in the last sector, says where its entries are. */
static uint64_t find_backup(const struct view *v)
{
    uint64_t unit = vdisk_sector_size(v->disk), size = vdisk_size(v->disk), entries;
    char header[512];

    if (pread(v->fd, header, sizeof(header), (off_t)(size - unit)) != (ssize_t)sizeof(header) ||
        memcmp(header, "EFI PART", 8) != 0)
        return 0;
    memcpy(&entries, header + 72, sizeof(entries));
    entries = le64toh(entries);
    return entries < size / unit && (size / unit - entries) * unit <= ENDS ? entries * unit : 0;
}

static int read_partitions(const struct view *v, struct cli_partitions *p)
{
    struct fdisk_table *table = NULL;
    struct fdisk_iter *iter = fdisk_new_iter(FDISK_ITER_FORWARD);
    struct fdisk_partition *partition;
    int err = iter ? fdisk_get_partitions(v->context, &table) : -ENOMEM;

    while (!err && fdisk_table_next_partition(table, iter, &partition) == 0) {
        uint64_t last, end;

        if (!fdisk_partition_has_end(partition))
            continue;
        last = fdisk_partition_get_end(partition); /* as the table has it */
        if (__builtin_mul_overflow(last, (uint64_t)vdisk_sector_size(v->disk), &end) ||
            __builtin_add_overflow(end, (uint64_t)vdisk_sector_size(v->disk), &end))
            end = UINT64_MAX;
        if (end > p->end) {
            p->end = end;
            p->last = (unsigned)fdisk_partition_get_partno(partition) + 1;
        }
    }
    fdisk_free_iter(iter);
    fdisk_unref_table(table);
    return err;
}

int cli_partitions_read(struct vdisk *disk, struct cli_partitions *p)
{
    const char *name;
    struct view v;
    int err;

    *p = (struct cli_partitions){.end = 0};
    err = view_open(disk, &v);
    if (err)
        return err;
    if (fdisk_has_label(v.context)) {
        name = fdisk_label_get_name(fdisk_get_label(v.context, NULL));
        strncpy(p->label, name ? name : "?", sizeof(p->label) - 1);
        err = read_partitions(&v, p);
    }
    if (strcmp(p->label, "gpt") == 0) {
        p->backup = find_backup(&v);
        p->reserved = p->backup ? vdisk_size(disk) - p->backup : 33 * (uint64_t)vdisk_sector_size(disk);
    }
    view_close(&v);
    return err;
}

static bool is_dynamic(struct fdisk_partition *partition)
{
    struct fdisk_parttype *type = fdisk_partition_get_type(partition);
    const char *guid = type ? fdisk_parttype_get_string(type) : NULL;

    if (guid)
        return strcasecmp(guid, "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3") == 0 ||
               strcasecmp(guid, "AF9B60A0-1431-4F62-BC68-3311714A69AD") == 0;
    return type && fdisk_parttype_get_code(type) == 0x42;
}

/* What the boot sector of a file system has where partitions would be is no table: it leads nowhere. */
static bool is_label_of_disk(struct fdisk_context *context)
{
    const char *name = fdisk_has_label(context) ? fdisk_label_get_name(fdisk_get_label(context, NULL)) : NULL;

    return name && strcmp(name, "dos") != 0;
}

int cli_partitions_each(struct vdisk *disk, int (*each)(void *arg, uint64_t offset, uint64_t length), void *arg,
                        bool *divided)
{
    uint64_t unit = vdisk_sector_size(disk), size = vdisk_size(disk);
    struct fdisk_iter *iter = fdisk_new_iter(FDISK_ITER_FORWARD);
    struct fdisk_table *table = NULL;
    struct fdisk_partition *p;
    struct view v;
    int err = iter ? view_open(disk, &v) : -ENOMEM;

    if (err)
        goto free_iter;
    *divided = is_label_of_disk(v.context);
    if (fdisk_has_label(v.context))
        err = fdisk_get_partitions(v.context, &table);
    while (!err && table && fdisk_table_next_partition(table, iter, &p) == 0) {
        uint64_t start = fdisk_partition_has_start(p) ? fdisk_partition_get_start(p) * unit : 0;
        uint64_t end = fdisk_partition_has_end(p) ? (fdisk_partition_get_end(p) + 1) * unit : 0;

        *divided |= start > 0 && start < size;
        if (start > 0 && start < end && end <= size && !is_dynamic(p) && !fdisk_partition_is_container(p))
            err = each(arg, start, end - start);
    }
    fdisk_unref_table(table);
    view_close(&v);

free_iter:
    fdisk_free_iter(iter);
    return err;
}

/* All that the file in memory holds, which is little: first what is far, then, over it, the primary. */
static int write_back(const struct view *v)
{
    uint64_t size = vdisk_size(v->disk), ends = size < ENDS ? size : ENDS;
    off_t at = (off_t)ends;
    int err = 0;

    while (!err && (at = lseek(v->fd, at, SEEK_DATA)) >= 0 && (uint64_t)at < size) {
        uint64_t length = size - (uint64_t)at < 65536 ? size - (uint64_t)at : 65536;

        err = carry(v->disk, v->ring, v->fd, (uint64_t)at, length, true);
        at += (off_t)length;
    }
    if (!err)
        err = vdisk_transfer(v->disk, v->ring, VDISK_FLUSH, NULL, 0, 0);
    if (!err)
        err = carry(v->disk, v->ring, v->fd, 0, ends, true);
    return err ? err : vdisk_transfer(v->disk, v->ring, VDISK_FLUSH, NULL, 0, 0);
}

int cli_partitions_place_backup(struct vdisk *disk, bool near)
{
    struct view v;
    int err = view_open(disk, &v);

    if (err)
        return err;
    fdisk_gpt_enable_minimize(fdisk_get_label(v.context, "gpt"), near);
    err = fdisk_write_disklabel(v.context);
    if (!err)
        err = write_back(&v);
    view_close(&v);
    return err;
}
