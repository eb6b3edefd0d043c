/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another parent for a link of a chain that is in use: the same file by another path, or a copy of it.
 *
 * What the disk shows must not change by it. So the new parent has the identity that the link recorded and the size of
 * the old one, and of a copy what both show is compared, beside the guest: nobody writes to either.
 *
 *     1. The new parent's files, and their names, are durable: the old ones may be removed as soon as this is done.
 *     2. The link records it, durably, all or nothing. What the file says after a power cut, both parents are there.
 *     3. The chain goes on over it, and the old one is closed.
 *
 * The top is written to by the guest, and so 2 comes in the pause. A link beneath it is open for reading: it is opened
 * for writing once more, which needs that nobody else has it open, and is told beside the guest; in the pause it takes
 * its own place. Where 2 fails, the chain goes on over the old parent.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chain.h"
#include "mutant.h"
#include "port.h"
#include "relink.h"

struct relink {
    struct vdisk_port *port;
    const char *path; /* of the link */
    struct vdisk *link, *above;
    struct vdisk *fresh;  /* the link open for writing; NULL: it is so already */
    struct vdisk *parent; /* the new one, with its chain */
};

static int choose(struct relink *r, const char *path)
{
    struct vdisk *top = vdisk_port_disk(r->port);

    r->path = path ? path : top->file->path;
    r->link = chain_named(top, r->path);
    if (!r->link)
        return -EINVAL;
    r->above = chain_above(top, r->link);
    if (r->link->type != DISK_DIFFERENCING)
        return disk_error(r->link, -EINVAL, "is not a differencing disk: it has no parent");
    if (!r->link->parent)
        return disk_error(r->link, -ENXIO, "is open without its parent");
    if (!top->writable)
        return disk_error(top, -EROFS, "is open for reading only");
    return 0;
}

/* ---- The new parent ---- */

static int check(struct vdisk *link, struct vdisk *parent)
{
    const struct vdisk *old = link->parent;
    char expected[64], found[64];

    if (!link->format->parent_matches(link, parent, expected, found) && !MUTANT("relink-live-unproved"))
        return disk_error(
            link, -EINVAL,
            "the parent's identity is %s, but %s has %s: while the disk is in use no other disk becomes its "
            "parent, not by force either; end its use first",
            expected, parent->file->path, found);
    if ((parent->size != old->size || parent->sector_size != old->sector_size) && !MUTANT("relink-live-size"))
        return disk_error(parent, -EINVAL, "has %llu bytes in sectors of %u, the parent in use, %s, has %llu of %u",
                          (unsigned long long)parent->size, parent->sector_size, old->file->path,
                          (unsigned long long)old->size, old->sector_size);
    return 0;
}

/* A chain of which the link, or what is above it, is a part would be a circle. Those are locked, so a chain that was
 * opened has none of them but by the link's own parent. */
static int refuse_circle(const struct relink *r, const char *path)
{
    struct vdisk *top = vdisk_port_disk(r->port), *same;
    struct stat st;

    if (stat(path, &st) < 0)
        return chain_error(&top->log, -errno, "disk: %s: %s", path, strerror(errno));
    same = chain_find(top, st.st_dev, st.st_ino);
    for (struct vdisk *link = top; same && link != r->link->parent; link = link->parent)
        if (link == same)
            return disk_error(r->link, -ELOOP, "would be its own ancestor: %s", path);
    return 0;
}

/* Its own parents are found as they will be when the disk is opened next, or else they are files that are in use now.
 */
static int open_chain(const struct relink *r, const char *path, struct vdisk_open_options *how, struct vdisk **parent)
{
    const struct vdisk_log log = how->log;
    const char *in_use[DISK_CHAIN_MAX + 1] = {NULL};
    struct vdisk *found;
    int count = 0;

    how->log = (struct vdisk_log){0};
    if (vdisk_open(path, how, &found) == 0) {
        vdisk_close(found);
    } else {
        for (struct vdisk *link = r->link->parent->parent; link && count < DISK_CHAIN_MAX; link = link->parent)
            if (access(link->file->path, F_OK) == 0)
                in_use[count++] = link->file->path;
        how->parents = in_use;
    }
    how->log = log;
    return vdisk_open(path, how, parent);
}

