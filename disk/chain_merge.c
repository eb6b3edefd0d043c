/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which link goes into which: what vdisk_merge is asked for, one link after the other, the one nearest to the target
 * first, so that each link's bytes move once. And who else is concerned: other children of the parent, whom the merge
 * would rob, and of the link, who get another parent.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "family.h"
#include "merge.h"
#include "mutant.h"
#include "port.h"

/* Beside either file. */
static int find(struct family *family, struct vdisk *of, const struct merge *m)
{
    struct vdisk *top = vdisk_port_disk(m->port);
    int err = family_find(family, of, m->child->file->path, top);

    return err ? err : family_find(family, of, m->parent->file->path, top);
}

/* With another child of the parent nothing may be written to it: not by the merge, and not by a guest afterwards. */
static int look_for_others(struct merge *m, struct family *others, bool last)
{
    int err = find(others, m->parent, m);

    if (err)
        return disk_error(m->parent, err, "cannot look for its other children: %s", strerror(-err));
    if (others->count == 0 || MUTANT("merge-other-child"))
        return 0;
    m->other = others->path[0];
    if (m->above || last)
        return 0;
    return merge_has_other(m);
}

static int open_child(const struct merge *m, const char *path, struct vdisk **child)
{
    struct vdisk_open_options how = {
        .flags = VDISK_OPEN_WRITE | VDISK_OPEN_ALONE, .format = m->child->format->name, .log = m->child->log};
    char expected[64], found[64];
    int err = vdisk_open(path, &how, child);

    if (err)
        return err;
    if ((*child)->type == DISK_DIFFERENCING && (*child)->format->parent_matches(*child, m->child, expected, found))
        return 0;
    err = disk_error(*child, -EINVAL, "is not a child of %s", m->child->file->path);
    vdisk_close(*child);
    return err;
}

static int open_children(struct merge *m, const char *const *named)
{
    struct family family = {0};
    int err = find(&family, m->child, m);

    for (; !err && named && *named; named++)
        err = family_add(&family, *named);
    m->child_of = calloc(family.count + 1, sizeof(*m->child_of));
    if (!m->child_of)
        err = -ENOMEM;
    for (size_t i = 0; i < family.count && !err; i++) {
        err = open_child(m, family.path[i], &m->child_of[i]);
        m->children += !err;
    }
    family_free(&family);
    return err;
}

static int close_children(struct merge *m)
{
    int err = 0;

    for (size_t i = 0; i < m->children; i++) {
        int each = vdisk_close(m->child_of[i]);

        err = err ? err : each;
    }
    free(m->child_of);
    return err;
}

static int merge_link(struct vdisk_port *port, struct vdisk *child, const char *const *named, bool last,
                      const struct vdisk_progress *progress, struct vdisk_merge_result *result)
{
    struct vdisk *top = vdisk_port_disk(port);
    struct family others = {0};
    struct merge m = {.port = port, .child = child, .parent = child->parent, .progress = progress, .result = result};
    int err, closed;

    m.above = chain_above(top, child);
    m.higher = m.above ? chain_above(top, m.above) : NULL;
    err = look_for_others(&m, &others, last);
    if (!err)
        err = open_children(&m, named);
    if (!err)
        err = merge_one(&m);
    closed = close_children(&m);
    family_free(&others);
    return err ? err : closed;
}

/* Is that file not in the chain, but a child of one of its links? What the interruption of its merge left over is. */
static bool is_left_over(struct vdisk *top, const struct vdisk_merge_options *o)
{
    struct vdisk_open_options how = o->search ? *o->search : (struct vdisk_open_options){0};
    struct vdisk *disk;
    bool is;

    how.flags = 0;
    how.log = (struct vdisk_log){0};
    if (vdisk_open(o->link, &how, &disk))
        return false;
    is = !chain_find(top, disk->file->device, disk->file->inode) && disk->parent &&
         chain_find(top, disk->parent->file->device, disk->parent->file->inode);
    vdisk_close(disk);
    return is;
}

/* It is nobody's parent in the chain: what remains is to see that it is superfluous, and to remove it. */
static int merge_left_over(struct vdisk *of, const struct vdisk_merge_options *o, const struct vdisk_progress *progress,
                           struct vdisk_merge_result *result)
{
    struct vdisk_open_options how = o->search ? *o->search : (struct vdisk_open_options){0};
    struct merge m = {.other = of->file->path, .left_over = true, .progress = progress, .result = result};
    int err, closed;

    how.flags = VDISK_OPEN_WRITE;
    how.log = of->log;
    err = vdisk_port_open(o->link, &how, &m.port);
    if (err)
        return err;
    m.child = vdisk_port_disk(m.port);
    m.parent = m.child->parent;
    if (!m.parent || (o->into && chain_named(m.child, o->into) != m.parent))
        err = disk_error(m.child, -EINVAL, "is not in the chain of %s", m.other);
    if (!err)
        err = open_children(&m, o->children);
    if (!err)
        err = merge_one(&m);
    closed = close_children(&m);
    err = err ? err : closed;
    closed = vdisk_port_close(m.port);
    return err ? err : closed;
}

static int merge(struct vdisk_port *port, const struct vdisk_merge_options *o, const struct vdisk_progress *progress,
                 struct vdisk_merge_result *result)
{
    struct vdisk *top = vdisk_port_disk(port), *first, *into;
    unsigned depth = 0, end;
    int err = 0;

    if (o->link && is_left_over(top, o))
        return merge_left_over(top, o, progress, result);
    first = o->link ? chain_named(top, o->link) : top;
    if (!first)
        return -EINVAL;
    if (!first->parent)
        return disk_error(first, -EINVAL, "has no parent to be merged into");
    into = o->into ? chain_named(first, o->into) : first->parent;
    if (!into || into == first)
        return into ? disk_error(first, -EINVAL, "cannot be merged into itself") : -EINVAL;
    for (struct vdisk *link = top; link != first; link = link->parent)
        depth++;
    end = depth;
    for (struct vdisk *link = first; link != into; link = link->parent)
        end++;
    while (end-- > depth && !err) { /* a link may be another object afterwards; its depth stays */
        struct vdisk *child = vdisk_port_disk(port);

        for (unsigned i = 0; i < end; i++)
            child = child->parent;
        err = merge_link(port, child, end == depth ? o->children : NULL, o->last, progress, result);
    }
    return err;
}

int vdisk_merge(struct vdisk_port *port, const struct vdisk_merge_options *options,
                const struct vdisk_progress *progress, struct vdisk_merge_result *result)
{
    static const struct vdisk_merge_options none;
    struct vdisk_merge_result unwanted;
    int err;

    if (!result)
        result = &unwanted;
    *result = (struct vdisk_merge_result){0};
    err = port_begin(port);
    if (err)
        return err;
    err = merge(port, options ? options : &none, progress, result);
    port_end(port);
    return err;
}
