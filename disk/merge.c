/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Merging a link of a chain, the child, into its parent, while the chain is in use.
 *
 * Why a power cut at any moment leaves a chain that reads the same:
 *
 *     1. The child records that its parent is to be written (relink). A VHDX parent has another identity after its
 * first write; the child accepts both. A VHD's identity stays.
 *     2. What the child holds is copied into its parent. The child holds it still and shadows it, so the copies show
 *        nowhere, whole or half; the parent's other bytes are not touched. (A ZERO block of the child is zeros in the
 * parent.)
 *     3. Everything is durable in the parent: now the parent alone shows what both show together.
 *     4. The child's own children record the parent as theirs, one after the other; by either name they show the same.
 *     5. The child's file is removed, durably, before anybody writes to the parent: a child that still shadowed what
 *        was written since would show older bytes. Where its name is gone, but not durably, nobody writes to the parent.
 *
 * What others write to the child while it is copied is noted (dirty.h) and copied again, the last of it while the port
 * is paused. To begin anew after any interruption is to copy anew. Nothing but 1 and 3 to 5 happens in a pause.
 *
 * A cut between 4 and 5 leaves a parent with two children, and must not be written to. It is read instead: if it shows
 * all that the child holds, 3 is so, and 4 and 5 are what remains. Of any other parent with two children that is
 * refused.
 */
#include "merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "chain.h"
#include "dirty.h"
#include "mutant.h"
#include "port.h"
#include "relink.h"
#include "resize.h"
#include "track.h"

#define PIECE (UINT64_C(1) << 20)
#define LAST_BYTES (UINT64_C(4) << 20) /* that are left for the pause, where the guest lets us */
#define PASSES 8

static void resume(struct merge *m)
{
    uint64_t nanoseconds = port_resume(m->port);

    if (nanoseconds > m->result->pause.longest)
        m->result->pause.longest = nanoseconds;
}

/* Puts fresh where old stands in the chain. Paused. */
static void put(struct merge *m, struct vdisk *above, struct vdisk *old, struct vdisk *fresh)
{
    fresh->parent = old->parent;
    if (above)
        above->parent = fresh;
    else
        port_swap(m->port, fresh);
    old->parent = NULL;
}

/* ---- Copying ---- */

/* What the child alone holds of one range, as the file now is. */
static int copy_range(struct merge *m, uint64_t offset, uint64_t length)
{
    while (length > 0) {
        struct vdisk_extent extent;
        int err = vdisk_map(m->child, offset, length, VDISK_MAP_ALONE, &extent);

        if (err)
            return err;
        if (extent.length > PIECE && extent.kind == VDISK_EXTENT_DATA)
            extent.length = PIECE;
        if (extent.kind == VDISK_EXTENT_DATA) {
            err = vdisk_transfer(m->child, m->ring, VDISK_READ, m->buffer, offset, extent.length);
            if (!err)
                err = vdisk_transfer(m->parent, m->ring, VDISK_WRITE, m->buffer, offset, extent.length);
            m->result->bytes_moved += err ? 0 : extent.length;
        } else if (extent.kind == VDISK_EXTENT_ZERO) {
            err = vdisk_transfer(m->parent, m->ring, VDISK_ZERO, NULL, offset, extent.length);
        }
        if (err)
            return err;
        offset += extent.length;
        length -= extent.length;
    }
    return 0;
}

/* What has changed since it was copied. */
static int copy_changed(struct merge *m)
{
    uint64_t at = 0, length;
    int err = 0;

    while (!err && dirty_take(m->child->dirty, &at, &length, PIECE)) {
        err = disk_cancelled(m->progress) ? -ECANCELED : copy_range(m, at, length);
        at += length;
    }
    return err;
}

static int copy_all(struct merge *m)
{
    struct vdisk_copy_result moved = {0};
    int err = vdisk_copy(m->child, m->parent, VDISK_COPY_ALONE, m->progress, &moved);

    m->result->bytes_moved += moved.bytes_written + moved.bytes_shared;
    for (int pass = 0; !err && pass < PASSES && dirty_bytes(m->child->dirty) > LAST_BYTES; pass++)
        err = copy_changed(m);
    return err ? err : vdisk_transfer(m->parent, m->ring, VDISK_FLUSH, NULL, 0, 0); /* the pause is shorter then */
}

/* ---- Nothing to copy ---- */

int merge_has_other(const struct merge *m)
{
    if (m->left_over)
        return disk_error(m->parent, -EBUSY, "has another child, %s: with what is merged it would lose its parent",
                          m->other);
    return disk_error(
        m->parent, -EBUSY,
        "has another child, %s: with what is merged it would lose its parent (if an interrupted merge left it "
        "over, \"vdisk merge %s\" removes it)",
        m->other, m->other);
}

