/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was published becomes durable, in this order:
 *
 *     1. copies are taken of the bitmaps that are dirty and of the BAT sectors that differ from the file's
 *     2. the data is made durable: every bit in the copies speaks of data written before
 *     3. bitmaps are written, and made durable: every entry in the copies speaks of a bitmap written before
 *     4. the BAT's sectors are written, 512 bytes each, and made durable
 *
 * Much news goes in batches of bounded size, each in this order for itself. Callers that meet share a run: one that
 * comes while a run is under way waits for the next to begin and end.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

#define BITMAPS 1024u
#define SECTORS 128u

struct vhd_batch {
    struct {
        uint64_t position;
        const uint8_t *bits; /* in copies, or full */
    } bitmap[BITMAPS];
    struct {
        uint32_t first;                     /* block */
        uint32_t entry[VHD_SECTOR_ENTRIES]; /* in the file's byte order */
    } sector[SECTORS];
    unsigned bitmaps, sectors;
    size_t copied, room; /* bytes in copies */
    uint8_t *full;
    uint8_t copies[];
};

int vhd_batch_open(const struct vhd_layout *layout, struct vhd_batch **batch)
{
    size_t room = (size_t)VHD_SECTOR_ENTRIES * layout->bitmap_size;
    struct vhd_batch *b;

    if (*batch)
        return 0;
    if (room < 1u << 20)
        room = 1u << 20;
    b = calloc(1, sizeof(*b) + room + layout->bitmap_size);
    if (!b)
        return -ENOMEM;
    b->room = room;
    b->full = b->copies + room;
    memset(b->full, 0xFF, layout->block_size / VHD_SECTOR / 8);
    *batch = b;
    return 0;
}

void vhd_batch_close(struct vhd_batch *batch)
{
    free(batch);
}

static void copy_bitmap(struct vhd *v, uint32_t block, uint64_t state)
{
    struct vhd_batch *b = v->batch;
    uint64_t position = (state & VHD_STATE_SECTOR) * VHD_SECTOR, sectors = v->layout.block_size / VHD_SECTOR;
    _Atomic uint64_t *words;
    uint8_t *copy = b->copies + b->copied;

    assert(b->bitmaps < BITMAPS && b->copied + v->layout.bitmap_size <= b->room);
    b->bitmap[b->bitmaps].position = position;
    b->bitmap[b->bitmaps++].bits = state & VHD_STATE_FULL ? b->full : copy;
    if (state & VHD_STATE_FULL)
        return;
    words = atomic_load_explicit(&v->bitmap[block], memory_order_acquire);
    for (uint32_t i = 0; i < v->layout.bitmap_size / 8; i++) {
        struct be64 word = be64_of(atomic_load_explicit(&words[i], memory_order_acquire));

        if (MUTANT("vhd-bitmap-swapped"))
            word = be64_of(__builtin_bswap64(be64_get(word)));
        memcpy(copy + 8 * i, &word, sizeof(word));
    }
    b->copied += v->layout.bitmap_size;
    if (memcmp(copy, b->full, (size_t)(sectors / 8)) == 0) {
        state &= ~VHD_STATE_DIRTY;
        atomic_compare_exchange_strong(&v->state[block], &state, state | VHD_STATE_FULL); /* or some other time */
    }
}

/* The block's entry as it is to be in the file, where it is `old` now. A block that was given a home but has not been
 * published is not there yet; one that is being dropped may be gone already: its space is not used again before a later
 * sync. */
static uint32_t take_block(struct vhd *v, uint32_t block, uint32_t old)
{
    uint64_t state = atomic_load(&v->state[block]);

    if (state & VHD_STATE_DIRTY)
        state = atomic_fetch_and(&v->state[block], ~VHD_STATE_DIRTY);
    if (!(state & VHD_STATE_KNOWN))
        return old;
    if (!(state & VHD_STATE_HOME) || !(state & VHD_STATE_PUBLISHED || MUTANT("vhd-unpublished-in-bat")))
        return VHD_UNUSED;
    if (state & VHD_STATE_DIRTY)
        copy_bitmap(v, block, state);
    return (uint32_t)(state & VHD_STATE_SECTOR);
}

static void take_sector(struct vhd *v, const void *page, uint32_t first)
{
    struct vhd_batch *b = v->batch;
    bool news = false;

    for (uint32_t i = 0; i < VHD_SECTOR_ENTRIES; i++) {
        uint32_t old = vhd_bat_get(page, first + i), now = old;

        if (first + i < v->layout.blocks)
            now = take_block(v, first + i, old);
        news |= now != old;
        b->sector[b->sectors].entry[i] = htobe32(now);
    }
    if (news)
        b->sector[b->sectors++].first = first;
}

