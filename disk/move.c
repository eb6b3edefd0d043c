/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving a disk that is in use to another file.
 *
 * The target is made under a temporary name. Changes go to both from then on (mirror.c), and what differs is copied, a held
 * range after the other, until little does. Then, in the pause: the little is copied, the target made durable, the target
 * given its name, the source's name taken away, and the port changes over. So at every moment one of the two has
 * everything that was flushed, and where the source's name stands it is the source: nobody can take an old disk for the
 * moved one, or write to both. Whatever fails before the source's name is gone leaves the source in use as it was.
 * Of what the target has to say then, the first error is passed on: it fails in every request that is in flight.
 *
 * A differencing disk keeps its parent; or its parents are copied before it; or it is flattened.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chain.h"
#include "mirror.h"
#include "move.h"
#include "mutant.h"
#include "track.h"

#define CLAIM (UINT64_C(4) << 20)  /* of data held at a time: how long a writer may wait */
#define EMPTY (UINT64_C(1) << 30)  /* the same, where there is no data */
#define FEW (UINT64_C(1) << 20)    /* what is left for the pause */
#define TRIES 8

/* ---- The target ---- */

static int refuse(struct move *m, const char *path)
{
    struct vdisk *source = m->source;
    const char *format = m->options->format;
    const struct disk_format *named = chain_format_of_suffix(path);
    struct stat st;
    int err;

    if (!source->writable)
        return disk_error(source, -EROFS, "is open for reading only");
    if (stat(path, &st) == 0 && st.st_dev == source->file->device && st.st_ino == source->file->inode)
        return disk_error(source, -EINVAL, "source and destination are the same file");
    err = vdisk_childless(source); /* the destination has an identity of its own */
    if (err)
        return err;
    if (source->type != DISK_DIFFERENCING || m->flatten)
        return 0;
    if ((format && strcmp(format, source->format->name) != 0) || (!format && named && named != source->format))
        return disk_error(source, -EINVAL, "has a parent, so it stays a %s; flattened it can be anything",
                          source->format->name);
    return source->parent ? 0 : disk_error(source, -ENXIO, "is open without its parent");
}

/* Names that are taken, by others or twice in the chain, are refused before hours of copying. */
static int chain_refuse(struct move *m, const char *directory)
{
    struct stat st;
    int err = 0;

    for (struct vdisk *each = m->source; each && !err; each = each->parent) {
        char *name = move_file_name(directory, each->file->path), *other;

        err = name ? 0 : -ENOMEM;
        if (!err && lstat(name, &st) == 0)
            err = chain_error(&m->log, -EEXIST, "disk: %s: exists already", name);
        for (struct vdisk *below = each->parent; below && !err; below = below->parent) {
            other = move_file_name(directory, below->file->path);
            if (!other || strcmp(name, other) == 0)
                err = other ? disk_error(m->source, -EINVAL, "two files of its chain would be %s", name) : -ENOMEM;
            free(other);
        }
        free(name);
    }
    return err;
}

/* The parents' files, from the last on, with their own names; the chain that they make is opened. */
static int parents_copy(struct move *m, const char *directory, struct vdisk **parent)
{
    struct vdisk *link[DISK_CHAIN_MAX];
    struct vdisk_open_options how = {.format = m->source->format->name, .log = m->log};
    unsigned count = 0;
    int err = chain_refuse(m, directory);

    if (err)
        return err;
    for (struct vdisk *each = m->source->parent; each; each = each->parent) {
        assert(count < DISK_CHAIN_MAX); /* whoever makes a chain longer is refused */
        link[count++] = each;
        m->total += each->file->size;
    }
    m->copied = calloc(count + 1, sizeof(*m->copied));
    if (!m->copied)
        return -ENOMEM;
    while (count > 0 && !err) {
        struct vdisk *each = link[--count];
        char *name = move_file_name(directory, each->file->path);

        err = name ? move_file_copy(m, each, name) : -ENOMEM;
        m->files += each->file->size;
        if (err)
            free(name);
        else
            m->copied[m->copies++] = name;
    }
    if (!err)
        err = vdisk_open(m->copied[m->copies - 1], &how, parent);
    return err;
}

/* Until it is the disk. */
static void target_says(void *arg, enum vdisk_level level, const char *text)
{
    struct move *m = arg;

    if (m->log.print && (level != VDISK_ERROR || !atomic_exchange(&m->told, true) || MUTANT("move-tells-all")))
        m->log.print(m->log.arg, level, text);
}

