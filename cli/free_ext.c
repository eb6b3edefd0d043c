/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free space by libext2fs, which reads through an I/O manager over the disk. A file system that was not unmounted, or
 * whose journal holds something, is left alone: its bitmaps are not the truth.
 */
#include <ext2fs/ext2fs.h>
#include <stdlib.h>
#include <string.h>

#include "cli/free_part.h"

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
    struct free_part *part = channel->private_data;
    uint64_t size = (uint64_t)channel->block_size;
    uint64_t length = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * size, at = block * size;

    if (block > UINT64_MAX / size || at > part->length || length > part->length - at)
        return EXT2_ET_SHORT_READ;
    return free_part_read(part, data, at, length) < 0 ? EXT2_ET_SHORT_READ : 0;
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

static int discard_free(struct free_part *part, ext2_filsys fs)
{
    blk64_t last = ext2fs_blocks_count(fs->super) - 1, at = fs->super->s_first_data_block;
    int err = 0;

    while (at <= last && !err) {
        blk64_t first, end;

        if (ext2fs_find_first_zero_block_bitmap2(fs->block_map, at, last, &first))
            break;
        if (ext2fs_find_first_set_block_bitmap2(fs->block_map, first, last, &end))
            end = last + 1;
        err = free_part_discard(part, first * fs->blocksize, (end - first) * fs->blocksize);
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

int free_ext(struct free_part *part)
{
    static const char *const names[] = {"ext2", "ext3", "ext4", "ext4dev", "jbd", NULL}; /* jbd: a journal apart */
    uint64_t before = part->bytes;
    const char *why;
    ext2_filsys fs;
    char name[32];
    int err = 0;

    snprintf(name, sizeof(name), "%p", (void *)part);
    if (ext2fs_open(name, EXT2_FLAG_64BITS, 0, 0, (io_manager)&manager, &fs))
        return 0; /* there is none, or not one that this library knows */
    why = unfit(fs);
    if (!why)
        err = free_part_alone(part, names, &why);
    if (!err && !why)
        err = discard_free(part, fs);
    if (!err)
        free_part_say(part, "ext", before, why);
    ext2fs_close_free(&fs);
    return err;
}