/* Does the parent show what the child alone holds there? -EBUSY, said: not so. */
static int compare_extent(struct merge *m, const struct vdisk_extent *extent, uint64_t offset)
{
    char *shown = m->buffer + PIECE;
    int err = 0;

    if (extent->kind == VDISK_EXTENT_DATA)
        err = vdisk_transfer(m->child, m->ring, VDISK_READ, m->buffer, offset, extent->length);
    else
        memset(m->buffer, 0, extent->length);
    if (!err)
        err = vdisk_transfer(m->parent, m->ring, VDISK_READ, shown, offset, extent->length);
    if (!err && memcmp(m->buffer, shown, extent->length) != 0 && !MUTANT("merge-removes-unproved"))
        err = merge_has_other(m);
    return err;
}

static int compare_all(struct merge *m)
{
    struct vdisk_extent extent;
    int err = m->parent->size == m->child->size ? 0 : merge_has_other(m);

    for (uint64_t offset = 0; !err && offset < m->child->size; offset += extent.length) {
        err = disk_cancelled(m->progress)
                  ? -ECANCELED
                  : vdisk_map(m->child, offset, m->child->size - offset, VDISK_MAP_ALONE, &extent);
        if (err || (extent.kind != VDISK_EXTENT_DATA && extent.kind != VDISK_EXTENT_ZERO))
            continue;
        if (extent.length > PIECE)
            extent.length = PIECE;
        err = compare_extent(m, &extent, offset);
    }
    return err;
}

/* ---- Before ---- */

static int claim(struct vdisk *link, struct vdisk **fresh)
{
    *fresh = NULL;
    return !link || link->writable ? 0 : link_open_again(link, fresh);
}

static void install(struct merge *m, struct vdisk *above, struct vdisk **link, struct vdisk *fresh)
{
    if (!fresh)
        return;
    put(m, above, *link, fresh);
    link_close(*link);
    *link = fresh;
}

/* The parent's first write changes its identity: the child knows before. A larger size is such a write. A parent that
 * cannot be read any more is taken out of the chain: what needs it fails. */
static int announce(struct merge *m)
{
    struct disk_link link = {.parent = m->parent, .to_be_written = true};
    struct vdisk *grown = m->parent;
    int err = m->child->format->relink(m->child, &link);

    if (err || m->parent->size >= m->child->size)
        return err;
    err = disk_resize(&grown, m->child->size);
    m->parent = m->child->parent = link.parent = grown;
    if (err && grown->size == 0) {
        m->child->alone = true;
        m->child->parent = NULL;
        vdisk_close(grown);
        m->parent = NULL;
    }
    return err ? err : m->child->format->relink(m->child, &link);
}

/* What failed in an earlier merge is open for writing still, in a state that nobody knows. */
static int refuse_failed(const struct merge *m)
{
    struct vdisk *links[] = {m->above, m->child, m->parent};

    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]) && !MUTANT("merge-over-failed"); i++)
        if (links[i] && links[i]->failed)
            return disk_error(links[i], links[i]->failed,
                              "its storage failed: it can be merged when it is opened again");
    return 0;
}

/* Opens what will be written, and replaces what was open for reading. */
static int begin(struct merge *m)
{
    struct vdisk *parent = NULL, *child = NULL, *above = NULL;
    int err = refuse_failed(m);

    if (!err)
        err = claim(m->other ? NULL : m->parent, &parent);
    if (!err)
        err = claim(m->child, &child);
    if (!err)
        err = claim(m->above, &above);
    if (err)
        goto close_fresh;
    m->above_frozen = above != NULL;
    m->child_frozen = child != NULL;
    port_pause(m->port);
    install(m, m->higher, &m->above, above);
    install(m, m->above, &m->child, child);
    install(m, m->child, &m->parent, parent);
    atomic_store(&m->child->dirty, m->dirty);
    err = m->other ? 0 : announce(m);
    if (m->parent && !m->other)
        m->parent->walked_by = vdisk_port_disk(m->port);
    resume(m);
    return err;

close_fresh:
    if (child) {
        link_close(child);
        file_yield(m->child->file);
    }
    if (parent) {
        link_close(parent);
        file_yield(m->parent->file);
    }
    return err;
}

/* ---- After ---- */

static int relink_children(struct merge *m)
{
    int err =
        m->above && !MUTANT("merge-child-not-relinked") ? relink_record(m->above, m->above->file->path, m->parent) : 0;

    for (size_t i = 0; i < m->children && !err; i++)
        err = relink_record(m->child_of[i], m->child_of[i]->file->path, m->parent);
    return err;
}

