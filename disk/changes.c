/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named points, and what has changed since one: the operations.
 *
 * A point that an ancestor has is a point of the whole chain: what has changed since is what changed in the ancestor, and
 * what the links above it hold themselves, for all of that was written later.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chain.h"
#include "mutant.h"
#include "port.h"
#include "track.h"

/* ---- Points ---- */

static int check_name(struct vdisk *disk, const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length >= POINTS_NAME)
        return disk_error(disk, -EINVAL, "a point's name has 1 to %u bytes", POINTS_NAME - 1);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return disk_error(disk, -EINVAL, "a point's name has no control characters");
    return 0;
}

/* A file under a temporary name beside its own, that holds no points yet. */
static int make_file(struct vdisk *disk, const char *path, char **temporary, struct track **track)
{
    struct points points;
    struct file *file;
    char *own;
    int err;

    if (asprintf(temporary, "%s.tmp", path) < 0)
        return -ENOMEM;
    unlink(*temporary); /* a killed process left it: nobody else makes one while we have the image open */
    own = strdup(path);
    err = own ? file_open(AT_FDCWD, *temporary, FILE_WRITE | FILE_CREATE, &disk->log, &file) : -ENOMEM;
    if (err) {
        free(own);
        free(*temporary);
        return err;
    }
    free(file->path);
    file->path = own;
    err = points_format(&points, file, disk->size);
    if (!err)
        err = track_open(disk, file, VDISK_ERROR, track);
    if (!err)
        return 0;
    file_close(file);
    unlink(*temporary);
    free(*temporary);
    return err;
}

static int check_image(struct vdisk *disk)
{
    struct stat st;

    if (!disk->writable)
        return -EROFS;
    if (disk->temporary)
        return disk_error(disk, -EINVAL, "has no name yet, and so no points");
    if (fstat(disk->file->fd, &st) < 0 || !S_ISREG(st.st_mode))
        return disk_error(disk, -EINVAL, "only image files have points");
    return 0;
}

/* The last one is forgotten before its file goes: what a cut brings back has no point that would be believed. Without a
 * point the disk is not tracked, unless the file stays. Paused. */
static int delete_point(struct vdisk *disk, const char *name)
{
    bool last = track_points(disk->track) == 1;
    int err = last && MUTANT("point-last-not-forgotten") ? 0 : track_forget(disk->track, name);
    char *path;

    if (!last)
        return err;
    path = track_path(disk);
    if (path && unlink(path) == 0) {
        if (err) /* a file that takes no writes any more: it must not come back */
            err = file_sync_directory(path);
        if (!err) {
            track_close(disk->track);
            disk->track = NULL;
        }
    } else if (!err) {
        disk_say(disk, VDISK_WARNING, "its points file has no points any more, but cannot be removed: %s",
                 strerror(errno));
    }
    free(path);
    return err;
}

/* The first point of a disk: its file comes to its name when the point is in it. Whoever finds it there believes it, and so
 * the disk is tracked from then on. Takes the track. Paused. */
static int start_tracking(struct vdisk *disk, struct track *track, const char *name, const char *temporary,
                          const char *path)
{
    int err;

    track_describe(track); /* a first write may have come since the file was made */
    err = track_point(track, name);
    if (!err && rename(temporary, path) < 0)
        err = disk_error(disk, -errno, "its points cannot be kept at %s: %s", path, strerror(errno));
    if (err) {
        unlink(temporary);
        track_close(track);
        return err;
    }
    disk->track = track;
    err = file_sync_directory(path);
    if (err) {
        disk_error(disk, err, "its points at %s cannot be made durable: %s", path, strerror(-err));
        delete_point(disk, name);
    }
    return err;
}

/* The disk as it is now, everything durable, and nothing in flight. */
static int still(struct vdisk_port *port)
{
    struct vdisk *disk = vdisk_port_disk(port);
    bool skip = MUTANT("point-of-what-is-not-durable");
    int err = skip ? 0 : disk->format->sync(disk); /* most of it beside the guest */

    port_pause(port);
    /* What the point shows must not be taken back by a crash: that would be a change that nobody saw. */
    return err || skip ? err : disk->format->sync(disk);
}

static void go_on(struct vdisk_port *port, struct vdisk_pause *pause)
{
    uint64_t nanoseconds = port_resume(port);

    if (pause)
        pause->longest = nanoseconds;
}

static int first_point(struct vdisk_port *port, const char *name, const char *path, struct vdisk_pause *pause)
{
    struct vdisk *disk = vdisk_port_disk(port);
    struct track *track;
    char *temporary;
    int err = make_file(disk, path, &temporary, &track);

    if (err)
        return err;
    err = still(port);
    if (!err) {
        err = start_tracking(disk, track, name, temporary, path);
    } else {
        unlink(temporary);
        track_close(track);
    }
    go_on(port, pause);
    free(temporary);
    return err;
}

static int begin_tracking(struct vdisk_port *port, const char *name, struct vdisk_pause *pause)
{
    struct vdisk *disk = vdisk_port_disk(port);
    int err = check_image(disk);
    char *path;

    if (err)
        return err;
    path = track_path(disk);
    if (!path)
        return disk_error(disk, -errno, "its path cannot be told: %s", strerror(errno));
    if (access(path, F_OK) == 0)
        err = disk_error(disk, -EEXIST, "what stands at %s is not taken for its points; remove it first", path);
    else
        err = first_point(port, name, path, pause);
    free(path);
    return err;
}

