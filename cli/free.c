/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free space by libext2fs, which reads through an I/O manager over the disk. A file system that was not unmounted, or
 * whose journal holds something, is left alone: its bitmaps are not the truth.
 */
#include "cli/free.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/partition.h"

#define PIECE (UINT64_C(1) << 30)

/* A part of the disk that may hold a file system. */
struct part {
    struct cli *cli;
    struct vdisk *disk;
    struct vdisk_ring *ring;
    uint64_t offset, length;
    uint64_t bytes; /* found free */
};

/* ---- libext2fs reads ---- */

static errcode_t part_close(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t part_set_block_size(io_channel channel, int size)
{
    channel->block_size = size;
    return 0;
}

/* count: blocks, or bytes where it is negative. */
static errcode_t part_read(io_channel channel, unsigned long long block, int count, void *data)
{
    const struct part *part = channel->private_data;
    uint64_t size = (uint64_t)channel->block_size;
    uint64_t length = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * size, at = block * size;

    if (block > UINT64_MAX / size || at > part->length || length > part->length - at)
        return EXT2_ET_SHORT_READ;
    return vdisk_transfer(part->disk, part->ring, VDISK_READ, data, part->offset + at, length) < 0 ? EXT2_ET_SHORT_READ
                                                                                                   : 0;
}

static errcode_t part_read_32(io_channel channel, unsigned long block, int count, void *data)
{
    return part_read(channel, block, count, data);
}

static errcode_t part_write(io_channel channel, unsigned long block, int count, const void *data)
{
    (void)channel, (void)block, (void)count, (void)data;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t part_flush(io_channel channel)
{
    (void)channel;
    return 0;
}

static errcode_t part_open(const char *name, int flags, io_channel *channel);

static const struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "vdisk",
    .open = part_open,
    .close = part_close,
    .set_blksize = part_set_block_size,
    .read_blk = part_read_32,
    .write_blk = part_write,
    .flush = part_flush,
    .read_blk64 = part_read,
};

/* The name is the part's address: there is no other way for it through ext2fs_open. */
static errcode_t part_open(const char *name, int flags, io_channel *channel)
{
    io_channel c = calloc(1, sizeof(*c));
    void *part;

    (void)flags;
    if (!c || sscanf(name, "%p", &part) != 1) {
        free(c);
        return EXT2_ET_NO_MEMORY;
    }
    c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    c->manager = (io_manager)&manager;
    c->block_size = 1024;
    c->refcount = 1;
    c->private_data = part;
    c->name = strdup(name);
    *channel = c;
    return 0;
}

/* ---- What is free ---- */

/* The disk does not need the range, of its own bytes at least. A fixed disk keeps its space but for what compaction
 * finds to be zero: only what holds data is made so. */
static int discard(struct part *part, uint64_t offset, uint64_t length)
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

static int discard_blocks(struct part *part, ext2_filsys fs, blk64_t first, blk64_t end)
{
    uint64_t unit = vdisk_sector_size(part->disk), start = part->offset + first * fs->blocksize;
    uint64_t stop = part->offset + end * fs->blocksize;

    start = (start + unit - 1) / unit * unit;
    stop = stop / unit * unit;
    return stop > start && stop <= part->offset + part->length ? discard(part, start, stop - start) : 0;
}

static int discard_free(struct part *part, ext2_filsys fs)
{
    blk64_t last = ext2fs_blocks_count(fs->super) - 1, at = fs->super->s_first_data_block;
    int err = 0;

    while (at <= last && !err) {
        blk64_t first, end;

        if (ext2fs_find_first_zero_block_bitmap2(fs->block_map, at, last, &first))
            break;
        if (ext2fs_find_first_set_block_bitmap2(fs->block_map, first, last, &end))
            end = last + 1;
        err = discard_blocks(part, fs, first, end);
        at = end;
    }
    return err;
}

/* Why the file system is left alone, or NULL. */
static const char *unfit(ext2_filsys fs)
{
    if (fs->super->s_feature_incompat & EXT3_FEATURE_INCOMPAT_RECOVER)
        return "its journal holds changes: it was not unmounted";
    if (!(fs->super->s_state & EXT2_VALID_FS) || fs->super->s_state & EXT2_ERROR_FS)
        return "it is not clean";
    if (ext2fs_read_block_bitmap(fs))
        return "its block bitmaps cannot be read";
    return NULL;
}

static int look_at(void *arg, uint64_t offset, uint64_t length)
{
    struct part *part = arg;
    uint64_t before = part->bytes;
    const char *why;
    ext2_filsys fs;
    char name[32];
    int err = 0;

    part->offset = offset;
    part->length = length;
    snprintf(name, sizeof(name), "%p", (void *)part);
    if (ext2fs_open(name, EXT2_FLAG_64BITS, 0, 0, (io_manager)&manager, &fs))
        return 0; /* there is none, or not one that this library knows */
    why = unfit(fs);
    if (!why)
        err = discard_free(part, fs);
    if (why)
        cli_say(part->cli, VDISK_NOTE, "%s: the ext file system at 0x%" PRIx64 ": %s; its free space stays",
                vdisk_path(part->disk), offset, why);
    else
        cli_say(part->cli, VDISK_NOTE, "%s: the ext file system at 0x%" PRIx64 ": %" PRIu64 " bytes are free",
                vdisk_path(part->disk), offset, part->bytes - before);
    ext2fs_close_free(&fs);
    return err;
}

int cli_free_discard(struct cli *cli, struct vdisk *disk, uint64_t *bytes)
{
    struct part part = {.cli = cli, .disk = disk};
    int err = vdisk_ring_open(1, VDISK_BACKEND_AUTO, &part.ring);

    if (err)
        return err;
    err = cli_partitions_each(disk, look_at, &part);
    if (!err)
        err = look_at(&part, 0, vdisk_size(disk));
    vdisk_ring_close(part.ring);
    *bytes += part.bytes;
    return err;
}
