/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The map: where bytes live, and that they are there now. No locks, nothing blocks, nothing is allocated.
 *
 * A block's bits are set before its word says DIRTY, and a new block's word says PUBLISHED last: whoever reads the word
 * (acquire) sees the bits. Bits are only ever set; a drop takes the whole block away.
 *
 * A write publishes unless everything it would say is known to sync already. It may find its sectors set while the
 * one who set them has not come to say DIRTY, or to mark the page: a flush would then miss them. So bits are set under
 * a count of USERs in the word, and only a word without USERs and DIRTY, read after the bits, lets a write be silent.
 */
#include <assert.h>
#include <errno.h>

#include "disk/mutant.h"
#include "vhd.h"

/* What is known of the block: its word, or what the BAT page in memory says of an unused entry. 0: ask reserve. */
static uint64_t look_up(const struct vhd *v, uint32_t block)
{
    uint64_t state = atomic_load_explicit(&v->state[block], memory_order_acquire);
    const void *page;

    if (state)
        return state;
    page = table_page(v->bat, block / VHD_PAGE_ENTRIES);
    return page && vhd_bat_get(page, block) == VHD_UNUSED ? VHD_STATE_KNOWN : 0;
}

static bool is_shown(uint64_t state)
{
    return (state & VHD_STATE_HOME) && (state & VHD_STATE_PUBLISHED);
}

static uint64_t data_position(const struct vhd *v, uint64_t state)
{
    return (state & VHD_STATE_SECTOR) * VHD_SECTOR + v->layout.bitmap_size;
}

/* How many sectors from first on, at most count (not 0), are all there or all not there. */
static uint64_t bits_run(_Atomic uint64_t *bitmap, uint64_t first, uint64_t count, bool *set)
{
    uint64_t at = first, end = first + count;

    while (at < end) {
        uint64_t word = atomic_load_explicit(&bitmap[at / 64], memory_order_acquire) << at % 64;
        unsigned there = 64 - (unsigned)(at % 64), same;

        if (at == first)
            *set = word >> 63;
        if (*set)
            word = ~word;
        same = word ? (unsigned)__builtin_clzll(word) : 64;
        if (same < there) {
            at += same;
            break;
        }
        at += there;
    }
    return (at < end ? at : end) - first;
}

/* Blocks that are not there, as far as this page of the BAT tells. */
static uint64_t absent_run(const struct vhd *v, uint32_t block, uint64_t have, uint64_t length)
{
    uint32_t page = block / VHD_PAGE_ENTRIES;

    while (have < length && ++block / VHD_PAGE_ENTRIES == page) {
        uint64_t state = look_up(v, block);

        if (state == 0 || is_shown(state))
            break;
        have += v->layout.block_size;
    }
    return have < length ? have : length;
}

static int map_read(const struct vhd *v, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
    uint32_t block = (uint32_t)(offset / v->layout.block_size), within = (uint32_t)(offset % v->layout.block_size);
    uint64_t state = look_up(v, block), rest = v->layout.block_size - within;
    bool child = v->disk.type == DISK_DIFFERENCING, set = true;

    if (state == 0)
        return -EAGAIN;
    if (!is_shown(state)) {
        *extent = (struct disk_extent){.kind = child ? VDISK_EXTENT_BELOW : VDISK_EXTENT_ZERO,
                                       .state = "unallocated",
                                       .length = absent_run(v, block, rest, length)};
        return 0;
    }
    if (rest > length)
        rest = length;
    if (!(state & VHD_STATE_FULL))
        rest = VHD_SECTOR * bits_run(atomic_load_explicit(&v->bitmap[block], memory_order_acquire), within / VHD_SECTOR,
                                     rest / VHD_SECTOR, &set);
    if (set)
        *extent = (struct disk_extent){.kind = VDISK_EXTENT_DATA,
                                       .length = rest,
                                       .state = "allocated",
                                       .position = data_position(v, state) + within};
    else
        *extent = (struct disk_extent){
            .kind = child ? VDISK_EXTENT_BELOW : VDISK_EXTENT_ZERO, .length = rest, .state = "sector-clear"};
    return 0;
}

/* Are all sectors of the range there, and does sync know? */
static bool is_old_news(const struct vhd *v, uint32_t block, uint64_t state, uint64_t first, uint64_t count)
{
    bool set;

    if (state & VHD_STATE_FULL)
        return !(state & VHD_STATE_DIRTY);
    if (!(state & VHD_STATE_PUBLISHED))
        return false;
    if (bits_run(atomic_load_explicit(&v->bitmap[block], memory_order_acquire), first, count, &set) < count || !set)
        return false;
    return !(atomic_load(&v->state[block]) & (VHD_STATE_DIRTY | VHD_STATE_USERS));
}

