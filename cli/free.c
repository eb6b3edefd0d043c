/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each part of a disk is shown to each that knows a file system. A disk with partitions is shown as its partitions only: a
 * file system that it was as a whole before may have left its first blocks, and these speak of what is others' now.
 */
#include "cli/free.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/free_part.h"
#include "cli/partition.h"

#define PIECE (UINT64_C(1) << 30)

int free_part_read(struct free_part *part, void *data, uint64_t at, uint64_t length)
{
    return vdisk_transfer(part->disk, part->ring, VDISK_READ, data, part->offset + at, length);
}

/* The disk does not need the range, of its own bytes at least. A fixed disk keeps its space but for what compaction
 * finds to be zero: only what holds data is made so. */
static int discard(struct free_part *part, uint64_t offset, uint64_t length)
{
    bool fixed = strcmp(vdisk_type(part->disk), "fixed") == 0;

    part->bytes += length;
    while (length > 0) {
        struct vdisk_extent extent = {.length = length < PIECE ? length : PIECE, .kind = VDISK_EXTENT_DATA};
        int err = fixed ? vdisk_map(part->disk, offset, extent.length, VDISK_MAP_HOLES, &extent) : 0;

        if (!err && cli_cancel)
            err = -ECANCELED;
        if (!err && extent.kind == VDISK_EXTENT_DATA)
            err =
                vdisk_transfer(part->disk, part->ring, fixed ? VDISK_ZERO : VDISK_DISCARD, NULL, offset, extent.length);
        if (err)
            return err;
        offset += extent.length;
        length -= extent.length;
    }
    return 0;
}

int free_part_discard(struct free_part *part, uint64_t at, uint64_t length)
{
    uint64_t unit = vdisk_sector_size(part->disk), start = part->offset + at, stop = start + length;

    start = (start + unit - 1) / unit * unit;
    stop = stop / unit * unit;
    return stop > start && stop <= part->offset + part->length ? discard(part, start, stop - start) : 0;
}

void free_part_say(struct free_part *part, const char *what, uint64_t before, const char *why)
{
    if (why)
        cli_say(part->cli, VDISK_WARNING, "%s: the %s file system at 0x%" PRIx64 ": %s; its free space stays",
                vdisk_path(part->disk), what, part->offset, why);
    else
        cli_say(part->cli, VDISK_NOTE, "%s: the %s file system at 0x%" PRIx64 ": %" PRIu64 " bytes are free",
                vdisk_path(part->disk), what, part->offset, part->bytes - before);
}

static int look_at(void *arg, uint64_t offset, uint64_t length)
{
    static int (*const kinds[])(struct free_part *) = {free_ext, free_ntfs};
    struct free_part *part = arg;
    int err = 0;

    part->offset = offset;
    part->length = length;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && !err; i++)
        err = kinds[i](part);
    return err;
}

int cli_free_discard(struct cli *cli, struct vdisk *disk, uint64_t *bytes)
{
    struct free_part part = {.cli = cli, .disk = disk};
    bool divided = false;
    int err = vdisk_ring_open(1, VDISK_BACKEND_AUTO, &part.ring);

    if (err)
        return err;
    err = cli_partitions_each(disk, look_at, &part, &divided);
    if (!err && !divided)
        err = look_at(&part, 0, vdisk_size(disk));
    vdisk_ring_close(part.ring);
    *bytes += part.bytes;
    return err;
}
