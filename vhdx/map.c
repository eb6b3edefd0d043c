/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where bytes live, and that they are there now: never blocking, without a lock.
 */
#include <assert.h>
#include <errno.h>

#include "disk/mutant.h"
#include "vhdx.h"

#define STEPS_MAX 1024 /* map does not block: it looks at no more entries than this */

/* Is this block's entry what entry would be for it? */
static bool same_as_next(const struct vhdx *v, uint64_t block, uint64_t entry)
{
    uint64_t next;

    if (block >= v->shape.blocks || !vhdx_entry_get(v, vhdx_shape_index(&v->shape, block), &next))
        return false;
    if (vhdx_entry_state(entry) == VHDX_FULLY_PRESENT)
        return next == entry;
    return vhdx_entry_state(next) == vhdx_entry_state(entry);
}

/* From offset on: how far the blocks after its own are of the same state and, where they hold data, lie one behind the
 * other in the file. */
static uint64_t extend(const struct vhdx *v, uint64_t offset, uint64_t length, uint64_t entry)
{
    const struct vhdx_shape *shape = &v->shape;
    uint64_t block = offset >> shape->block_shift, end;

    for (int step = 0; step < STEPS_MAX; step++) {
        uint64_t page = vhdx_shape_index(shape, block) / VHDX_ENTRIES_PER_PAGE;

        if (atomic_load_explicit(&v->pages[page], memory_order_acquire) == VHDX_PAGE_HOLE)
            block = vhdx_shape_block(shape, (page + 1) * VHDX_ENTRIES_PER_PAGE);
        else
            block++;
        end = block << shape->block_shift;
        if (vhdx_entry_owns(entry))
            entry += shape->block_size;
        if (end - offset >= length || !same_as_next(v, block, entry))
            break;
    }
    return end - offset < length ? end - offset : length;
}

/* A run of sectors that are all in the file, or all not. */
static int map_partial(const struct vhdx *v, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
    uint64_t left = v->shape.block_size - (offset & (v->shape.block_size - 1)), run;
    struct vhdx_bits bits;
    bool set;

    if (!vhdx_bits_of(v, offset, length < left ? length : left, &bits))
        return -EAGAIN;
    run = vhdx_bits_run(&bits, &set);
    if (run == 0)
        return -EAGAIN;
    extent->kind = set ? VDISK_EXTENT_DATA : VDISK_EXTENT_BELOW;
    extent->length = run << v->shape.sector_shift;
    return 0;
}

static int map_read(const struct vhdx *v, uint64_t offset, uint64_t length, uint64_t entry, struct disk_extent *extent)
{
    enum vhdx_state state = vhdx_entry_state(entry);

    if (state == VHDX_PARTIALLY_PRESENT)
        return map_partial(v, offset, length, extent);
    if (state == VHDX_FULLY_PRESENT)
        extent->kind = VDISK_EXTENT_DATA;
    else
        extent->kind = state == VHDX_NOT_PRESENT && v->shape.differencing ? VDISK_EXTENT_BELOW : VDISK_EXTENT_ZERO;
    extent->length = extend(v, offset, length, entry);
    return 0;
}

static int map_write(const struct vhdx *v, uint64_t offset, uint64_t length, uint64_t entry, struct disk_extent *extent)
{
    uint64_t left = v->shape.block_size - (offset & (v->shape.block_size - 1)), run;
    enum vhdx_state state = vhdx_entry_state(entry);
    struct vhdx_bits bits;
    bool set;

    if (state == VHDX_FULLY_PRESENT) {
        extent->length = extend(v, offset, length, entry);
        return 0;
    }
    extent->length = length < left ? length : left;
    if (state == VHDX_PARTIALLY_PRESENT) {
        if (!vhdx_bits_of(v, offset, extent->length, &bits) || !vhdx_bits_loaded(&bits))
            return -EAGAIN;
        run = vhdx_bits_run(&bits, &set);
        extent->publish = !set || run < bits.count;
        return extent->publish && !MUTANT("vhdx-bitmap-unprepared") && !atomic_load(&v->solid[vhdx_shape_chunk(&v->shape, offset >> v->shape.block_shift)])
                   ? -EAGAIN
                   : 0;
    }
    extent->publish = true;
    return entry & VHDX_ENTRY_HOME ? 0 : -EAGAIN;
}

int vhdx_map(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
    const struct vhdx *v = vhdx_of(disk);
    uint64_t block = offset >> v->shape.block_shift, entry;

    if (access == DISK_WRITE && !atomic_load_explicit(&v->begun, memory_order_acquire))
        return -EAGAIN;
    if (!vhdx_entry_get(v, vhdx_shape_index(&v->shape, block), &entry))
        return -EAGAIN;
    *extent = (struct disk_extent){.kind = VDISK_EXTENT_DATA,
                                   .position = (entry & VHDX_ENTRY_POSITION) + (offset & (v->shape.block_size - 1)),
                                   .state = vhdx_state_name(vhdx_entry_state(entry))};
    if (access == DISK_WRITE)
        return map_write(v, offset, length, entry, extent);
    return map_read(v, offset, length, entry, extent);
}

/* Data is in the file; first the bits, then the entry. Whoever looks at a changed page without its mark waits until
 * publishing is 0 (sync.c). */
void vhdx_publish(struct vdisk *disk, uint64_t offset, uint64_t length, uint64_t position)
{
    struct vhdx *v = vhdx_of(disk);
    uint64_t index = vhdx_shape_index(&v->shape, offset >> v->shape.block_shift);
    uint64_t home = position - (offset & (v->shape.block_size - 1));
    _Atomic uint64_t *word = vhdx_entry_at(v, index);
    uint64_t raw, entry;
    struct vhdx_bits bits;
    bool partial;

    assert(word);
    atomic_fetch_add(&v->publishing, 1);
    raw = atomic_load(word);
    entry = le64toh(raw);
    partial = vhdx_entry_state(entry) == VHDX_PARTIALLY_PRESENT ||
              (vhdx_entry_state(entry) == VHDX_NOT_PRESENT && v->shape.differencing);
    if ((entry & VHDX_ENTRY_POSITION) == home) {
        if (partial && !MUTANT("vhdx-bits-forgotten") && vhdx_bits_of(v, offset, length, &bits))
            vhdx_bits_set(&bits);
        if (entry & VHDX_ENTRY_HOME &&
            atomic_compare_exchange_strong(word, &raw,
                                           htole64(home | (partial ? VHDX_PARTIALLY_PRESENT : VHDX_FULLY_PRESENT))))
            vhdx_entry_mark(v, index);
    }
    atomic_fetch_sub(&v->publishing, 1);
}
