/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Giving blocks a home, and taking whole blocks away. May block; lock is held but where it says otherwise.
 *
 * A block that becomes partially-present needs its chunk's sector bitmap block, durably in the BAT before: the two
 * entries may be in different pages, hence in different log entries. And none of its bits may be set: a crash leaves
 * bits without their block.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhdx.h"

#define BLOCKS_AT_ONCE 64
#define STEPS_AT_ONCE 65536

/* ---- Sector bitmap blocks ---- */

static int bitmap_open(struct vhdx *v, uint64_t chunk, uint64_t position)
{
    struct table *table;
    int err = table_open(v->disk.file, position, VHDX_BITMAP_SIZE, &table);

    if (!err)
        atomic_store_explicit(&v->bitmaps[chunk], table, memory_order_release);
    return err;
}

/* Storage for a bitmap that is there, before the first change to it. */
static int bitmap_make_solid(struct vhdx *v, uint64_t block)
{
    uint64_t chunk = vhdx_shape_chunk(&v->shape, block), position = table_position(v->bitmaps[chunk]);
    bool solid = v->solid[chunk] || MUTANT("vhdx-bitmap-no-space");
    int err = solid ? 0 : file_allocate(v->disk.file, position, VHDX_BITMAP_SIZE);

    if (err)
        return disk_error(&v->disk, err, "sector bitmap at 0x%" PRIx64 ": no space: %s", position, strerror(-err));
    atomic_store(&v->solid[chunk], true);
    return 0;
}

/* The bitmap of a block that is partially-present in the file. */
static int bitmap_find(struct vhdx *v, uint64_t block)
{
    uint64_t chunk = vhdx_shape_chunk(&v->shape, block), index = vhdx_shape_bitmap_index(&v->shape, chunk), entry = 0;
    int err;

    if (v->bitmaps[chunk])
        return 0;
    err = vhdx_entry_load(v, index, false);
    if (err)
        return err;
    vhdx_entry_get(v, index, &entry);
    if (!vhdx_entry_owns(entry))
        return disk_error(&v->disk, -EIO,
                          "block %" PRIu64 " is partially-present, but BAT entry %" PRIu64 " at 0x%" PRIx64
                          " has no sector bitmap for it",
                          block, index, v->regions.bat.position + index * sizeof(entry));
    return bitmap_open(v, chunk, entry & VHDX_ENTRY_POSITION);
}

/* A new bitmap would make a partially-present block of a damaged file look like its parent's. */
static int chunk_has_none(struct vhdx *v, uint64_t chunk)
{
    uint64_t first = chunk << v->shape.ratio_shift, last = (chunk + 1) << v->shape.ratio_shift;
    int err = 0;

    for (uint64_t block = first; block < last && block < v->shape.blocks && !err; block++) {
        uint64_t entry = 0;

        err = vhdx_entry_load(v, vhdx_shape_index(&v->shape, block), false);
        vhdx_entry_get(v, vhdx_shape_index(&v->shape, block), &entry);
        if (!err && vhdx_entry_state(entry) == VHDX_PARTIALLY_PRESENT)
            err = bitmap_find(v, block);
    }
    return err;
}

/* The bitmap of a block that is to become partially-present: found, or made. *waited: the lock was let go meanwhile. */
static int bitmap_prepare(struct vhdx *v, uint64_t block, bool *waited)
{
    uint64_t chunk = vhdx_shape_chunk(&v->shape, block), index = vhdx_shape_bitmap_index(&v->shape, chunk);
    uint64_t entry, position;
    _Atomic uint64_t *word;
    int err;

    *waited = false;
    if (v->bitmaps[chunk])
        return 0;
    err = vhdx_entry_load(v, index, true);
    if (err)
        return err;
    word = vhdx_entry_at(v, index);
    entry = le64toh(atomic_load(word));
    if (vhdx_entry_owns(entry) && !(entry & VHDX_ENTRY_HOME))
        return bitmap_open(v, chunk, entry & VHDX_ENTRY_POSITION);
    if (!vhdx_entry_owns(entry)) {
        err = MUTANT("vhdx-bitmap-over-damage") ? 0 : chunk_has_none(v, chunk);
        if (!err)
            err = vhdx_space_take(v, VHDX_BITMAP_SIZE, &position);
        if (err)
            return err;
        atomic_store(word, htole64(position | VHDX_ENTRY_HOME | VHDX_FULLY_PRESENT));
        vhdx_entry_mark(v, index);
    }
    *waited = true;
    pthread_mutex_unlock(&v->lock);
    err = MUTANT("vhdx-bitmap-not-first") ? 0 : vhdx_sync(&v->disk);
    pthread_mutex_lock(&v->lock);
    if (!err)
        atomic_fetch_and(word, htole64(~VHDX_ENTRY_HOME));
    return err;
}

/* ---- reserve ---- */

static bool block_bits(const struct vhdx *v, uint64_t block, struct vhdx_bits *bits)
{
    return vhdx_bits_of(v, block << v->shape.block_shift, v->shape.block_size, bits);
}

/* Until map can say where the block is. */
static int load_block(struct vhdx *v, uint64_t block, bool write)
{
    uint64_t index = vhdx_shape_index(&v->shape, block), entry = 0;
    struct vhdx_bits bits;
    int err;

    err = vhdx_entry_load(v, index, write);
    if (err)
        return err;
    vhdx_entry_get(v, index, &entry);
    if (vhdx_entry_state(entry) != VHDX_PARTIALLY_PRESENT)
        return 0;
    err = bitmap_find(v, block);
    if (!err && write)
        err = bitmap_make_solid(v, block);
    if (!err && block_bits(v, block, &bits))
        err = vhdx_bits_load(v, &bits);
    return err;
}

