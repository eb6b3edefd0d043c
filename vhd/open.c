/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The format's table of functions, and opening and closing. Opening reads the two footers and the header; an open for
 * writing that never writes leaves the file as it was.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhd.h"

static int vhd_probe(struct file *file)
{
    struct vhd_footers footers;
    int err = vhd_footers_read(file, &footers);

    return err ? err : footers.end_there || footers.copy_there;
}

static int open_fixed(struct vhd *v)
{
    if (v->disk.size > v->footers.end_at && !MUTANT("vhd-fixed-truncated"))
        return disk_error(&v->disk, -EINVAL, "is truncated: the footer at 0x%llx says %llu bytes, the file holds %llu",
                          (unsigned long long)v->footers.end_at, (unsigned long long)v->disk.size,
                          (unsigned long long)v->footers.end_at);
    v->disk.type = DISK_FIXED;
    return 0;
}

static int open_blocks(struct vhd *v)
{
    struct vhd_layout *l = &v->layout;
    struct vhd_reason reason;
    int err = vhd_header_read(v->disk.file, &v->footer, v->footers.end_at, &v->header, l, &reason);

    if (err)
        return disk_error(&v->disk, err, "%s", reason.code ? reason.text : strerror(-err));
    v->disk.type = be32_get(v->footer.type) == VHD_DYNAMIC ? DISK_DYNAMIC : DISK_DIFFERENCING;
    v->disk.block_size = l->block_size;
    v->state = calloc(l->blocks, sizeof(*v->state));
    v->bitmap = calloc(l->blocks, sizeof(*v->bitmap));
    err = v->state && v->bitmap ? table_open(v->disk.file, l->bat_at, vhd_align(4ull * l->blocks, VHD_SECTOR), &v->bat)
                                : -ENOMEM;
    if (err) {
        free(v->state);
        free(v->bitmap);
    }
    return err;
}

/* The footer that is believed, and what it says of the disk. */
static int read_footers(struct vhd *v)
{
    struct vdisk *disk = &v->disk;
    struct vhd_reason reason;
    int err = vhd_footers_read(disk->file, &v->footers);

    if (err)
        return disk_error(disk, err, "footers: cannot be read: %s", strerror(-err));
    err = vhd_footer_choose(&v->footers, &v->footer, &reason);
    if (!err)
        err = vhd_footer_check(&v->footer, v->footers.end_valid ? v->footers.end_at : 0, &reason);
    if (err)
        return disk_error(disk, err, "%s", reason.text);
    if (!v->footers.end_valid)
        file_say(disk->file, VDISK_WARNING, "vhd", "no valid footer at the end (0x%llx): the copy at 0x0 is used",
                 (unsigned long long)v->footers.end_at);
    if (v->footer.saved_state && disk->writable && !MUTANT("vhd-saved-state-written"))
        return disk_error(disk, -EROFS,
                          "footer: the saved state byte is %u: a virtual machine was suspended and will "
                          "go on with this disk as it is; it is not opened for writing",
                          v->footer.saved_state);
    if (v->footers.behind)
        file_say(disk->file, VDISK_WARNING, "vhd", "the footer is at 0x%llx, before the end: a resize was interrupted",
                 (unsigned long long)v->footers.end_at);
    disk->size = vhd_footer_size(&v->footer);
    disk->sector_size = disk->physical_sector_size = VHD_SECTOR;
    return 0;
}

static void free_state(struct vhd *v)
{
    vhd_space_close(v->free);
    vhd_space_close(v->freed);
    vhd_batch_close(v->batch);
    for (uint32_t i = 0; i < v->layout.blocks; i++)
        free(v->bitmap[i]);
    table_close(v->bat);
    free(v->bitmap);
    free(v->state);
    pthread_cond_destroy(&v->sync_done);
    pthread_mutex_destroy(&v->sync);
    pthread_mutex_destroy(&v->lock);
}

/* A power cut took the footer at the end, or came between two footers of another size (resize.c) or with another place
 * of the header (relink.c). */
static bool footers_differ(const struct vhd *v)
{
    const struct vhd_footers *f = &v->footers;

    return !f->end_valid || (f->copy_valid &&
                             (be64_get(f->copy.current_size) != be64_get(f->end.current_size) ||
                              be64_get(f->copy.data_offset) != be64_get(f->end.data_offset)) &&
                             !MUTANT("vhd-footers-left-apart"));
}

