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
 */
#include <errno.h>
#include <string.h>
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
        return chain_error(&top->log, -EINVAL, "disk: %s: is named like a %s, the child of %s is a %s", child,
                           named->name, top->file->path, top->format->name);
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
