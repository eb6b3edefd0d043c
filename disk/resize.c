/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another size. The format does it to the file of a disk at rest; here is what all formats have in common: that nothing
 * that is not zero is cut off unasked, that the rest of the last block holds nothing when the disk comes to have it,
 * and that the disk is opened again as the file now is.
 */
#include <errno.h>
#include <isa-l/mem_routines.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "compact.h"
#include "engine.h"
#include "mutant.h"
#include "port.h"
#include "resize.h"

#define PIECE (UINT64_C(1) << 20)

/* The first byte of [from, disk's end) that is not zero; the disk's size: there is none. */
static int find_data(struct vdisk *disk, uint64_t from, const struct vdisk_progress *progress, uint64_t *where)
{
    uint8_t *buffer = aligned_alloc(4096, PIECE);
    int err = buffer ? 0 : -ENOMEM;

    for (*where = from; *where < disk->size && !err;) {
        struct vdisk_extent extent;

        if (disk_cancelled(progress))
            err = -ECANCELED;
        if (progress && progress->step)
            progress->step(progress->arg, *where - from, disk->size - from);
        if (!err)
            err = vdisk_map(disk, *where, disk->size - *where, VDISK_MAP_HOLES, &extent);
        if (err)
            break;
        if (extent.kind == VDISK_EXTENT_DATA) {
            if (extent.length > PIECE)
                extent.length = PIECE;
            err = disk_read(disk, buffer, *where, extent.length);
            if (!err && isal_zero_detect(buffer, (int)extent.length)) {
                for (const uint8_t *byte = buffer; *byte == 0; byte++)
                    ++*where;
                break;
            }
        }
        *where += extent.length;
    }
    free(buffer);
    return err;
}

int disk_clear_tail(struct vdisk *disk, uint64_t size, uint64_t below)
{
    uint64_t from = size < disk->size ? size : disk->size, end;

    if (disk->block_size == 0 || from % disk->block_size == 0 || MUTANT("resize-tail-kept"))
        return 0;
    end = from - from % disk->block_size + disk->block_size;
    while (from < end) {
        struct disk_extent extent;
        int64_t done;
        int err = link_map(disk, from, end - from, &extent);

        if (err)
            return err;
        done = (int64_t)extent.length;
        if (extent.kind == VDISK_EXTENT_DATA ||
            (extent.kind == VDISK_EXTENT_BELOW && size > disk->size && from < below))
            done = engine_zero(disk, from, extent.length, disk->type == DISK_FIXED);
        if (done < 0)
            return (int)done;
        from += (uint64_t)done;
    }
    return disk->format->sync(disk);
}

static int check(const struct vdisk *disk, uint64_t size)
{
    if (!disk->writable)
        return -EROFS;
    if (!disk->format->resize)
        return -EOPNOTSUPP;
    if (disk->type == DISK_DIFFERENCING && !disk->parent)
        return disk_error(disk, -EOPNOTSUPP, "a differencing disk is not resized without its parent");
    if (size == 0 || size % disk->sector_size)
        return disk_error(disk, -EINVAL, "a size of %llu bytes is not a positive multiple of its sectors of %u",
                          (unsigned long long)size, disk->sector_size);
    return disk->failed;
}

int disk_resize_allowed(struct vdisk *disk, uint64_t size, unsigned flags, const struct vdisk_progress *progress)
{
    uint64_t where;
    int err = check(disk, size);

    if (err || size >= disk->size || flags & VDISK_RESIZE_SHRINK_DATA)
        return err;
    err = find_data(disk, size, progress, &where);
    if (!err && where < disk->size && !MUTANT("resize-cuts-data"))
        err = disk_error(disk, -ENOTEMPTY, "there is data behind the new end, first at 0x%llx: it would be cut off",
                         (unsigned long long)where);
    return err;
}

int disk_resize(struct vdisk **disk, uint64_t size)
{
    struct vdisk *d = *disk;
    uint64_t below = d->parent ? d->parent->size : 0;
    int err = check(d, size), reopened;

    if (err || size == d->size)
        return err;
    err = d->format->settle ? d->format->settle(d) : d->format->sync(d);
    if (err)
        return err;
    err = d->format->resize(d, size, below);
    reopened = link_reopen(d, disk);
    return err ? err : reopened;
}

int vdisk_resize(struct vdisk_port *port, uint64_t size, unsigned flags, const struct vdisk_progress *progress)
{
    struct vdisk *disk, *top;
    int err = port_begin(port);

    if (err)
        return err;
    err = disk_resize_allowed(vdisk_port_disk(port), size, flags, progress);
    if (err)
        goto end;
    port_pause(port);
    disk = top = vdisk_port_disk(port);
    err = disk_resize_allowed(disk, size, flags, NULL); /* the guest may have written since */
    if (!err)
        err = disk_resize(&top, size);
    if (top != disk)
        port_swap(port, top);
    port_resume(port);

end:
    port_end(port);
    return err;
}