/* A fixed disk that was to grow: as it was. */
static int cut_behind(struct vhd *v)
{
    struct file *file = v->disk.file;
    int err = file_resize(file, v->footers.end_at + VHD_SECTOR);

    if (!err)
        err = file_sync(file);
    return err ? disk_error(&v->disk, err, "cannot be cut behind the footer at 0x%llx: %s",
                            (unsigned long long)v->footers.end_at, strerror(-err))
               : 0;
}

static int vhd_open(struct vdisk *disk)
{
    struct vhd *v = vhd_of(disk);
    int err = read_footers(v);

    if (err)
        return err;
    err = be32_get(v->footer.type) == VHD_FIXED ? open_fixed(v) : open_blocks(v);
    if (err)
        return err;
    pthread_mutex_init(&v->lock, NULL);
    pthread_mutex_init(&v->sync, NULL);
    pthread_cond_init(&v->sync_done, NULL);
    if (disk->type == DISK_FIXED)
        err = disk->writable && v->footers.behind ? cut_behind(v) : 0;
    else if (disk->writable && footers_differ(v)) { /* a power cut: recovered before anything else */
        pthread_mutex_lock(&v->lock);
        err = vhd_begin(v);
        pthread_mutex_unlock(&v->lock);
        /* Before any data: where the file ends now may be in the midst of a block to come, and a guest's bytes may look
         * like a footer. */
        if (!err && !MUTANT("vhd-footer-unsynced"))
            err = file_sync(disk->file);
        if (err)
            free_state(v);
    }
    return err;
}

static int finish(struct vhd *v)
{
    int err = 0;

    if (v->disk.writable)
        err = MUTANT("vhd-close-forgets") ? 0 : vhd_sync(&v->disk);
    if (!err && atomic_load(&v->begun))
        err = vhd_space_trim(v);
    return err;
}

/* The next write looks through the BAT and for free space again, as if the file had just been opened. A block that was
 * given a home and never written loses it: the home may lie behind the end now. */
static int vhd_settle(struct vdisk *disk)
{
    struct vhd *v = vhd_of(disk);
    int err = MUTANT("vhd-settle-forgets") ? 0 : finish(v);

    if (err || !atomic_load(&v->begun))
        return err;
    for (uint32_t block = 0; block < v->layout.blocks; block++) {
        uint64_t state = atomic_load(&v->state[block]);

        if (state & VHD_STATE_HOME && !(state & VHD_STATE_PUBLISHED) && !MUTANT("vhd-settle-keeps-homes"))
            atomic_store(&v->state[block], 0);
    }
    vhd_space_close(v->free);
    v->free = NULL;
    v->moved = v->tail_clean = false;
    v->footers.end_at = v->layout.limit = v->end - VHD_SECTOR;
    atomic_store(&v->begun, false);
    return 0;
}

static int vhd_close(struct vdisk *disk)
{
    int err = finish(vhd_of(disk));

    free_state(vhd_of(disk));
    return err;
}

/* The Unique Id tells images apart; that an image was written to, nothing in it tells. */
static bool vhd_mark(struct vdisk *disk, uint8_t mark[16])
{
    memcpy(mark, &vhd_of(disk)->footer.id, 16);
    return false;
}

static const char *const suffixes[] = {".vhd", ".avhd", ".vpc", NULL};

const struct disk_format vhd_format = {
    .name = "vhd",
    .suffixes = suffixes,
    .object_size = sizeof(struct vhd),
    .probe = vhd_probe,
    .open = vhd_open,
    .close = vhd_close,
    .create = vhd_create,
    .map = vhd_map,
    .reserve = vhd_reserve,
    .publish = vhd_publish,
    .drop = vhd_drop,
    .sync = vhd_sync,
    .settle = vhd_settle,
    .locate = vhd_locate,
    .reclaim = vhd_reclaim,
    .relocate = vhd_relocate_first,
    .resize = vhd_resize,
    .mark = vhd_mark,
    .info = vhd_info,
    .check = vhd_check,
    .repair = vhd_repair,
    .parent_names = vhd_parent_names,
    .parent_paths = vhd_parent_paths,
    .relink = vhd_relink,
    .parent_matches = vhd_parent_matches,
};
