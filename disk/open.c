/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening and closing: the file, its format, one link, the whole chain.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "chain.h"
#include "engine.h"
#include "track.h"

int chain_error(const struct vdisk_log *log, int error, const char *format, ...)
{
    char text[1024];
    va_list args;

    if (!log || !log->print)
        return error;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        *c = *c == '\n' ? ' ' : *c;
    log->print(log->arg, VDISK_ERROR, text);
    return error;
}

const struct disk_format *chain_format_named(const char *name, const struct vdisk_log *log)
{
    for (const struct disk_format *const *f = disk_formats; *f; f++)
        if (strcmp((*f)->name, name) == 0)
            return *f;
    chain_error(log, -EINVAL, "disk: there is no format '%s'", name);
    return NULL;
}

const struct disk_format *chain_format_of_suffix(const char *path)
{
    const char *dot = strrchr(path, '.');

    if (!dot || strchr(dot, '/'))
        return NULL;
    for (const struct disk_format *const *f = disk_formats; *f; f++)
        for (const char *const *suffix = (*f)->suffixes; *suffix; suffix++)
            if (strcasecmp(*suffix, dot) == 0)
                return *f;
    return NULL;
}

static int format_of_signature(struct file *file, const struct disk_format **format)
{
    for (const struct disk_format *const *f = disk_formats; *f; f++) {
        int found = (*f)->probe ? (*f)->probe(file) : 1;

        if (found < 0)
            return file_error(file, "disk", found, "cannot read: %s", strerror(-found));
        if (found) {
            *format = *f;
            return 0;
        }
    }
    return -EINVAL;
}

int chain_format_of_file(struct file *file, const char *name, const struct disk_format **format)
{
    const struct disk_format *suffix = chain_format_of_suffix(file->path);
    int err;

    if (name) {
        *format = chain_format_named(name, &file->log);
        return *format ? 0 : -EINVAL;
    }
    err = format_of_signature(file, format);
    if (err || suffix == *format)
        return err;
    if (!suffix && (!file->writable || !(*format)->probe))
        return 0;
    if (!suffix)
        return file_error(file, "disk", -EINVAL,
                          "carries a %s signature, which its name does not tell of; name its format to write to it",
                          (*format)->name);
    if (!(*format)->probe)
        return file_error(file, "disk", -EINVAL, "is named %s but carries no %s signature; name its format to open it",
                          strrchr(file->path, '.'), suffix->name);
    /* What a guest wrote must not decide how its disk is written. */
    if (file->writable)
        return file_error(file, "disk", -EINVAL,
                          "is named %s but carries a %s signature; name its format to write to it",
                          strrchr(file->path, '.'), (*format)->name);
    file_say(file, VDISK_WARNING, "disk", "is named %s but carries a %s signature: it is read as %s",
             strrchr(file->path, '.'), (*format)->name, (*format)->name);
    return 0;
}

int link_open(struct file *file, const struct disk_format *format, bool alone, struct vdisk **disk)
{
    /* The epoch's counters have cache lines of their own. */
    struct vdisk *d = aligned_alloc(64, (format->object_size + 63) / 64 * 64);
    int err;

    if (!d)
        return -ENOMEM;
    memset(d, 0, format->object_size);
    d->format = format;
    d->file = file;
    d->log = file->log;
    d->writable = file->writable;
    d->alone = alone;
    epoch_init(&d->epoch);
    hold_init(&d->hold);
    pthread_mutex_init(&d->data_lock, NULL);
    err = worker_open(d);
    if (err)
        goto free_disk;
    err = format->open(d);
    if (err)
        goto close_worker;
    if (file->direct_unit > d->sector_size) {
        err = disk_error(d, -EINVAL, "direct I/O here is in units of %u bytes, its sectors have %u", file->direct_unit,
                         d->sector_size);
        goto close_disk;
    }
    *disk = d;
    return 0;

close_disk:
    format->close(d);
close_worker:
    worker_close(d);
free_disk:
    pthread_mutex_destroy(&d->data_lock);
    hold_destroy(&d->hold);
    epoch_destroy(&d->epoch);
    free(d);
    return err;
}

/* All but the file. */
static int link_end(struct vdisk *disk)
{
    int err;

    worker_close(disk);
    track_settle(disk);
    err = disk->format->close(disk);
    if (!err)
        err = disk_failure(disk);
    if (!err)
        track_seal(disk);
    track_close(disk->track);
    pthread_mutex_destroy(&disk->data_lock);
    hold_destroy(&disk->hold);
    epoch_destroy(&disk->epoch);
    file_close(disk->replaced);
    free(disk->temporary);
    free(disk);
    return err;
}

int link_close(struct vdisk *disk)
{
    struct file *file = disk->file;
    int err = link_end(disk);

    file_close(file);
    return err;
}

int link_reopen(struct vdisk *disk, struct vdisk **fresh)
{
    struct vdisk *d;
    int err = link_open(disk->file, disk->format, disk->alone, &d);

    if (err) {
        disk->size = 0;
        disk_fail(disk, err);
        *fresh = disk;
        return err;
    }
    d->parent = disk->parent;
    d->temporary = disk->temporary;
    d->replace = disk->replace;
    d->replaced = disk->replaced;
    disk->temporary = NULL;
    disk->replaced = NULL;
    track_move(disk, d);
    *fresh = d;
    return link_end(disk);
}