/* Whose it is, is looked at before its chain. */
static int open_parent(struct relink *r, const char *path)
{
    struct vdisk *link = r->link, *parent;
    unsigned direct = vdisk_port_disk(r->port)->file->direct_unit ? VDISK_OPEN_DIRECT : 0;
    struct vdisk_open_options how = {
        .flags = direct | VDISK_OPEN_ALONE, .format = link->format->name, .log = link->log};
    int err = refuse_circle(r, path);

    if (!err)
        err = vdisk_open(path, &how, &parent);
    if (err)
        return err;
    err = check(link, parent);
    vdisk_close(parent);
    if (err)
        return err;
    how.flags = direct;
    err = open_chain(r, path, &how, &parent);
    if (err)
        return err;
    err = check(link, parent);
    if (err)
        vdisk_close(parent);
    else
        r->parent = parent;
    return err;
}

static bool is_same_file(const struct vdisk *a, const struct vdisk *b)
{
    return a->file->device == b->file->device && a->file->inode == b->file->inode;
}

/* Identities tell that it is a copy, and not that it is whole: what it was copied from may be removed next. */
static int compare(struct relink *r, const struct vdisk_progress *progress)
{
    struct vdisk *old = r->link->parent, *a = old, *b = r->parent;
    uint64_t where;
    int different;

    while (a && b && is_same_file(a, b)) {
        a = a->parent;
        b = b->parent;
    }
    if ((!a && !b) || MUTANT("relink-uncompared"))
        return 0;
    different = vdisk_compare(old, r->parent, progress, &where);
    if (different <= 0)
        return different;
    return disk_error(r->parent, -EINVAL, "differs from the parent in use, %s, first at 0x%llx: it is no copy of it",
                      old->file->path, (unsigned long long)where);
}

/* ---- The link ---- */

static int record(struct relink *r)
{
    return relink_record(r->fresh ? r->fresh : r->link, r->path, r->parent);
}

/* Of a link that is read. Whatever is returned, if it was opened again that takes its place. */
static int record_beside(struct relink *r)
{
    int err = link_open_again(r->link, &r->fresh), frozen;

    if (err)
        return err;
    err = record(r);
    frozen = disk_freeze(r->fresh);
    return err ? err : frozen;
}

static int change_over(struct relink *r, struct vdisk_pause *pause)
{
    struct vdisk *old = r->link->parent, *link = r->link;
    uint64_t nanoseconds;
    int err = r->above ? record_beside(r) : link->format->sync(link); /* so that there is little left for the pause */

    port_pause(r->port);
    if (!err && !r->above)
        err = record(r);
    if (r->fresh) {
        link = r->above->parent = r->fresh;
        r->link->parent = NULL;
    }
    link->parent = err ? old : r->parent;
    nanoseconds = port_resume(r->port);
    if (pause)
        pause->longest = nanoseconds;
    if (r->fresh)
        link_close(r->link);
    vdisk_close(err ? r->parent : old);
    return err;
}

int vdisk_port_relink(struct vdisk_port *port, const char *link, const char *parent,
                      const struct vdisk_progress *progress, struct vdisk_pause *pause)
{
    struct relink r = {.port = port};
    int err = port_begin(port);

    if (pause)
        pause->longest = 0;
    if (err)
        return err;
    err = choose(&r, link);
    if (!err)
        err = open_parent(&r, parent);
    if (err)
        goto end;
    err = compare(&r, progress);
    if (!err)
        err = relink_settle(r.parent);
    if (!err)
        err = change_over(&r, pause);
    else
        vdisk_close(r.parent);

end:
    port_end(port);
    return err;
}
