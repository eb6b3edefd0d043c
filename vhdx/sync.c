/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making everything durable. One run at a time; whoever comes while one is under way waits for the next, all of them
 * for the same.
 *
 * A run copies all marked pages under the lock, sector bitmaps before the BAT; then the data is made durable, then the
 * pages go through the log in groups, in that order (log.c). Bitmap before BAT: see vhdx.h. Space whose last name was
 * among these pages is available afterwards. Where memory does not do for all pages, the run begins again with the rest:
 * there is always room for one group.
 *
 * A run that fails is the last: which of its writes are durable nobody knows.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhdx.h"

/* What a run makes durable. */
struct run {
    struct vhdx_batch *batches, *last_batch;
    uint64_t flushed, last; /* [MS-VHDX] 2.3.1.1: FlushedFileOffset, LastFileOffset */
    struct vhdx_runs gone;
};

/* A batch with room for a page. */
static struct vhdx_batch *room(struct vhdx *v, struct run *run)
{
    struct vhdx_batch *batch = run->last_batch;

    if (batch && batch->count < VHDX_BATCH_PAGES)
        return batch;
    batch = v->batch;
    v->batch = NULL;
    if (!batch)
        batch = malloc(sizeof(*batch));
    if (!batch)
        return NULL;
    batch->next = NULL;
    batch->count = 0;
    if (run->last_batch)
        run->last_batch->next = batch;
    else
        run->batches = batch;
    run->last_batch = batch;
    return batch;
}

/* An entry as the file is to have it. */
static uint64_t entry_for_file(uint64_t entry)
{
    if (!(entry & VHDX_ENTRY_HOME) || MUTANT("vhdx-home-in-file"))
        return entry & ~VHDX_ENTRY_HOME;
    return vhdx_entry_owns(entry) ? entry & ~VHDX_ENTRY_HOME : entry & VHDX_ENTRY_STATE;
}

/* Copies the marked pages of a table; publish may change them meanwhile, word by word. False: no room for them all. */
static bool collect_table(struct vhdx *v, struct run *run, struct table *table)
{
    for (uint64_t page = 0; page < table_pages(table); page++) {
        struct vhdx_batch *batch = room(v, run);
        const _Atomic uint64_t *from;
        uint8_t *to;

        if (!batch)
            return false;
        if (!table_collect(table, &page))
            return true;
        from = table_page(table, page);
        to = batch->entry.page[batch->count];
        for (size_t i = 0; i < VHDX_ENTRIES_PER_PAGE; i++) {
            uint64_t word = atomic_load_explicit(&from[i], memory_order_relaxed);

            if (table == v->bat)
                word = htole64(entry_for_file(le64toh(word)));
            memcpy(to + i * sizeof(word), &word, sizeof(word));
        }
        batch->entry.descriptor[batch->count++].file_offset = le64_of(table_position(table) + page * VHDX_PAGE);
    }
    return true;
}

/* All marked pages, or the first of them. */
static bool collect(struct vhdx *v, struct run *run)
{
    bool all = true;

    /* A publish that began before us may have changed what it has not marked: its neighbour, whose flush this may be,
     * relies on that mark. */
    while (atomic_load(&v->publishing) > 0)
        sched_yield();
    pthread_mutex_lock(&v->lock);
    if (MUTANT("vhdx-bat-before-bitmap"))
        all = collect_table(v, run, v->bat);
    for (uint64_t chunk = 0; v->shape.differencing && chunk < v->shape.chunks && all; chunk++)
        if (v->bitmaps[chunk])
            all = collect_table(v, run, v->bitmaps[chunk]);
    all = all && collect_table(v, run, v->bat);
    run->flushed = v->disk.file->size & ~(VHDX_MIB - 1);
    run->last = v->end;
    if (!run->gone.run) { /* given up before the first copies were made */
        run->gone = v->pending;
        v->pending = (struct vhdx_runs){0};
    }
    pthread_mutex_unlock(&v->lock);
    return all;
}

