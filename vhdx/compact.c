/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For compaction: where blocks are, which MiB of the file belong to nobody, and blocks that go there. A block's bytes
 * are at its new place before its entry names it; the entry goes through the log with all others, after the data
 * (sync.c); the old place keeps its bytes until the sync that makes the new one durable is over. The BAT, the metadata
 * and sector bitmap blocks stay where they are.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhdx.h"

static int locate(struct vhdx *v, uint64_t index, uint64_t *entry)
{
    int err;

    *entry = 0;
    err = vhdx_entry_load(v, index, false);
    vhdx_entry_get(v, index, entry);
    return err;
}

int vhdx_locate(struct vdisk *disk, uint64_t offset, uint64_t *position)
{
    struct vhdx *v = vhdx_of(disk);
    uint64_t entry;
    int err;

    pthread_mutex_lock(&v->lock);
    err = locate(v, vhdx_shape_index(&v->shape, offset >> v->shape.block_shift), &entry);
    pthread_mutex_unlock(&v->lock);
    *position = entry & VHDX_ENTRY_POSITION;
    return err ? err : vhdx_entry_owns(entry) && !(entry & VHDX_ENTRY_HOME);
}

/* ---- What belongs to nobody ---- */

struct owners {
    uint8_t *bits; /* a bit for each MiB */
    uint64_t mibs;
};

static void own(struct owners *o, uint64_t position, uint64_t length)
{
    uint64_t first = position / VHDX_MIB, end = (position + length + VHDX_MIB - 1) / VHDX_MIB;

    for (uint64_t mib = first; mib < end && mib < o->mibs; mib++)
        o->bits[mib / 8] |= (uint8_t)(1u << mib % 8);
}

static int find_owners(struct vhdx *v, struct owners *o)
{
    for (unsigned i = 0; i < v->regions.count; i++)
        own(o, v->regions.list[i].position, v->regions.list[i].length);
    for (size_t i = 0; i < v->pending.count; i++)
        own(o, v->pending.run[i].position, v->pending.run[i].length);
    for (uint64_t index = 0; index < v->shape.entries; index++) {
        bool bitmap = vhdx_shape_is_bitmap(&v->shape, index);
        uint64_t entry;
        int err = locate(v, index, &entry);

        if (err)
            return err;
        if (entry & VHDX_ENTRY_POSITION && !(bitmap && !v->shape.differencing))
            own(o, entry & VHDX_ENTRY_POSITION, bitmap ? VHDX_BITMAP_SIZE : v->shape.block_size);
    }
    return 0;
}

/* What the file has of a range reads as zeros. */
static int clear(struct vhdx *v, uint64_t position, uint64_t end)
{
    struct file *file = v->disk.file;
    int err;

    if (end > file->size)
        end = file->size;
    err = position < end ? file_zero(file, position, end - position, false) : 0;
    return MUTANT("vhdx-reclaimed-unclean") ? 0 : err;
}

/* From the end on, so that what is taken first stands first. What ends the file is given back to nobody. Each gap is zeros
 * before anybody may have it: after an error the rest belongs to nobody still. */
static int use_gaps(struct vhdx *v, const struct owners *o)
{
    uint64_t end = o->mibs, start;
    int err = 0;

    v->available.count = 0;
    for (; end > 0; end = start) {
        for (start = end; start > 0 && !(o->bits[(start - 1) / 8] >> (start - 1) % 8 & 1);)
            start--;
        if (start == end) {
            start--;
            continue;
        }
        if (end < o->mibs && (end - start) * VHDX_MIB < v->shape.block_size)
            continue;
        err = clear(v, start * VHDX_MIB, end * VHDX_MIB);
        if (err)
            break;
        if (end == o->mibs)
            v->end = start * VHDX_MIB;
        else
            vhdx_runs_add(&v->available, start * VHDX_MIB, (end - start) * VHDX_MIB);
    }
    return err;
}

int vhdx_reclaim(struct vdisk *disk)
{
    struct vhdx *v = vhdx_of(disk);
    struct owners o = {0};
    int err;

    pthread_mutex_lock(&v->lock);
    err = vhdx_space_begin(v);
    o.mibs = v->end / VHDX_MIB;
    o.bits = err ? NULL : calloc(o.mibs / 8 + 1, 1);
    if (!err && !o.bits)
        err = -ENOMEM;
    if (!err)
        err = find_owners(v, &o);
    if (!err)
        err = use_gaps(v, &o);
    pthread_mutex_unlock(&v->lock);
    free(o.bits);
    return err ? disk_error(disk, err, "space in the file cannot be given back: %s", strerror(-err)) : 0;
}

/* ---- Relocation ---- */

/* The first place for a block, if it is before position. */
static bool take_first(struct vhdx *v, uint64_t position, uint64_t *to)
{
    struct vhdx_run *first = NULL;

    for (size_t i = 0; i < v->available.count; i++) {
        struct vhdx_run *run = &v->available.run[i];

        if (run->length >= v->shape.block_size && run->position < position &&
            (!first || run->position < first->position))
            first = run;
    }
    if (!first)
        return false;
    *to = first->position;
    first->position += v->shape.block_size;
    first->length -= v->shape.block_size;
    if (first->length == 0)
        *first = v->available.run[--v->available.count];
    return true;
}

/* The block lives there from now on; its old place is pending once nobody is under way to it. */
static void name(struct vhdx *v, uint64_t index, uint64_t entry, uint64_t to)
{
    uint64_t from = entry & VHDX_ENTRY_POSITION;

    pthread_mutex_lock(&v->lock);
    atomic_store(vhdx_entry_at(v, index), htole64(to | (entry & ~VHDX_ENTRY_POSITION)));
    vhdx_entry_mark(v, index);
    pthread_mutex_unlock(&v->lock);
    if (!MUTANT("vhdx-relocated-at-once"))
        disk_grace(&v->disk);
    pthread_mutex_lock(&v->lock);
    vhdx_runs_add(MUTANT("vhdx-relocated-freed-early") ? &v->available : &v->pending, from, v->shape.block_size);
    pthread_mutex_unlock(&v->lock);
}

int vhdx_relocate(struct vdisk *disk, uint64_t offset, uint64_t *moved)
{
    struct vhdx *v = vhdx_of(disk);
    uint64_t block = offset >> v->shape.block_shift, index = vhdx_shape_index(&v->shape, block), entry, to;
    bool there = false;
    int err;

    pthread_mutex_lock(&v->lock);
    err = vhdx_space_begin(v);
    if (!err)
        err = vhdx_entry_load(v, index, true);
    if (!err)
        err = locate(v, index, &entry);
    if (!err && vhdx_entry_owns(entry) && !(entry & VHDX_ENTRY_HOME))
        there = take_first(v, entry & VHDX_ENTRY_POSITION, &to);
    pthread_mutex_unlock(&v->lock);
    if (err || !there)
        return err;
    err = file_copy_data(disk->file, entry & VHDX_ENTRY_POSITION, to, vhdx_shape_used(&v->shape, block), moved);
    if (err) {
        struct vhdx_run run = {to, v->shape.block_size};

        vhdx_space_recycle(v, &(struct vhdx_runs){.run = &run, .count = 1});
        return disk_error(disk, err, "block %" PRIu64 " cannot be moved to 0x%" PRIx64 ": %s", block, to,
                          strerror(-err));
    }
    name(v, index, entry, to);
    return 1;
}