static bool has_room(const struct vhd *v)
{
    const struct vhd_batch *b = v->batch;

    return b->sectors < SECTORS && b->bitmaps + VHD_SECTOR_ENTRIES <= BITMAPS &&
           b->copied + (size_t)VHD_SECTOR_ENTRIES * v->layout.bitmap_size <= b->room;
}

/* Step 1. True: there is more than the batch holds. */
static bool collect(struct vhd *v)
{
    uint64_t index = 0;

    v->batch->bitmaps = v->batch->sectors = 0;
    v->batch->copied = 0;
    for (; table_collect(v->bat, &index); index++) {
        const void *page = table_page(v->bat, index);
        uint32_t first = (uint32_t)(index * VHD_PAGE_ENTRIES);

        for (uint32_t i = 0; i < VHD_PAGE_ENTRIES && first + i < v->layout.blocks; i += VHD_SECTOR_ENTRIES) {
            if (!has_room(v)) {
                table_mark(v->bat, index);
                return true;
            }
            take_sector(v, page, first + i);
        }
    }
    return false;
}

static int write_bitmaps(struct vhd *v)
{
    const struct vhd_batch *b = v->batch;
    int err = MUTANT("vhd-bitmap-before-data") ? 0 : file_sync(v->disk.file);

    for (unsigned i = 0; i < b->bitmaps && !err; i++)
        err = file_write(v->disk.file, b->bitmap[i].bits, v->layout.bitmap_size, b->bitmap[i].position);
    return err;
}

static int write_sectors(struct vhd *v)
{
    const struct vhd_batch *b = v->batch;
    int err = b->bitmaps && !MUTANT("vhd-bat-before-bitmap") ? file_sync(v->disk.file) : 0;

    for (unsigned i = 0; i < b->sectors && !err; i++)
        err = file_write(v->disk.file, b->sector[i].entry, VHD_SECTOR, v->layout.bat_at + 4ull * b->sector[i].first);
    return err;
}

/* The pages in memory are what the file has. */
static void remember_sectors(struct vhd *v)
{
    const struct vhd_batch *b = v->batch;

    for (unsigned i = 0; i < b->sectors; i++) {
        uint32_t first = b->sector[i].first;
        _Atomic uint32_t *entry = table_page(v->bat, first / VHD_PAGE_ENTRIES);

        for (uint32_t n = 0; n < VHD_SECTOR_ENTRIES; n++)
            atomic_store_explicit(&entry[first % VHD_PAGE_ENTRIES + n], b->sector[i].entry[n], memory_order_relaxed);
    }
}

static int commit(struct vhd *v)
{
    int err = 0;

    if (v->batch->bitmaps)
        err = write_bitmaps(v);
    if (!err && v->batch->sectors)
        err = write_sectors(v);
    if (!err && !MUTANT("vhd-bat-not-durable"))
        err = file_sync(v->disk.file);
    if (!err)
        remember_sectors(v);
    return err;
}

static int run(struct vhd *v)
{
    struct vhd_space *freed;
    bool more = false;
    int err = 0;

    if (!atomic_load(&v->begun))
        return file_sync(v->disk.file);
    pthread_mutex_lock(&v->lock);
    freed = v->freed; /* removed and marked before this run */
    v->freed = NULL;
    v->freed_count = 0;
    pthread_mutex_unlock(&v->lock);
    do {
        more = collect(v);
        err = commit(v);
    } while (more && !err);
    if (err)
        vhd_space_close(freed);
    else
        vhd_space_return(v, freed);
    return err;
}

int vhd_sync(struct vdisk *disk)
{
    struct vhd *v = vhd_of(disk);
    uint64_t wanted;
    int err;

    if (!disk->writable)
        return 0;
    pthread_mutex_lock(&v->sync);
    wanted = v->sync_started + 1;
    while (v->sync_finished < wanted && !atomic_load(&disk->failed)) {
        if (v->sync_running) {
            pthread_cond_wait(&v->sync_done, &v->sync);
            continue;
        }
        v->sync_running = true;
        v->sync_started++;
        pthread_mutex_unlock(&v->sync);
        err = run(v);
        if (err)
            disk_fail(disk, err);
        pthread_mutex_lock(&v->sync);
        v->sync_running = false;
        v->sync_finished = v->sync_started;
        pthread_cond_broadcast(&v->sync_done);
    }
    pthread_mutex_unlock(&v->sync);
    return atomic_load(&disk->failed);
}