static int target_open(struct move *m, const char *path, struct vdisk *parent)
{
    struct vdisk *source = m->source;
    bool fixed = source->type == DISK_FIXED && strcmp(source->format->name, "raw") != 0;
    struct vdisk_create_options create = {
        .format = m->options->format    ? m->options->format
                  : chain_format_of_suffix(path) ? NULL
                                                 : source->format->name,
        .type = fixed ? "fixed" : NULL,
        .size = source->size,
        .sector_size = source->sector_size,
        .physical_sector_size = source->physical_sector_size,
        .log = {target_says, m},
    };
    const struct disk_format *format = create.format ? chain_format_named(create.format, &create.log)
                                                     : chain_format_of_suffix(path);
    int err;

    if (!format)
        return -EINVAL;
    if (format == source->format)
        create.block_size = source->block_size;
    if (parent) {
        create.type = NULL;
        err = create_child(path, &create, parent, &m->target);
    } else {
        err = vdisk_create(path, &create, &m->target);
    }
    if (err)
        return err;
    if (m->target->size == source->size)
        return 0;
    return disk_error(m->target, -EINVAL, "cannot have the %llu bytes of %s, but %llu", (unsigned long long)source->size,
                      source->file->path, (unsigned long long)m->target->size);
}

/* ---- Copying ---- */

static int count(struct move *m)
{
    unsigned flags = VDISK_MAP_HOLES | (m->source->type == DISK_DIFFERENCING && !m->flatten ? VDISK_MAP_ALONE : 0);
    struct vdisk_extent extent;

    for (uint64_t at = 0; at < m->source->size; at += extent.length) {
        int err = disk_cancelled(m->progress) ? -ECANCELED
                                              : vdisk_map(m->source, at, m->source->size - at, flags, &extent);

        if (err)
            return err;
        m->total += extent.kind == VDISK_EXTENT_DATA ? extent.length : 0;
    }
    return 0;
}

static void goes_on(struct move *m)
{
    uint64_t moved = move_copy_moved(m->copy);

    move_tell(m, moved + move_copy_shared(m->copy));
    pace_keep(&m->pace, m->result.moved + moved, m->progress);
}

static int range_copy(struct move *m, uint64_t offset, uint64_t length, bool quiet)
{
    bool written = mirror_copy_begin(m->mirror, offset, length, quiet);
    int err = move_copy_range(m->copy, offset, length, written);

    mirror_copy_end(m->mirror, offset, length, err);
    return err;
}

/* Until no more than enough is dirty. */
static int copy(struct move *m, uint64_t enough)
{
    unsigned flags = m->source->type == DISK_DIFFERENCING && !m->flatten ? VDISK_MAP_ALONE : 0;
    uint64_t at = 0, offset, length;
    int err = 0;

    while (!err && mirror_dirty(m->mirror) > enough && mirror_next(m->mirror, &at, EMPTY, &offset, &length)) {
        struct vdisk_extent extent;

        err = disk_cancelled(m->progress) ? -ECANCELED : mirror_failure(m->mirror);
        if (!err)
            err = vdisk_map(m->source, offset, length, flags, &extent);
        if (err)
            break;
        at = offset;
        mirror_next(m->mirror, &at, extent.kind == VDISK_EXTENT_DATA || extent.length < CLAIM ? CLAIM : extent.length,
                    &offset, &length);
        err = range_copy(m, offset, length, false);
        goes_on(m);
    }
    return err ? err : mirror_failure(m->mirror);
}

/* ---- Changing over ---- */

/* The file's name is taken away, and not that of a symbolic link to it; the space goes with the last who has it open. */
static int source_remove(struct move *m)
{
    struct file *file = m->source->file;
    char *real = realpath(file->path, NULL), *points;
    struct stat st;
    int err = 0;

    if (!real || lstat(real, &st) < 0 || !S_ISREG(st.st_mode) || st.st_dev != file->device || st.st_ino != file->inode) {
        file_say(file, VDISK_WARNING, m->source->format->name, "is not removed: its name is not that of a plain file, or "
                                                               "of another one by now");
        goto free_real;
    }
    points = track_path(m->source);
    if (unlink(real) < 0) {
        err = disk_error(m->source, -errno, "cannot be removed, so the disk stays there: %s", strerror(errno));
        free(points); /* the source goes on with them */
        goto free_real;
    }
    track_remove(m->source, points);
    if (file_sync_directory(real) < 0)
        file_say(file, VDISK_WARNING, m->source->format->name, "after a power cut its name may stand there again, and the "
                                                               "file be an old one");

free_real:
    free(real);
    return err;
}