/* A block that is neither present nor has a home. *waited: nothing was done, look again. */
static int give_home(struct vhdx *v, uint64_t block, uint64_t entry, bool *waited)
{
    enum vhdx_state state = vhdx_entry_state(entry);
    struct vhdx_bits bits;
    uint64_t position;
    int err = 0;

    *waited = false;
    if (state == VHDX_NOT_PRESENT && v->shape.differencing) {
        err = bitmap_prepare(v, block, waited);
        if (err || *waited)
            return err;
        block_bits(v, block, &bits);
        err = bitmap_make_solid(v, block);
        if (!err)
            err = vhdx_bits_load(v, &bits);
        if (err)
            return err;
        if (!MUTANT("vhdx-stale-bits"))
            vhdx_bits_clear(&bits);
    }
    err = vhdx_space_take(v, v->shape.block_size, &position);
    if (!err)
        atomic_store(vhdx_entry_at(v, vhdx_shape_index(&v->shape, block)), htole64(position | VHDX_ENTRY_HOME | state));
    return err;
}

static int reserve_block(struct vhdx *v, uint64_t block)
{
    bool waited;

    do {
        uint64_t entry = 0;
        int err = load_block(v, block, true);

        if (err)
            return err;
        vhdx_entry_get(v, vhdx_shape_index(&v->shape, block), &entry);
        if (vhdx_entry_owns(entry) || entry & VHDX_ENTRY_HOME)
            return 0;
        err = give_home(v, block, entry, &waited);
        if (err)
            return err;
    } while (waited);
    return 0;
}

int vhdx_reserve(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length)
{
    struct vhdx *v = vhdx_of(disk);
    uint64_t first = offset >> v->shape.block_shift, last = (offset + length - 1) >> v->shape.block_shift;
    int err;

    pthread_mutex_lock(&v->lock);
    if (access == DISK_READ) {
        err = load_block(v, first, false);
    } else {
        err = vhdx_space_begin(v);
        for (uint64_t block = first; block <= last && block < first + BLOCKS_AT_ONCE && !err; block++) {
            err = reserve_block(v, block);
            if (err && block > first) { /* map answers for what came before */
                err = 0;
                break;
            }
        }
    }
    pthread_mutex_unlock(&v->lock);
    return err;
}

/* ---- drop ---- */

struct gone {
    struct vhdx_runs published, homes;
};

/* Makes one block zero; its space goes to gone. */
static int drop_block(struct vhdx *v, uint64_t block, struct gone *gone)
{
    uint64_t index = vhdx_shape_index(&v->shape, block), entry = 0, position;
    int err = vhdx_entry_load(v, index, false);

    if (err)
        return err;
    vhdx_entry_get(v, index, &entry);
    if (!(entry & VHDX_ENTRY_HOME) && (vhdx_entry_state(entry) == VHDX_ZERO ||
                                       (vhdx_entry_state(entry) == VHDX_NOT_PRESENT && !v->shape.differencing)))
        return 0;
    err = vhdx_space_begin(v);
    if (!err)
        err = vhdx_entry_load(v, index, true);
    if (err)
        return err;
    entry = le64toh(
        atomic_exchange(vhdx_entry_at(v, index), htole64(MUTANT("vhdx-parent-shines") ? VHDX_NOT_PRESENT : VHDX_ZERO)));
    vhdx_entry_mark(v, index);
    position = entry & VHDX_ENTRY_POSITION;
    if (entry & VHDX_ENTRY_HOME || (vhdx_entry_owns(entry) && MUTANT("vhdx-reused-early")))
        vhdx_runs_add(&gone->homes, position, v->shape.block_size);
    else if (vhdx_entry_owns(entry)) /* what an unmapped entry points to is not surely its own: that space stays */
        vhdx_runs_add(&gone->published, position, v->shape.block_size);
    return 0;
}

/* Requests that saw the old entries may still be under way. After them, a home that never was in the file's BAT can be
 * used again; other space when the BAT without it is durable. */
static void give_back(struct vhdx *v, struct gone *gone)
{
    if (gone->published.count > 0 || gone->homes.count > 0)
        disk_grace(&v->disk);
    pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < gone->published.count; i++)
        vhdx_runs_add(&v->pending, gone->published.run[i].position, gone->published.run[i].length);
    pthread_mutex_unlock(&v->lock);
    vhdx_space_recycle(v, &gone->homes);
    free(gone->published.run);
    free(gone->homes.run);
}

int64_t vhdx_drop(struct vdisk *disk, uint64_t offset, uint64_t length)
{
    struct vhdx *v = vhdx_of(disk);
    const struct vhdx_shape *shape = &v->shape;
    uint64_t first = offset >> shape->block_shift, end = (offset + length) >> shape->block_shift, block;
    struct gone gone = {0};
    int err = 0;

    if (disk->type == DISK_FIXED || offset & (shape->block_size - 1))
        return 0;
    if (offset + length == shape->size)
        end = shape->blocks;
    if (end - first > STEPS_AT_ONCE)
        end = first + STEPS_AT_ONCE;
    pthread_mutex_lock(&v->lock);
    for (block = first; block < end && !err; block++)
        err = drop_block(v, block, &gone);
    pthread_mutex_unlock(&v->lock);
    give_back(v, &gone);
    if (err && block - first <= 1)
        return err;
    if (err)
        block--;
    return (int64_t)((block << shape->block_shift) < shape->size ? (block - first) << shape->block_shift
                                                                 : shape->size - offset);
}
