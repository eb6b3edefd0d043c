/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot: a child is put over the top of a chain that is in use.
 *
 * The child is made and durable, under a temporary name, before the pause. It holds nothing, so once it has its own a
 * power cut leaves two chains that read the same: the old top, and the child on it. It gets its name in the pause,
 * durably before the guest writes to it: what a guest flushed has to have a name. Then the old top is settled and
 * becomes read-only, and the port changes over.
 *
 * A VHDX changes its identity (DataWriteGuid) with the first write since it was opened. If that write came between the
 * child and the pause, the child is made again: there is no second such write. It never had its name.
 *
 * Going back is another empty child under the same name, of a disk that nobody uses: what a guest remembers of a disk
 * that is taken back under it would be written over it. The new child is durable before it takes the name, so a power
 * cut leaves one or the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chain.h"
#include "mutant.h"
#include "port.h"

#define TRIES 3

static int refuse(struct vdisk *top, const char *child)
{
    const struct disk_format *named = chain_format_of_suffix(child);

    if (!top->format->parent_matches)
        return disk_error(top, -EOPNOTSUPP, "a %s disk has no differencing children: convert it to vhdx first",
                          top->format->name);
    if (!top->writable)
        return disk_error(top, -EROFS, "is open for reading only");
    if (named && named != top->format)
        return chain_error(&top->log, -EINVAL,
                           "disk: %s: is named like a %s, but a child has the format of its parent, and %s is a %s",
                           child, named->name, top->file->path, top->format->name);
    return 0;
}

/* -ESTALE: the top has another identity than the child recorded. */
static int change_over(struct vdisk_port *port, struct vdisk *top, struct vdisk *child, struct vdisk_pause *pause)
{
    char expected[64], found[64];
    uint64_t nanoseconds;
    int err = 0;

    port_pause(port);
    if (!top->format->parent_matches(child, top, expected, found) && !MUTANT("snapshot-identity-unchecked"))
        err = -ESTALE;
    if (!err)
        err = create_appear(child);
    if (!err)
        err = MUTANT("snapshot-not-settled") ? 0 : disk_freeze(top);
    if (!err)
        port_swap(port, child);
    nanoseconds = port_resume(port);
    if (pause && nanoseconds > pause->longest)
        pause->longest = nanoseconds;
    return err;
}

static int snapshot(struct vdisk_port *port, const char *path, const struct vdisk_create_options *options,
                    struct vdisk_pause *pause)
{
    struct vdisk *top = vdisk_port_disk(port), *child;
    int err;

    for (int try = 1;; try++) {
        err = create_child(path, options, top, &child);
        if (err)
            return err;
        err = MUTANT("appear-unsynced") ? 0 : file_sync(child->file); /* not in the pause */
        err = err ? disk_error(child, err, "cannot be made durable: %s", strerror(-err))
                  : change_over(port, top, child, pause);
        if (!err)
            return 0;
        child->parent = NULL;
        if (!child->temporary)
            unlink(path);
        vdisk_close(child);
        if (err != -ESTALE)
            return err;
        if (try == TRIES)
            return disk_error(top, err, "changes its identity all the time: no child can be made");
    }
}

int vdisk_snapshot(struct vdisk_port *port, const char *child, const struct vdisk_create_options *options,
                   struct vdisk_pause *pause)
{
    struct vdisk_create_options o = {0};
    struct vdisk *top = vdisk_port_disk(port);
    int err;

    if (options)
        o = (struct vdisk_create_options){
            .size = options->size, .block_size = options->block_size, .log = options->log};
    if (!o.log.print)
        o.log = top->log;
    o.physical_sector_size = top->physical_sector_size;
    if (pause)
        pause->longest = 0;
    err = port_begin(port);
    if (err)
        return err;
    err = refuse(top, child);
    if (!err)
        err = snapshot(port, child, &o, pause);
    port_end(port);
    return err;
}

/* ---- Going back ---- */

/* For writing, so that nobody else has it open. */
static int open_unused(const char *path, const struct vdisk_open_options *options, struct vdisk **top)
{
    static const struct vdisk_log silent;
    struct vdisk_open_options how = *options;
    int err;

    how.flags = VDISK_OPEN_WRITE | VDISK_OPEN_ALONE;
    how.log = silent;
    err = vdisk_open(path, &how, top);
    if (err == -EBUSY)
        return chain_error(&options->log, err,
                           "disk: %s: is in use: a disk goes back to a point only while nobody uses it, for its guest "
                           "would go on with what it remembers of it; end its use first",
                           path);
    if (!err)
        vdisk_close(*top);
    how.flags = VDISK_OPEN_WRITE;
    how.log = options->log;
    return vdisk_open(path, &how, top);
}

static int refuse_back(struct vdisk *top)
{
    return top->parent ? vdisk_childless(top)
                       : disk_error(top, -EINVAL, "is not a differencing disk: it has no point to go back to");
}

/* Whoever could use the old file can use the new one, as far as we may see to that. */
static void keep_owner(const struct file *old, const struct file *fresh)
{
    struct stat st;

    if (old->fd < 0 || fresh->fd < 0 || fstat(old->fd, &st) < 0)
        return;
    if (fchown(fresh->fd, st.st_uid, st.st_gid) == 0)
        fchmod(fresh->fd, st.st_mode & 07777);
}

static int revert(struct vdisk *top)
{
    const struct vdisk_create_options options = {.flags = VDISK_CREATE_OVERWRITE,
                                                 .block_size = top->block_size,
                                                 .physical_sector_size = top->physical_sector_size,
                                                 .log = top->log};
    struct vdisk *child;
    int err = refuse_back(top);

    if (!err)
        err = create_child(top->file->path, &options, top->parent, &child);
    if (err)
        return err;
    keep_owner(top->file, child->file);
    err = create_appear(child);
    child->parent = NULL; /* it is the old one's */
    vdisk_close(child);
    return err;
}

int vdisk_revert(const char *path, const struct vdisk_open_options *options)
{
    struct vdisk_open_options how = {0};
    char *real = realpath(path, NULL); /* a symbolic link to it stays one */
    struct vdisk *top;
    int err;

    if (options)
        how = *options;
    err = real ? open_unused(real, &how, &top) : chain_error(&how.log, -errno, "disk: %s: %s", path, strerror(errno));
    free(real);
    if (err)
        return err;
    err = revert(top);
    vdisk_close(top); /* has no name any more, where that has succeeded */
    return err;
}