static int flush(struct move *m)
{
    return MUTANT("move-not-flushed") ? 0 : vdisk_transfer(m->target, move_copy_ring(m->copy), VDISK_FLUSH, NULL, 0, 0);
}

/* Paused: from here on nothing differs, then nothing is the source's any more. */
static int change_over(struct move *m)
{
    uint64_t at = 0, offset, length;
    int err = 0;

    while (!err && !MUTANT("move-rest-forgotten") && mirror_next(m->mirror, &at, CLAIM, &offset, &length))
        err = range_copy(m, offset, length, true);
    if (!err)
        err = mirror_failure(m->mirror);
    if (!err)
        err = flush(m);
    m->target->log = m->target->file->log = m->log; /* nothing is in flight */
    if (!err && MUTANT("move-removed-first"))
        err = source_remove(m);
    if (!err)
        err = create_appear(m->target);
    if (!err)
        track_hand_over(m->source, m->target);
    if (!err && !MUTANT("move-removed-first"))
        err = source_remove(m);
    if (err && !m->target->temporary && !MUTANT("move-target-left")) {
        track_remove(m->target, track_path(m->target));
        unlink(m->target->file->path);
    }
    return err;
}

static int switch_over(struct move *m)
{
    int err = 0;

    for (int i = 0; i < TRIES && !err && (i == 0 || mirror_dirty(m->mirror) > FEW); i++) {
        err = copy(m, FEW);
        if (!err)
            err = flush(m); /* so that little of it is left for the pause */
    }
    if (err || disk_cancelled(m->progress))
        return err ? err : -ECANCELED;
    port_pause(m->port);
    err = change_over(m);
    m->result.mirrored = mirror_written(m->mirror);
    mirror_close(m->mirror);
    m->mirror = NULL;
    if (!err)
        port_swap(m->port, m->target);
    m->result.pause = port_resume(m->port);
    return err;
}

/* ---- The whole ---- */

int move_to(struct move *m)
{
    int err = count(m);

    if (!err)
        err = move_copy_open(m->source, m->target, m->target->parent, &m->copy);
    if (!err)
        err = mirror_open(m->port, m->source, m->target, &m->mirror);
    if (!err)
        err = switch_over(m);
    if (m->mirror)
        mirror_close(m->mirror);
    if (m->copy) {
        m->result.moved += move_copy_moved(m->copy);
        m->result.shared += move_copy_shared(m->copy);
    }
    move_copy_close(m->copy);
    return err;
}

/* Of two disks the one that is not used. */
static void let_go(struct move *m, struct vdisk *disk)
{
    if (disk && m->parent_shared)
        disk->parent = NULL;
    vdisk_close(disk);
}

static void clean_up(struct move *m, int error)
{
    let_go(m, error ? m->target : m->source);
    while (m->copies > 0) {
        char *name = m->copied[--m->copies];

        if (error)
            unlink(name);
        free(name);
    }
    free(m->copied);
}

static int move(struct move *m, const char *destination)
{
    char *inside = m->chain ? move_file_name(destination, m->source->file->path) : NULL;
    const char *path = m->chain ? inside : destination;
    struct vdisk *parent = NULL;
    bool keeps = m->source->type == DISK_DIFFERENCING && !m->flatten;
    int err = path ? refuse(m, path) : -ENOMEM;

    if (!err && keeps && m->chain)
        err = parents_copy(m, destination, &parent);
    else if (!err && keeps)
        parent = m->source->parent;
    m->parent_shared = keeps && !m->chain;
    if (!err)
        err = target_open(m, path, parent);
    if (err && m->chain && parent && (!m->target || m->target->parent != parent))
        vdisk_close(parent);
    if (!err)
        err = move_to(m);
    clean_up(m, err);
    free(inside);
    return err;
}

int vdisk_move(struct vdisk_port *port, const char *destination, const struct vdisk_move_options *options,
               const struct vdisk_progress *progress, struct vdisk_move_result *result)
{
    static const struct vdisk_move_options none;
    struct move m = {.port = port, .options = options ? options : &none, .progress = progress};
    int err = port_begin(port);

    if (err)
        return err;
    m.source = vdisk_port_disk(port);
    m.log = m.options->log.print ? m.options->log : m.source->log;
    m.chain = m.options->flags & VDISK_MOVE_CHAIN;
    m.flatten = m.options->flags & VDISK_MOVE_FLATTEN;
    pace_begin(&m.pace, m.options->rate);
    err = move(&m, destination);
    if (result)
        *result = m.result;
    port_end(port);
    return err;
}