int link_open_again(struct vdisk *link, struct vdisk **fresh)
{
    struct file *file;
    int err = file_claim(link->file);

    if (err)
        return disk_error(link, err, err == -EBUSY ? "is in use: somebody else has it open" : "cannot lock: %s",
                          strerror(-err));
    err = file_reopen(link->file, &file);
    if (err)
        goto yield;
    err = link_open(file, link->format, link->alone, fresh);
    if (!err) {
        track_take_over(link, *fresh);
        return 0;
    }
    file_close(file);
yield:
    file_yield(link->file);
    return err;
}

int vdisk_open(const char *path, const struct vdisk_open_options *options, struct vdisk **disk)
{
    static const struct vdisk_open_options none;
    const struct vdisk_open_options *how = options ? options : &none;
    const struct disk_format *format;
    struct file *file;
    struct vdisk *d;
    int err;

    err = file_open(AT_FDCWD, path,
                    FILE_DEVICE | (how->flags & VDISK_OPEN_WRITE ? FILE_WRITE : 0) |
                        (how->flags & VDISK_OPEN_DIRECT ? FILE_DIRECT : 0),
                    &how->log, &file);
    if (err)
        return err;
    err = chain_format_of_file(file, how->format, &format);
    if (err)
        goto close_file;
    err = link_open(file, format, how->flags & VDISK_OPEN_ALONE, &d);
    if (err)
        goto close_file;
    if (d->type == DISK_DIFFERENCING && !d->alone) {
        err = chain_open_parents(d, how);
        if (err) {
            vdisk_close(d);
            return err;
        }
    }
    if (d->writable)
        track_attach(d);
    *disk = d;
    return 0;

close_file:
    file_close(file);
    return err;
}

int vdisk_close(struct vdisk *disk)
{
    bool unfinished = disk && disk->temporary;
    int err = 0;

    if (unfinished) {
        unlink(disk->temporary);
        disk->failed = disk->file->failed = -ECANCELED; /* so that nobody makes it durable first */
    }
    while (disk) {
        struct vdisk *parent = disk->parent;
        int this = link_close(disk);

        if (!err && !unfinished)
            err = this;
        unfinished = false;
        disk = parent;
    }
    return err;
}

int disk_freeze(struct vdisk *disk)
{
    int err = disk_failure(disk);

    track_settle(disk);
    if (!err)
        err = disk->format->settle ? disk->format->settle(disk) : disk->format->sync(disk);
    if (err)
        return err;
    track_seal(disk);
    track_yield(disk);
    file_yield(disk->file);
    disk->writable = disk->file->writable = false;
    return 0;
}

int disk_thaw(struct vdisk *disk)
{
    int err = file_claim(disk->file);

    if (err)
        return disk_error(disk, err, "cannot be written to again: %s",
                          err == -EBUSY ? "another process has opened it" : strerror(-err));
    err = track_claim(disk);
    if (err) {
        file_yield(disk->file);
        return err;
    }
    disk->writable = disk->file->writable = true;
    if (!disk->track)
        track_attach(disk);
    return 0;
}

void disk_fail(struct vdisk *disk, int error)
{
    int none = 0;

    if (atomic_compare_exchange_strong(&disk->failed, &none, error))
        disk_error(disk, error,
                   "the storage failed (%s): what was written since the last flush may be lost, nothing more is written",
                   strerror(-error));
}

uint64_t vdisk_size(const struct vdisk *disk)
{
    return disk->size;
}

unsigned vdisk_sector_size(const struct vdisk *disk)
{
    return disk->sector_size;
}

unsigned vdisk_physical_sector_size(const struct vdisk *disk)
{
    return disk->physical_sector_size;
}

uint32_t vdisk_block_size(const struct vdisk *disk)
{
    return disk->block_size;
}

const char *vdisk_path(const struct vdisk *disk)
{
    return disk->file->path;
}

const char *vdisk_format(const struct vdisk *disk)
{
    return disk->format->name;
}

const char *vdisk_type(const struct vdisk *disk)
{
    static const char *const names[] = {"fixed", "dynamic", "differencing"};

    return names[disk->type];
}

struct vdisk *vdisk_parent(const struct vdisk *disk)
{
    return disk->parent;
}

int vdisk_info(struct vdisk *disk, vdisk_field_fn *field, void *arg)
{
    disk->format->info(disk, field, arg);
    return 0;
}

int vdisk_check(const char *path, const struct vdisk_open_options *options, const struct vdisk_progress *progress,
                vdisk_fault_fn *fault, void *arg)
{
    static const struct vdisk_open_options none;
    const struct vdisk_open_options *how = options ? options : &none;
    const struct disk_format *format;
    struct file *file;
    int err;

    err = file_open(AT_FDCWD, path, FILE_DEVICE, &how->log, &file);
    if (err)
        return err;
    err = chain_format_of_file(file, how->format, &format);
    if (!err)
        err = format->check(file, progress, fault, arg);
    file_close(file);
    return err;
}

const char *vdisk_version(void)
{
    return VDISK_VERSION;
}
