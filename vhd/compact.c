/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For compaction: where blocks are, which places between them are free, and blocks that go there (relocate.c). A place
 * that a block has left is given back by the sync that makes its new one durable, like that of a block that was
 * dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

int vhd_locate(struct vdisk *disk, uint64_t offset, uint64_t *position)
{
    struct vhd *v = vhd_of(disk);
    uint32_t block, sector;
    int err;

    if (disk->type == DISK_FIXED) {
        *position = offset;
        return 1;
    }
    block = (uint32_t)(offset / v->layout.block_size);
    pthread_mutex_lock(&v->lock);
    err = vhd_begin(v);
    sector = err ? VHD_UNUSED : vhd_home(v, block);
    if (atomic_load(&v->state[block]) && !(atomic_load(&v->state[block]) & VHD_STATE_PUBLISHED))
        sector = VHD_UNUSED;
    pthread_mutex_unlock(&v->lock);
    *position = (uint64_t)sector * VHD_SECTOR;
    return err ? err : sector != VHD_UNUSED;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static uint32_t add_list(uint32_t *taken, const struct vhd_space *list)
{
    uint32_t count = 0;

    for (; list; list = list->next)
        taken[count++] = list->sector;
    return count;
}

/* The sectors of all places that are a block's, or will be, or are free already, in order; malloced. */
static uint32_t *collect(struct vhd *v, uint32_t *count)
{
    uint32_t most = v->layout.blocks + v->freed_count, *taken;

    for (const struct vhd_space *space = v->free; space; space = space->next)
        most++;
    taken = malloc(most * sizeof(*taken) + 1);
    *count = 0;
    if (!taken)
        return NULL;
    for (uint32_t block = 0; block < v->layout.blocks; block++) {
        uint32_t sector = vhd_home(v, block);

        if (sector != VHD_UNUSED)
            taken[(*count)++] = sector;
    }
    *count += add_list(taken + *count, v->free);
    *count += add_list(taken + *count, v->freed);
    qsort(taken, *count, sizeof(*taken), by_value);
    return taken;
}

/* Places in a gap become free. Space before the first block is not touched: it may hold what we do not know. */
static int use_gap(struct vhd *v, uint64_t start, uint64_t end)
{
    const struct vhd_layout *l = &v->layout;
    uint64_t data = vhd_align(start + l->bitmap_size, VHD_ALIGN);

    for (; data + l->block_size <= end; data = vhd_align(data + l->block_size + l->bitmap_size, VHD_ALIGN)) {
        uint32_t sector = (uint32_t)((data - l->bitmap_size) / VHD_SECTOR);
        struct vhd_space *space;
        int err;

        if (vhd_entry_check(l, 0, sector, NULL))
            continue;
        space = malloc(sizeof(*space));
        err = space ? file_zero(v->disk.file, data - l->bitmap_size, l->bitmap_size + l->block_size, false) : -ENOMEM;
        if (err) {
            free(space);
            return err;
        }
        *space = (struct vhd_space){v->free, sector};
        v->free = space;
    }
    return 0;
}

static int reclaim(struct vhd *v)
{
    uint64_t bytes = (uint64_t)v->layout.bitmap_size + v->layout.block_size;
    uint32_t count, *taken = collect(v, &count);
    int err = taken ? 0 : -ENOMEM;

    for (uint32_t i = 1; i < count && !err; i++)
        err = use_gap(v, (uint64_t)taken[i - 1] * VHD_SECTOR + bytes, (uint64_t)taken[i] * VHD_SECTOR);
    free(taken);
    return err;
}

int vhd_reclaim(struct vdisk *disk)
{
    struct vhd *v = vhd_of(disk);
    int err;

    if (disk->type == DISK_FIXED)
        return 0;
    pthread_mutex_lock(&v->lock);
    err = vhd_begin(v);
    if (!err)
        err = reclaim(v);
    pthread_mutex_unlock(&v->lock);
    return err ? disk_error(disk, err, "space between blocks cannot be given back: %s", strerror(-err)) : 0;
}

/* The first free place, if it is before the sector; its bitmap has storage. NULL: there is none. */
static int take_first(struct vhd *v, uint32_t sector, struct vhd_space **taken)
{
    struct vhd_space **first = NULL;
    int err;

    *taken = NULL;
    for (struct vhd_space **at = &v->free; *at; at = &(*at)->next)
        if ((*at)->sector < sector && (!first || (*at)->sector < (*first)->sector))
            first = at;
    if (!first)
        return 0;
    err = file_allocate(v->disk.file, (uint64_t)(*first)->sector * VHD_SECTOR, v->layout.bitmap_size);
    if (err)
        return disk_error(&v->disk, err, "block at 0x%llx: no space: %s",
                          (unsigned long long)(*first)->sector * VHD_SECTOR, strerror(-err));
    *taken = *first;
    *first = (*first)->next;
    return 0;
}

static void add_freed(struct vhd *v, struct vhd_space *space)
{
    struct vhd_space **list = MUTANT("vhd-relocated-freed-early") ? &v->free : &v->freed;

    pthread_mutex_lock(&v->lock);
    space->next = *list;
    *list = space;
    v->freed_count++;
    pthread_mutex_unlock(&v->lock);
}

int vhd_relocate_first(struct vdisk *disk, uint64_t offset, uint64_t *moved)
{
    struct vhd *v = vhd_of(disk);
    uint32_t block, from, to;
    struct vhd_space *space = NULL;
    int err = 0;

    if (disk->type == DISK_FIXED) /* it has no blocks */
        return 0;
    block = (uint32_t)(offset / v->layout.block_size);
    pthread_mutex_lock(&v->lock);
    from = vhd_home(v, block);
    if (from != VHD_UNUSED) /* who loads it later might give it its old place */
        err = vhd_load_block(v, block);
    if (!err && from != VHD_UNUSED)
        err = take_first(v, from, &space);
    pthread_mutex_unlock(&v->lock);
    if (err || !space)
        return err;
    to = space->sector;
    err = vhd_relocate(v, block, to, moved);
    if (!err && !MUTANT("vhd-relocated-at-once"))
        disk_grace(disk); /* who was told the old place */
    if (!err)
        space->sector = from;
    add_freed(v, space);
    return err ? err : 1;
}