/* The first entry is durable: from now on a crash replays the log. */
static int activate(struct vhdx *v)
{
    v->header.log_guid = v->log.guid;
    v->header.log_version = le16_of(0); /* any is accepted of a log that is not in use */
    v->log_active = true;
    return vhdx_header_write(v->disk.file, &v->header, &v->slot);
}

int vhdx_log_commit(struct vhdx *v, struct vhdx_batch *batches, uint64_t flushed, uint64_t last)
{
    struct file *file = v->disk.file;
    /* The data, and what the run before wrote in place. */
    int err = MUTANT("vhdx-log-before-data") ? 0 : file_sync(file);

    if (!v->log_active && batches && batches->count > 0)
        v->log.guid = vhdx_guid_random();
    for (struct vhdx_batch *batch = batches; batch && batch->count > 0 && !err; batch = batch->next) {
        if (batch != batches && !MUTANT("vhdx-log-over-log"))
            err = file_sync(file);
        if (!err)
            err = vhdx_log_write(file, &v->log, batch, flushed, last);
        if (!err && !MUTANT("vhdx-place-before-log"))
            err = file_sync(file);
        if (!err && !v->log_active && !MUTANT("vhdx-log-unnamed"))
            err = activate(v);
        if (!err)
            err = MUTANT("vhdx-log-not-applied") ? 0 : vhdx_log_apply(file, batch);
    }
    return err;
}

static void free_batches(struct vhdx *v, struct run *run)
{
    for (struct vhdx_batch *batch = run->batches, *next; batch; batch = next) {
        next = batch->next;
        if (!v->batch)
            v->batch = batch;
        else
            free(batch);
    }
    run->batches = run->last_batch = NULL;
}

static int sync_run(struct vhdx *v)
{
    struct run run = {0};
    bool all;
    int err;

    if (v->disk.failed)
        return v->disk.failed;
    do {
        all = !atomic_load(&v->begun) || collect(v, &run);
        err = vhdx_log_commit(v, run.batches, run.flushed, run.last);
        free_batches(v, &run);
    } while (!all && !err);
    if (err) {
        disk_error(&v->disk, err, "cannot be made durable: %s", strerror(-err));
        disk_fail(&v->disk, err);
    } else {
        vhdx_space_recycle(v, &run.gone);
    }
    free(run.gone.run);
    return err;
}

int vhdx_sync_pages(struct vhdx *v, struct vhdx_batch *batch)
{
    int err = v->disk.failed;

    if (err)
        return err;
    err = vhdx_log_commit(v, batch, v->disk.file->size & ~(VHDX_MIB - 1), v->end);
    if (!err)
        err = file_sync(v->disk.file);
    if (err) {
        disk_error(&v->disk, err, "cannot be made durable: %s", strerror(-err));
        disk_fail(&v->disk, err);
    }
    return err;
}

unsigned vhdx_header_copy(struct vhdx *v, struct vhdx_header *copy)
{
    unsigned slot;

    pthread_mutex_lock(&v->sync_lock);
    while (v->sync_running)
        pthread_cond_wait(&v->sync_done, &v->sync_lock);
    pthread_mutex_lock(&v->lock);
    *copy = v->header;
    slot = v->slot;
    pthread_mutex_unlock(&v->lock);
    pthread_mutex_unlock(&v->sync_lock);
    return slot;
}

int vhdx_sync(struct vdisk *disk)
{
    struct vhdx *v = vhdx_of(disk);
    uint64_t mine;
    int err;

    pthread_mutex_lock(&v->sync_lock);
    mine = v->sync_started + 1;
    while (v->sync_finished < mine) {
        if (v->sync_running) {
            pthread_cond_wait(&v->sync_done, &v->sync_lock);
            continue;
        }
        v->sync_running = true;
        v->sync_started++;
        pthread_mutex_unlock(&v->sync_lock);
        err = sync_run(v);
        pthread_mutex_lock(&v->sync_lock);
        v->sync_running = false;
        v->sync_finished = v->sync_started;
        if (!v->sync_error)
            v->sync_error = err;
        pthread_cond_broadcast(&v->sync_done);
    }
    err = v->sync_error;
    pthread_mutex_unlock(&v->sync_lock);
    return err;
}
