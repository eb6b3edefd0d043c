/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Telling a child where its parent is now, or, by force, that another disk is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "mutant.h"
#include "relink.h"

static const struct vdisk_log silent;

/* The parent with as much of its own chain as can be found; which of it cannot is said when the chain is opened. */
static int open_parent(const struct vdisk *child, const char *path, const struct vdisk_open_options *options,
                       struct vdisk **parent)
{
    struct vdisk_open_options how = *options;
    int err;

    how.flags = 0;
    how.format = child->format->name;
    how.log = silent;
    if (vdisk_open(path, &how, parent) == 0)
        return 0;
    how.flags = VDISK_OPEN_ALONE;
    how.log = options->log;
    err = vdisk_open(path, &how, parent);
    if (!err && !(*parent)->format->probe((*parent)->file)) {
        vdisk_close(*parent);
        err = -EINVAL;
    }
    return err;
}

/* Before the child is opened for writing: a chain that it is in could not be opened then, nor one that is too long at all. */
static int refuse_chain(const char *path, const char *parent_path, const struct vdisk_open_options *options)
{
    struct vdisk_open_options how = *options;
    struct vdisk *child, *parent;
    int err;

    how.flags = VDISK_OPEN_ALONE;
    err = vdisk_open(path, &how, &child);
    if (err)
        return err;
    err = child->type == DISK_DIFFERENCING ? 0 : disk_error(child, -EINVAL, "is not a differencing disk: it has no parent");
    if (!err)
        err = open_parent(child, parent_path, &how, &parent);
    if (err)
        goto close_child;
    if (chain_find(parent, child->file->device, child->file->inode) && !MUTANT("relink-circle"))
        err = disk_error(child, -ELOOP, "would be its own ancestor: %s", parent->file->path);
    if (!err)
        err = chain_refuse_child(parent, path, &options->log);
    vdisk_close(parent);

close_child:
    vdisk_close(child);
    return err;
}

static int refuse(struct vdisk *child, struct vdisk *parent, unsigned flags)
{
    char expected[64], found[64];

    if (parent->sector_size != child->sector_size)
        return disk_error(parent, -EINVAL, "has sectors of %u bytes, its child %s of %u", parent->sector_size,
                          child->file->path, child->sector_size);
    if (child->format->parent_matches(child, parent, expected, found))
        return 0;
    if (!(flags & VDISK_RELINK_FORCE) && !MUTANT("relink-unproved"))
        return disk_error(child, -EINVAL, "the parent's identity is %s, but %s has %s: it is not its parent, or was changed",
                          expected, parent->file->path, found);
    file_say(child->file, VDISK_WARNING, child->format->name,
             "the parent's identity is %s, but %s has %s: by force it becomes the parent all the same. If it is not the "
             "disk that the child was made from, or was written to since, what the child shows is damaged",
             expected, parent->file->path, found);
    return 0;
}

int relink_record(struct vdisk *child, const char *path, struct vdisk *parent)
{
    struct create_paths paths;
    struct disk_link link = {.parent = parent};
    int err = create_paths_make(path, parent->file->path, &child->log, &paths);

    if (err)
        return err;
    link.relative = paths.relative;
    link.absolute = paths.absolute;
    err = child->format->relink(child, &link);
    create_paths_free(&paths);
    return err;
}

/* A directory that we cannot open: its names are for whoever puts files there to make durable. */
static int sync_name(const char *path)
{
    int err = file_sync_directory(path);

    return err == -EACCES ? 0 : err;
}

/* The entry by which the file is found, and where that is a symbolic link, its own: the one that is recorded. */
static int sync_names(const char *path)
{
    char *real = realpath(path, NULL);
    int err = real ? 0 : -errno;

    if (!err && !MUTANT("relink-name-unsynced"))
        err = sync_name(real);
    if (!err && strcmp(real, path) != 0 && !MUTANT("relink-link-unsynced"))
        err = sync_name(path);
    free(real);
    return err;
}

int relink_settle(struct vdisk *parent)
{
    for (struct vdisk *link = parent; link; link = link->parent) {
        struct file *file = link->file;
        int err;

        while (file->beneath)
            file = file->beneath;
        err = MUTANT("relink-parent-unsynced") ? 0 : file_sync(file);
        if (err == -EINVAL || err == -EROFS) /* on a file system that nobody writes to */
            err = 0;
        if (!err)
            err = sync_names(link->file->path);
        if (err)
            return disk_error(link, err, "cannot be made durable: %s", strerror(-err));
    }
    return 0;
}

int vdisk_relink(const char *path, const char *parent_path, unsigned flags, const struct vdisk_open_options *options)
{
    struct vdisk_open_options how = {0};
    struct vdisk *child, *parent;
    int err, closed;

    if (options)
        how = *options;
    err = refuse_chain(path, parent_path, &how);
    if (err)
        return err;
    how.flags = VDISK_OPEN_WRITE | VDISK_OPEN_ALONE;
    err = vdisk_open(path, &how, &child);
    if (err)
        return err;
    err = open_parent(child, parent_path, &how, &parent);
    if (err)
        goto close_child;
    err = refuse(child, parent, flags);
    if (!err)
        err = relink_settle(parent);
    if (!err)
        err = relink_record(child, child->file->path, parent);
    vdisk_close(parent);

close_child:
    closed = vdisk_close(child);
    return err ? err : closed;
}