static int next_point(struct vdisk_port *port, const char *name, struct vdisk_pause *pause)
{
    int err = still(port);

    if (!err)
        err = track_point(vdisk_port_disk(port)->track, name);
    go_on(port, pause);
    return err;
}

int vdisk_point_create(struct vdisk_port *port, const char *name, struct vdisk_pause *pause)
{
    struct vdisk *disk = vdisk_port_disk(port);
    int err = port_begin(port);

    if (err)
        return err;
    err = check_name(disk, name);
    if (!err)
        err = disk->track ? next_point(port, name, pause) : begin_tracking(port, name, pause);
    port_end(port);
    return err;
}

int vdisk_point_delete(struct vdisk_port *port, const char *name, struct vdisk_pause *pause)
{
    struct vdisk *disk = vdisk_port_disk(port);
    int err = port_begin(port);

    if (err)
        return err;
    if (!disk->track || track_find(disk->track, name) < 0)
        err = disk_error(disk, -ENOENT, "there is no point '%s'", name);
    if (!err) {
        port_pause(port);
        err = delete_point(disk, name);
        go_on(port, pause);
    }
    port_end(port);
    return err;
}

/* A link's track: its own, or one that is only read and closed again. */
struct look {
    struct track *track;
    bool own;
};

static int look_at(struct vdisk *link, struct look *look)
{
    *look = (struct look){link->track, link->track != NULL};
    return look->own ? 0 : track_load(link, &look->track);
}

static void look_away(struct look *look)
{
    if (!look->own)
        track_close(look->track);
}

int vdisk_points(struct vdisk *disk, vdisk_point_fn *point, void *arg)
{
    for (struct vdisk *link = disk; link; link = link->parent) {
        struct look look;
        int err = look_at(link, &look);

        if (err == -ENOENT)
            continue;
        if (err)
            return err;
        for (unsigned i = 0; i < track_points(look.track) && !err; i++) {
            const struct points_entry *entry = track_entry(look.track, i);
            struct vdisk_point each = {.name = entry->name,
                                       .created = le64_get(entry->created),
                                       .whole = le32_get(entry->flags) & POINTS_WHOLE,
                                       .link = link};

            err = point(arg, &each);
        }
        look_away(&look);
        if (err)
            return err;
    }
    return 0;
}

/* ---- Changes ---- */

struct changes {
    struct vdisk *disk;
    _Atomic uint64_t *words;
    uint64_t room;
    unsigned shift;
    bool whole;
};

static void add(struct changes *c, uint64_t offset, uint64_t length)
{
    track_words_set(c->words, offset >> c->shift, (offset + length - 1) >> c->shift);
}

/* What a link above the one with the point holds, and where one of them ends: beyond it nothing shows through. */
static int add_link(struct changes *c, struct vdisk *link)
{
    struct vdisk_extent extent;
    uint64_t size = link->size < c->disk->size ? link->size : c->disk->size;

    for (uint64_t at = 0; at < size; at += extent.length) {
        int err = vdisk_map(link, at, size - at, VDISK_MAP_ALONE, &extent);

        if (err)
            return err;
        if (extent.kind != VDISK_EXTENT_BELOW)
            add(c, at, extent.length);
    }
    if (size < c->disk->size)
        add(c, size, c->disk->size - size);
    return 0;
}

static int collect(struct changes *c, struct vdisk *owner, struct track *track, const char *since, const char *until)
{
    int from = track_find(track, since), to = until ? track_find(track, until) : (int)track_points(track), err;

    if (to < 0)
        return disk_error(owner, -ENOENT, "there is no point '%s'", until);
    if (to <= from)
        return disk_error(owner, -EINVAL, "point '%s' is not older than point '%s'", since, until);
    c->shift = track_grain_shift(track);
    c->room = points_words((c->disk->size >> c->shift) + (owner->size >> c->shift) + 2);
    c->words = track_words_new(c->room);
    if (!c->words)
        return -ENOMEM;
    err = track_changes(track, (unsigned)from, (unsigned)to, c->words, &c->whole);
    for (struct vdisk *link = c->disk; link != owner && !err && !until; link = link->parent)
        err = add_link(c, link);
    if (!err && owner->size < c->disk->size && !until)
        add(c, owner->size, c->disk->size - owner->size);
    return err;
}

/* Neighbouring grains as one extent, cut off where the disk ends. */
static int tell(const struct changes *c, vdisk_change_fn *change, void *arg)
{
    uint64_t size = c->disk->size, end = (size + (UINT64_C(1) << c->shift) - 1) >> c->shift, at = 0;

    if (c->whole)
        return change(arg, 0, size);
    while ((at = track_words_next(c->words, at, end, true)) < end) {
        uint64_t to = track_words_next(c->words, at, end, false), stop = to << c->shift;
        int err = change(arg, at << c->shift, (stop < size ? stop : size) - (at << c->shift));

        if (err)
            return err;
        at = to;
    }
    return 0;
}

int vdisk_changes(struct vdisk *disk, const char *since, const char *until, vdisk_change_fn *change, void *arg)
{
    struct changes c = {.disk = disk};

    for (struct vdisk *link = disk; link; link = link->parent) {
        struct look look;
        int err = look_at(link, &look);

        if (err == -ENOENT)
            continue;
        if (err)
            return err;
        if (track_find(look.track, since) < 0) {
            look_away(&look);
            continue;
        }
        err = collect(&c, link, look.track, since, until);
        look_away(&look);
        if (!err)
            err = tell(&c, change, arg);
        track_words_free(c.words, c.room);
        return err;
    }
    return disk_error(disk, -ENOENT, "there is no point '%s'", since);
}
