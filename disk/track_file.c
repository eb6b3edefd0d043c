/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which image a points file speaks of: opening, closing, and going on with another disk or another file.
 *
 * Which image the file speaks of is told by the image's mark (disk_format.mark). A mark that changes with the content is
 * recorded before the image gets it, beside the one that it has: whichever the image is found with is right. Where marks
 * do not change, the image file's time and length are compared too; they are recorded at a clean close only, so after a
 * crash, as after a change behind our back, all counts as changed.
 */
#include "track.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mutant.h"

#define CHECKPOINT_EVERY UINT64_C(5000000000) /* nanoseconds */

/* ---- Which image this is ---- */

/* True: the mark is another one after every change of the content, whoever made it. */
static bool mark_get(struct vdisk *disk, uint8_t mark[16])
{
    memset(mark, 0, 16);
    return disk->format->mark && disk->format->mark(disk, mark);
}

static void modified_get(const struct vdisk *disk, struct le64 *modified, struct le64 *length)
{
    struct stat st = {0};

    if (disk->file->fd >= 0 && fstat(disk->file->fd, &st) < 0)
        st.st_mtim.tv_sec = st.st_mtim.tv_nsec = 0;
    *modified = le64_of((uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec);
    *length = le64_of((uint64_t)st.st_size);
}

/* The header speaks of the image as it is now. False: it did so already. */
static bool describe(struct points_header *h, struct vdisk *disk)
{
    struct points_header old = *h;

    h->modified = h->length = le64_of(0);
    if (!mark_get(disk, h->mark[0]))
        modified_get(disk, &h->modified, &h->length);
    memcpy(h->mark[1], h->mark[0], sizeof(h->mark[1]));
    h->size = le64_of(disk->size);
    return memcmp(&old, h, sizeof(old)) != 0;
}

void track_describe(struct track *t)
{
    pthread_mutex_lock(&t->lock);
    if (!MUTANT("point-first-undescribed"))
        describe(&t->points.header, t->disk);
    pthread_mutex_unlock(&t->lock);
}

static bool is_as_we_left_it(struct track *t)
{
    const struct points_header *h = &t->points.header;
    struct le64 modified, length;
    uint8_t mark[16];
    bool exact = mark_get(t->disk, mark);

    if (MUTANT("track-image-not-looked-at"))
        return true;
    if (exact)
        return memcmp(mark, h->mark[0], 16) == 0 || memcmp(mark, h->mark[1], 16) == 0;
    modified_get(t->disk, &modified, &length);
    return memcmp(mark, h->mark[0], 16) == 0 && le64_get(modified) == le64_get(h->modified) &&
           le64_get(length) == le64_get(h->length);
}

int disk_mark_changes(struct vdisk *disk, const uint8_t mark[16])
{
    struct track *t = disk->track;
    int err;

    if (!t)
        return 0;
    pthread_mutex_lock(&t->lock);
    mark_get(disk, t->points.header.mark[0]);
    memcpy(t->points.header.mark[1], mark, 16);
    err = MUTANT("track-mark-unrecorded") ? 0 : points_write(&t->points);
    pthread_mutex_unlock(&t->lock);
    return err;
}

/* ---- Open ---- */

static void all_changed(struct track *t, const char *why)
{
    struct points_header *h = &t->points.header;

    for (unsigned i = 0; i < le32_get(h->count); i++)
        h->entry[i].flags = le32_of(POINTS_WHOLE);
    if (le32_get(h->count) > 0)
        disk_say(t->disk, VDISK_WARNING, "%s: all of it counts as changed since each of its points", why);
}

/* The regions of the intents that were left count as changed. */
static void take_leftovers(struct track *t)
{
    uint64_t end = track_regions(t), left = 0;

    for (uint64_t region = 0; region < end; region++)
        if (track_words_next(t->recorded, region, region + 1, true) == region) {
            uint64_t first = region * POINTS_REGION >> t->grain_shift;

            track_words_set(t->bits, first, first + (POINTS_REGION >> t->grain_shift) - 1);
            left++;
        }
    if (left)
        disk_say(t->disk, VDISK_NOTE, "was not closed cleanly: %llu regions of %llu MiB count as changed",
                 (unsigned long long)left, (unsigned long long)(POINTS_REGION >> 20));
}

/* What the disk has grown by since the header was written counts as changed: it is not in the file until a checkpoint. */
static void take_growth(struct track *t)
{
    uint64_t from = le64_get(t->points.header.size), last = track_grains(t) - 1;

    if (t->disk->size > t->capacity)
        all_changed(t, "has grown to more than its points can tell");
    if (from < t->disk->size && from < t->capacity && !MUTANT("track-growth-unseen")) {
        track_words_set(t->bits, from >> t->grain_shift, last);
        track_words_set(t->recorded, from / POINTS_REGION, (last << t->grain_shift) / POINTS_REGION);
    }
}

static int load(struct track *t)
{
    struct points *p = &t->points;
    int err;

    t->grain_shift = (unsigned)__builtin_ctz(le32_get(p->header.grain));
    t->capacity = le64_get(p->header.capacity);
    t->bit_words = points_words((t->capacity >> t->grain_shift) + 1);
    t->intent_words = points_words(track_regions(t));
    t->bits = track_words_new(t->bit_words);
    t->intents = track_words_new(t->intent_words);
    t->recorded = track_words_new(t->intent_words);
    if (!t->bits || !t->intents || !t->recorded)
        return -ENOMEM;
    err = points_bits_read(p, POINTS_INTENTS_AT, track_regions(t), t->recorded);
    if (!err && track_points(t) > 0)
        err = points_bits_read(p, points_bitmap_at(p, track_entry(t, track_points(t) - 1)), track_grains(t), t->bits);
    if (err)
        return err;
    if (!is_as_we_left_it(t))
        all_changed(t, "was changed by something else than this program, or not closed cleanly");
    take_leftovers(t);
    take_growth(t);
    return 0;
}

int track_open(struct vdisk *disk, struct file *file, enum vdisk_level level, struct track **track)
{
    struct track *t = calloc(1, sizeof(*t));
    int err;

    if (!t)
        return -ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    t->disk = disk;
    t->every = CHECKPOINT_EVERY;
    err = points_read(&t->points, file, level);
    if (!err)
        err = load(t);
    if (!err && file->writable)
        err = track_checkpoint(t);
    if (!err && file->writable && describe(&t->points.header, t->disk))
        err = points_write(&t->points);
    if (err) {
        t->points.file = NULL;
        track_close(t);
        return err;
    }
    *track = t;
    return 0;
}

void track_close(struct track *t)
{
    if (!t)
        return;
    track_words_free(t->bits, t->bit_words);
    track_words_free(t->intents, t->intent_words);
    track_words_free(t->recorded, t->intent_words);
    file_close(t->points.file);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

char *track_path(const struct vdisk *disk)
{
    char *real = realpath(disk->file->path, NULL), *path = NULL;

    if (real && asprintf(&path, "%s" POINTS_SUFFIX, real) < 0)
        path = NULL;
    free(real);
    return path;
}

/* The messages are said once, at this level. */
static int open_beside(struct vdisk *disk, unsigned flags, enum vdisk_level level, struct track **track)
{
    static const struct vdisk_log silent;
    char *path = track_path(disk);
    struct file *file;
    int err;

    if (!path || access(path, F_OK) < 0) {
        err = path || errno != ENOMEM ? -ENOENT : -ENOMEM;
        free(path);
        return err;
    }
    err = file_open(AT_FDCWD, path, flags, &silent, &file);
    if (err) {
        disk_say(disk, level, "its points at %s cannot be opened: %s", path, strerror(-err));
    } else {
        file->log = disk->log;
        err = track_open(disk, file, level, track);
        if (err)
            file_close(file);
    }
    free(path);
    return err;
}

void track_attach(struct vdisk *disk)
{
    int err = open_beside(disk, FILE_WRITE, VDISK_WARNING, &disk->track);

    if (err && err != -ENOENT)
        disk_say(disk, VDISK_WARNING, "its changes are not tracked (%s): all of it will count as changed since its points",
                 strerror(-err));
}

int track_load(struct vdisk *disk, struct track **track)
{
    return open_beside(disk, 0, VDISK_ERROR, track);
}

void track_move(struct vdisk *from, struct vdisk *to)
{
    struct track *t = from->track;

    from->track = NULL;
    to->track = t;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->disk = to;
    take_growth(t);
    if (track_checkpoint(t) == 0 && describe(&t->points.header, t->disk))
        points_write(&t->points);
    pthread_mutex_unlock(&t->lock);
}

void track_take_over(struct vdisk *link, struct vdisk *fresh)
{
    if (!link->track)
        track_attach(fresh);
    else if (track_claim(link) == 0)
        track_move(link, fresh);
}

void track_remove(struct vdisk *disk, char *path)
{
    if (path && unlink(path) < 0 && errno != ENOENT)
        disk_say(disk, VDISK_WARNING, "its points at %s cannot be removed: %s", path, strerror(errno));
    free(path);
}

/* ---- Another file ---- */

/* All that is in the file, holes left out. */
static int file_fill(struct file *from, struct file *to)
{
    static const size_t most = 64 << 10;
    char *buffer = malloc(most);
    uint64_t end = from->size, data = 0, hole = 0;
    int err = buffer ? file_resize(to, end) : -ENOMEM;

    for (uint64_t at = 0; at < end && !err; at = hole) {
        err = file_seek_data(from, at, &data, &hole);
        for (uint64_t part; data < hole && !err; data += part) {
            part = hole - data < most ? hole - data : most;
            err = file_read(from, buffer, (size_t)part, data);
            if (!err)
                err = file_write(to, buffer, (size_t)part, data);
        }
    }
    free(buffer);
    return err;
}

/* A copy under a temporary name that speaks of the other image, and is open as its track. */
static int copy_for(struct track *t, struct vdisk *to, const char *temporary, struct track **copy)
{
    struct points points;
    struct file *file;
    int err;

    unlink(temporary);
    err = file_open(AT_FDCWD, temporary, FILE_WRITE | FILE_CREATE, &to->log, &file);
    if (err)
        return err;
    pthread_mutex_lock(&t->lock);
    err = track_checkpoint(t);
    if (!err)
        err = file_fill(t->points.file, file);
    pthread_mutex_unlock(&t->lock);
    if (!err)
        err = points_read(&points, file, VDISK_WARNING);
    if (!err) {
        describe(&points.header, to);
        err = points_write(&points);
    }
    if (!err)
        err = track_open(to, file, VDISK_WARNING, copy);
    if (err) {
        unlink(temporary);
        file_close(file);
    }
    return err;
}

/* Whoever finds the file at path, which it takes, believes it: so the disk is tracked from the moment in which it is there. */
static int copy_appear(struct track *copy, struct vdisk *to, const char *temporary, char *path)
{
    int err;

    if (rename(temporary, path) < 0) {
        err = -errno;
        unlink(temporary);
        track_close(copy);
        return err;
    }
    free(copy->points.file->path);
    copy->points.file->path = path;
    to->track = copy;
    err = MUTANT("points-copy-name-unsynced") ? 0 : file_sync_directory(path);
    if (err)
        disk_say(to, VDISK_WARNING, "a power cut may take its points away: their directory cannot be made durable: %s",
                 strerror(-err));
    return 0;
}

void track_hand_over(struct vdisk *from, struct vdisk *to)
{
    char *path = from->track ? track_path(to) : NULL, *temporary = NULL;
    struct track *copy;
    int err;

    if (!from->track)
        return;
    err = path && asprintf(&temporary, "%s.tmp", path) >= 0 ? copy_for(from->track, to, temporary, &copy) : -ENOMEM;
    if (!err)
        err = copy_appear(copy, to, temporary, path);
    if (err) {
        if (path)
            unlink(path); /* another image's */
        disk_say(to, VDISK_WARNING, "its points stay behind: %s", strerror(-err));
        free(path);
    }
    free(temporary);
}

/* ---- Close ---- */

void track_settle(struct vdisk *disk)
{
    struct track *t = disk->track;

    if (!t || !disk->writable)
        return;
    pthread_mutex_lock(&t->lock);
    track_checkpoint(t);
    pthread_mutex_unlock(&t->lock);
}

void track_seal(struct vdisk *disk)
{
    struct track *t = disk->track;

    if (!t || !disk->writable)
        return;
    pthread_mutex_lock(&t->lock);
    /* Where the file's time is compared, a cut must not take it back. */
    if (!t->behind && (disk->file->fd < 0 || fsync(disk->file->fd) == 0) && describe(&t->points.header, t->disk))
        points_write(&t->points);
    pthread_mutex_unlock(&t->lock);
}

void track_yield(struct vdisk *disk)
{
    if (disk->track)
        file_yield(disk->track->points.file);
}

int track_claim(struct vdisk *disk)
{
    struct file *file = disk->track ? disk->track->points.file : NULL;
    int err = file ? file_claim(file) : 0;

    return err ? file_error(file, "points", err, "cannot be written to again: %s",
                            err == -EBUSY ? "another process has opened it" : strerror(-err))
               : 0;
}
