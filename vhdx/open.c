/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening and closing. Everything but the BAT's entries and the bitmaps is read and verified at open; a log that is not
 * empty is looked through first and applied last, so that a file that is refused is not changed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhdx.h"
#include "vhdx_format.h"

/* Everything behind the headers, as the view shows it. */
static int read_structures(struct vhdx *v, struct vhdx_report *report, struct file *view)
{
    int err = vhdx_regions_read(report, view, &v->header, &v->regions);

    if (err)
        return err;
    err = vhdx_metadata_read(report, view, &v->regions.metadata, &v->metadata);
    if (!err)
        err = vhdx_shape_verify(report, &v->metadata, &v->regions);
    if (!err && v->metadata.has_parent)
        err = vhdx_locator_read(report, view, &v->metadata, &v->locator);
    if (err)
        vhdx_regions_free(&v->regions);
    return err;
}

static void free_tables(struct vhdx *v)
{
    for (uint64_t chunk = 0; v->bitmaps && chunk < v->shape.chunks; chunk++)
        table_close(v->bitmaps[chunk]);
    free(v->bitmaps);
    free((void *)v->solid);
    free((void *)v->pages);
    table_close(v->bat);
}

static int make_tables(struct vhdx *v, struct file *file)
{
    uint64_t bytes = (v->shape.entries * sizeof(uint64_t) + VHDX_PAGE - 1) / VHDX_PAGE * VHDX_PAGE;
    int err = table_open(file, v->regions.bat.position, bytes, &v->bat);

    v->pages = calloc(bytes / VHDX_PAGE, sizeof(*v->pages));
    v->bitmaps = calloc(v->shape.chunks, sizeof(*v->bitmaps));
    v->solid = calloc(v->shape.chunks, sizeof(*v->solid));
    if (!err && v->pages && v->bitmaps && v->solid)
        return 0;
    free_tables(v);
    return disk_error(&v->disk, -ENOMEM, "no memory for the BAT's tables");
}

static void describe(struct vhdx *v)
{
    struct vdisk *disk = &v->disk;

    disk->type = v->metadata.has_parent               ? DISK_DIFFERENCING
                 : v->metadata.leave_blocks_allocated ? DISK_FIXED
                                                      : DISK_DYNAMIC;
    disk->size = v->metadata.size;
    disk->sector_size = v->metadata.logical_sector;
    disk->physical_sector_size = v->metadata.physical_sector;
    disk->block_size = v->metadata.block_size;
    v->limit = disk->file->size;
    v->log.position = le64_get(v->header.log_offset);
    v->log.length = le32_get(v->header.log_length);
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->sync_lock, NULL);
    pthread_cond_init(&v->sync_done, NULL);
}

int vhdx_open(struct vdisk *disk)
{
    struct vhdx *v = vhdx_of(disk);
    struct vhdx_report report = {.file = disk->file};
    struct vhdx_replay replay = {0};
    int err;

    err = vhdx_identifier_read(&report, disk->file);
    if (!err)
        err = vhdx_header_read(&report, disk->file, &v->header, &v->slot);
    if (err)
        return err;
    v->replayed = !vhdx_guid_is_zero(&v->header.log_guid);
    if (v->replayed)
        err = vhdx_replay_open(&report, disk->file, &v->header, &replay);
    if (err)
        return err;
    err = read_structures(v, &report, v->replayed ? replay.view : disk->file);
    if (err)
        goto close_replay;
    v->shape = vhdx_shape_of(&v->metadata);
    err = make_tables(v, v->replayed && !disk->writable ? replay.view : disk->file);
    if (err)
        goto free_structures;
    if (v->replayed && disk->writable)
        err = vhdx_replay_settle(&replay, disk->file, &v->header, &v->slot);
    if (err)
        goto free_tables;
    if (v->replayed && !disk->writable)
        disk->file = vhdx_replay_keep(&replay);
    vhdx_replay_close(&replay);
    describe(v);
    return 0;

free_tables:
    free_tables(v);
free_structures:
    vhdx_locator_free(&v->locator);
    vhdx_regions_free(&v->regions);
close_replay:
    vhdx_replay_close(&replay);
    return err;
}

/* Everything in its place and durable; then the log is empty; then the file as long as it must be. */
static int finish(struct vhdx *v)
{
    struct file *file = v->disk.file;
    int err = v->disk.failed;

    if (err)
        return err;
    err = MUTANT("vhdx-close-forgets") ? 0 : vhdx_sync(&v->disk);
    if (err)
        return err;
    err = MUTANT("vhdx-log-emptied-early") ? 0 : file_sync(file);
    if (!err && v->log_active) {
        v->header.log_guid = (struct vhdx_guid){{0}};
        err = vhdx_header_write(file, &v->header, &v->slot);
    }
    if (err) { /* one of the headers may say that there is no log: an open that came now would believe it */
        disk_error(&v->disk, err, "cannot be closed cleanly: %s", strerror(-err));
        if (!MUTANT("vhdx-settle-fails-softly"))
            disk_fail(&v->disk, err);
        return err;
    }
    vhdx_space_trim(v);
    if (v->end < file->size && file_resize(file, v->end))
        file_say(file, VDISK_WARNING, "vhdx", "cannot be cut to %" PRIu64 " bytes; it stays longer", v->end);
    return 0;
}

/* The next write begins anew: with a FileWriteGuid, a DataWriteGuid and a log of its own. What has a home and was never
 * written keeps it. */
int vhdx_settle(struct vdisk *disk)
{
    struct vhdx *v = vhdx_of(disk);
    int err = v->begun && !MUTANT("vhdx-settle-forgets") ? finish(v) : 0;

    if (err)
        return err;
    v->log_active = false;
    atomic_store(&v->begun, false);
    return 0;
}

int vhdx_close(struct vdisk *disk)
{
    struct vhdx *v = vhdx_of(disk);
    int err = v->begun ? finish(v) : 0;

    free_tables(v);
    vhdx_locator_free(&v->locator);
    vhdx_regions_free(&v->regions);
    free(v->available.run);
    free(v->pending.run);
    free(v->batch);
    pthread_mutex_destroy(&v->lock);
    pthread_mutex_destroy(&v->sync_lock);
    pthread_cond_destroy(&v->sync_done);
    return err;
}

static const char *const suffixes[] = {".vhdx", ".avhdx", NULL};

const struct disk_format vhdx_format = {
    .name = "vhdx",
    .suffixes = suffixes,
    .object_size = sizeof(struct vhdx),
    .probe = vhdx_identifier_probe,
    .open = vhdx_open,
    .close = vhdx_close,
    .create = vhdx_create,
    .map = vhdx_map,
    .reserve = vhdx_reserve,
    .publish = vhdx_publish,
    .drop = vhdx_drop,
    .sync = vhdx_sync,
    .settle = vhdx_settle,
    .locate = vhdx_locate,
    .reclaim = vhdx_reclaim,
    .relocate = vhdx_relocate,
    .resize = vhdx_resize,
    .mark = vhdx_mark,
    .info = vhdx_info,
    .check = vhdx_check,
    .repair = vhdx_repair,
    .parent_names = vhdx_parent_names,
    .parent_paths = vhdx_parent_paths,
    .relink = vhdx_relink,
    .parent_matches = vhdx_parent_matches,
};