/* The parent shows everything, durably. */
static int complete_parent(struct merge *m)
{
    int err;

    if (m->other)
        return dirty_bytes(m->child->dirty) ? merge_has_other(m) : file_sync(m->parent->file);
    err = copy_changed(m);
    if (err || MUTANT("merge-not-durable"))
        return err;
    return m->parent->format->settle ? m->parent->format->settle(m->parent) : m->parent->format->sync(m->parent);
}

/* And its points, when it has no name any more: else it goes on with them. *unsynced: the child has lost its name, but may
 * have it again after a power cut. */
static int remove_child(struct merge *m, int *unsynced)
{
    char *points = track_path(m->child);
    bool gone = false;
    int err = MUTANT("merge-child-stays") ? 0 : file_remove(m->child->file, &gone);

    *unsynced = 0;
    if (gone)
        track_remove(m->child, points);
    else
        free(points);
    if (gone && !MUTANT("merge-goes-on-nameless")) {
        *unsynced = err;
        return 0;
    }
    if (err == -ESTALE && (m->above || m->children)) /* it is nobody's parent any more */
        return 0;
    return err;
}

/* A child that is back would hide what was written to the parent since: so nothing is. One that was in the middle of
 * the chain is nobody's parent any more. */
static int stay_unsynced(struct merge *m, int unsynced)
{
    bool hides = m->parent->writable && !m->above && !MUTANT("merge-written-unsynced");

    file_say(m->child->file, hides ? VDISK_ERROR : VDISK_WARNING, m->child->format->name,
             "is merged into %s, but its directory cannot be made durable (%s): after a power cut its name may stand "
             "there again, and must then be removed",
             m->parent->file->path, strerror(-unsynced));
    if (hides)
        disk_fail(m->parent, unsynced);
    return hides ? unsynced : 0;
}

/* The last bytes, and the change to the parent. Paused. */
static int change_over(struct merge *m)
{
    bool stays_as_it_is = m->other || (!m->above && !m->child_frozen);
    int err = complete_parent(m), unsynced = 0;

    if (!err)
        err = relink_children(m);
    if (!err)
        err = remove_child(m, &unsynced);
    if (err == -ECANCELED)
        return err;
    if (err)
        return disk_error(m->child, err, "cannot be merged into %s: %s", m->parent->file->path, strerror(-err));
    if (m->above)
        m->above->parent = m->parent;
    else
        port_swap(m->port, m->parent);
    m->child->parent = NULL;
    err = stays_as_it_is ? 0 : disk_freeze(m->parent);
    if (!err && unsynced)
        err = stay_unsynced(m, unsynced);
    return err;
}

/* What was opened for writing only for this is read-only again. Paused. */
static int restore(struct merge *m, bool merged)
{
    int err = 0, each;

    atomic_store(&m->child->dirty, NULL);
    if (m->parent)
        m->parent->walked_by = NULL;
    if (m->parent && !merged && !m->other)
        err = disk_freeze(m->parent);
    if (!merged && m->child_frozen) {
        each = disk_freeze(m->child);
        err = err ? err : each;
    }
    if (m->above_frozen) {
        each = disk_freeze(m->above);
        err = err ? err : each;
    }
    return err;
}

static int run(struct merge *m)
{
    int err = begin(m), restored;
    bool merged = false;

    if (err && !m->child->dirty)
        return err; /* nothing was replaced */
    if (!err)
        err = m->other ? compare_all(m) : copy_all(m);
    port_pause(m->port);
    if (!err) {
        err = change_over(m);
        merged = !m->child->parent;
    }
    restored = restore(m, merged);
    resume(m);
    if (merged) {
        link_close(m->child);
        m->result->links++;
    }
    return err ? err : restored;
}

/* ---- One merge ---- */

static int open_workspace(struct merge *m)
{
    int err = dirty_open(m->child, &m->dirty);

    m->buffer = aligned_alloc(4096, 2 * PIECE);
    if (!err)
        err = m->buffer ? vdisk_ring_open(1, VDISK_BACKEND_AUTO, &m->ring) : -ENOMEM;
    return err;
}

static void close_workspace(struct merge *m)
{
    vdisk_ring_close(m->ring);
    free(m->buffer);
    free(m->dirty);
}

int merge_one(struct merge *m)
{
    int err;

    if (m->parent->size > m->child->size)
        return disk_error(m->child, -EINVAL,
                          "has %llu bytes, its parent %s %llu: the disk would become larger; give both one size first",
                          (unsigned long long)m->child->size, m->parent->file->path,
                          (unsigned long long)m->parent->size);
    err = open_workspace(m);
    if (!err)
        err = run(m);
    close_workspace(m);
    return err;
}