/* Writes wait for reserve until vhd_begin has been. */
static int map_write(const struct vhd *v, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
    uint32_t block = (uint32_t)(offset / v->layout.block_size), within = (uint32_t)(offset % v->layout.block_size);
    uint64_t state = atomic_load_explicit(&v->state[block], memory_order_acquire);
    uint64_t rest = v->layout.block_size - within;

    if (!atomic_load_explicit(&v->begun, memory_order_acquire) || !(state & VHD_STATE_HOME))
        return -EAGAIN;
    if (rest > length)
        rest = length;
    *extent = (struct disk_extent){
        .kind = VDISK_EXTENT_DATA,
        .length = rest,
        .position = data_position(v, state) + within,
        .publish = !is_old_news(v, block, state, within / VHD_SECTOR, rest / VHD_SECTOR),
        .state = "allocated",
    };
    return 0;
}

int vhd_map(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
    struct vhd *v = vhd_of(disk);

    assert(length > 0);
    if (disk->type == DISK_FIXED) {
        *extent =
            (struct disk_extent){.kind = VDISK_EXTENT_DATA, .length = length, .position = offset, .state = "fixed"};
        return 0;
    }
    return access == DISK_WRITE ? map_write(v, offset, length, extent) : map_read(v, offset, length, extent);
}

static void set_bits(_Atomic uint64_t *bitmap, uint64_t first, uint64_t count)
{
    while (count > 0) {
        unsigned from = (unsigned)(first % 64), n = 64 - from;
        uint64_t mask = ~UINT64_C(0) >> from;

        if (n > count) {
            mask &= ~UINT64_C(0) << (n - count);
            n = (unsigned)count;
        }
        if ((atomic_load_explicit(&bitmap[first / 64], memory_order_relaxed) & mask) != mask)
            atomic_fetch_or_explicit(&bitmap[first / 64], mask, memory_order_release);
        first += n;
        count -= n;
    }
}

/* Counts users up or down and sets flags, if the block still lives at the sector. */
static bool update(_Atomic uint64_t *word, uint64_t sector, int users, uint64_t flags)
{
    uint64_t state = atomic_load(word);

    do {
        if (!(state & VHD_STATE_HOME) || (state & VHD_STATE_SECTOR) != sector)
            return false;
    } while (!atomic_compare_exchange_weak(word, &state, (state + (uint64_t)users * VHD_STATE_USER) | flags));
    return true;
}

/* A new block of a dynamic disk is there as a whole: its other sectors are new space, which reads as zeros, and readers
 * that know no bitmaps (QEMU) see the same. In a child, and in a block that another writer left partial, only the
 * sectors of the range are. */
void vhd_publish(struct vdisk *disk, uint64_t offset, uint64_t length, uint64_t position)
{
    struct vhd *v = vhd_of(disk);
    uint32_t block = (uint32_t)(offset / v->layout.block_size), within = (uint32_t)(offset % v->layout.block_size);
    _Atomic uint64_t *word = &v->state[block];
    uint64_t state = atomic_load_explicit(word, memory_order_acquire), sector = state & VHD_STATE_SECTOR;

    assert(length > 0 && length <= v->layout.block_size - within);
    if (!(state & VHD_STATE_HOME) || data_position(v, state) + within != position)
        return;
    if (state & VHD_STATE_FULL) {
        if (!(state & VHD_STATE_DIRTY))
            return;
    } else if ((disk->type == DISK_DYNAMIC || MUTANT("vhd-child-block-whole")) && !(state & VHD_STATE_PUBLISHED)) {
        if (!update(word, sector, 0, VHD_STATE_PUBLISHED | VHD_STATE_FULL | VHD_STATE_DIRTY))
            return;
    } else {
        if (!update(word, sector, 1, 0))
            return;
        set_bits(atomic_load_explicit(&v->bitmap[block], memory_order_acquire), within / VHD_SECTOR,
                 length / VHD_SECTOR);
        if (!update(word, sector, -1, VHD_STATE_PUBLISHED | VHD_STATE_DIRTY))
            return;
    }
    if (!MUTANT("vhd-page-unmarked"))
        table_mark(v->bat, block / VHD_PAGE_ENTRIES);
}
