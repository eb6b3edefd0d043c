/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes: reads and writes of any alignment, zeroing, flushing.
 *
 * What changes the disk holds its range (range.h), in whole sectors, from before its first read until after its last
 * write. A write goes in steps: the sector at its head is read if it covers a part of it, the sector at its tail
 * likewise, then everything is written as one. A zeroing writes head and tail one after the other and zeroes the rest.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "export.h"

enum step { READ_HEAD, READ_TAIL, WRITE_HEAD, WRITE_TAIL, WRITE_ALL, ZERO_MIDDLE, FINISHED };

static uint64_t begin_of(const struct slot *slot)
{
    return slot->offset - slot->offset % slot->export->sector_size;
}

static uint64_t end_of(const struct slot *slot)
{
    uint64_t end = slot->offset + slot->length, sector = slot->export->sector_size;

    return (end + sector - 1) / sector * sector;
}

/* Parts of a sector: at the head (or the only one), and at the tail if that is another sector. */
static bool has_head(const struct slot *slot)
{
    uint64_t begin = begin_of(slot), end = slot->offset + slot->length;

    return slot->offset != begin || end - begin < slot->export->sector_size;
}

static bool has_tail(const struct slot *slot)
{
    uint64_t end = end_of(slot);

    return slot->offset + slot->length != end && end - begin_of(slot) > slot->export->sector_size;
}

static void start(struct slot *slot, enum vdisk_op op, uint64_t offset, uint64_t length, int iovcnt,
                  void (*done)(struct slot *slot, int error))
{
    slot->io.op = op;
    slot->io.flags = op == VDISK_WRITE && slot->durable ? VDISK_FUA : 0;
    slot->io.offset = offset;
    slot->io.length = length;
    slot->io.iov = slot->iov;
    slot->io.iovcnt = iovcnt;
    slot->done = done;
    server_submit(slot);
}

/* ---- Read, flush ---- */

static void read_done(struct slot *slot, int error)
{
    if (error)
        fuse_reply_err(slot->req, -error);
    else
        fuse_reply_buf(slot->req, (char *)slot->data + (slot->offset - begin_of(slot)), slot->length);
    server_done(slot);
}

void request_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct export *export = fuse_req_userdata(req);
    const struct node *node = node_file(export, ino);
    uint64_t length = node ? node_length(export, node) : 0; /* asked once: it grows */
    struct slot *slot;

    (void)fi;
    if (!node || offset < 0 || size > EXPORT_TRANSFER) {
        fuse_reply_err(req, node ? EINVAL : EISDIR);
        return;
    }
    if ((uint64_t)offset >= length || size == 0) {
        fuse_reply_buf(req, NULL, 0);
        return;
    }
    slot = server_slot(req);
    slot->offset = node->offset + (uint64_t)offset;
    slot->length = length - (uint64_t)offset < size ? length - (uint64_t)offset : size;
    slot->iov[0] = (struct iovec){slot->data, end_of(slot) - begin_of(slot)};
    start(slot, VDISK_READ, begin_of(slot), slot->iov[0].iov_len, 1, read_done);
}

static void flush_done(struct slot *slot, int error)
{
    fuse_reply_err(slot->req, -error);
    server_done(slot);
}

void request_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct slot *slot = server_slot(req);

    (void)ino;
    (void)datasync;
    (void)fi;
    start(slot, VDISK_FLUSH, 0, 0, 0, flush_done);
}

/* ---- Write, zero ---- */

static void change_next(struct slot *slot);

static void change_end(struct slot *slot, int error)
{
    atomic_store(&slot->export->written, (int64_t)time(NULL));
    range_give(&slot->export->lock, &slot->range);
    server_end_long(slot->export);
    if (error || slot->zero)
        fuse_reply_err(slot->req, -error);
    else
        fuse_reply_write(slot->req, slot->length);
    server_done(slot);
}

static void change_done(struct slot *slot, int error)
{
    if (error)
        change_end(slot, error);
    else
        change_next(slot);
}

/* What was read of the sectors at the edges, and between them what is written. */
static int gather(struct slot *slot)
{
    uint64_t sector = slot->export->sector_size, begin = begin_of(slot), end = end_of(slot);
    uint64_t last = slot->offset + slot->length;
    uint8_t *tail = has_tail(slot) ? slot->edge + sector : slot->edge;
    int count = 0;

    if (slot->offset > begin)
        slot->iov[count++] = (struct iovec){slot->edge, slot->offset - begin};
    slot->iov[count++] = (struct iovec){(void *)slot->payload, slot->length};
    if (last < end)
        slot->iov[count++] = (struct iovec){tail + (last - (end - sector)), end - last};
    return count;
}

/* A sector at the edge, with the part that the request covers made zero. */
static void edge_zero(struct slot *slot, uint8_t *edge, uint64_t at)
{
    uint64_t sector = slot->export->sector_size, last = slot->offset + slot->length;
    uint64_t from = slot->offset > at ? slot->offset : at, to = last < at + sector ? last : at + sector;

    memset(edge + (from - at), 0, to - from);
}

static void edge_start(struct slot *slot, enum vdisk_op op, bool head)
{
    uint64_t sector = slot->export->sector_size, at = head ? begin_of(slot) : end_of(slot) - sector;
    uint8_t *edge = head ? slot->edge : slot->edge + sector;

    if (op == VDISK_WRITE)
        edge_zero(slot, edge, at);
    slot->iov[0] = (struct iovec){edge, sector};
    start(slot, op, at, sector, 1, change_done);
}

/* Starts the next step that this request needs, or ends it. */
static void change_next(struct slot *slot)
{
    uint64_t sector = slot->export->sector_size, begin = begin_of(slot), end = end_of(slot);

    for (;;) {
        switch ((enum step)slot->step++) {
        case READ_HEAD:
            if (has_head(slot))
                return edge_start(slot, VDISK_READ, true);
            break;
        case READ_TAIL:
            if (has_tail(slot))
                return edge_start(slot, VDISK_READ, false);
            break;
        case WRITE_HEAD:
            if (slot->zero && has_head(slot))
                return edge_start(slot, VDISK_WRITE, true);
            break;
        case WRITE_TAIL:
            if (slot->zero && has_tail(slot))
                return edge_start(slot, VDISK_WRITE, false);
            break;
        case WRITE_ALL:
            if (!slot->zero)
                return start(slot, VDISK_WRITE, begin, end - begin, gather(slot), change_done);
            break;
        case ZERO_MIDDLE:
            begin += has_head(slot) ? sector : 0;
            end -= has_tail(slot) ? sector : 0;
            if (slot->zero && begin < end)
                return start(slot, VDISK_ZERO, begin, end - begin, 0, change_done);
            break;
        case FINISHED:
            return change_end(slot, 0);
        }
    }
}

void request_granted(struct slot *slot)
{
    change_next(slot);
}

static void granted(struct range *range)
{
    server_granted((struct slot *)((char *)range - offsetof(struct slot, range)));
}

static void change_begin(struct slot *slot, uint64_t offset, uint64_t length)
{
    slot->offset = offset;
    slot->length = length;
    slot->step = READ_HEAD;
    slot->range = (struct range){
        .begin = begin_of(slot),
        .end = end_of(slot),
        .exclusive = has_head(slot) || has_tail(slot),
        .granted = granted,
    };
    server_begin_long(slot->export); /* a write that is alone is moved by its thread, at the speed of the storage */
    if (range_take(&slot->export->lock, &slot->range))
        change_next(slot);
}

void request_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                   struct fuse_file_info *fi)
{
    struct export *export = fuse_req_userdata(req);
    const struct node *node = node_file(export, ino);
    uint64_t length = node ? node_length(export, node) : 0;
    struct slot *slot;

    if (!node || !export->writable || offset < 0 || size > EXPORT_TRANSFER) {
        fuse_reply_err(req, !node ? EISDIR : export->writable ? EINVAL : EROFS);
        return;
    }
    if ((uint64_t)offset >= length) {
        fuse_reply_err(req, ENOSPC);
        return;
    }
    if (size > length - (uint64_t)offset)
        size = (size_t)(length - (uint64_t)offset);
    if (size == 0) {
        fuse_reply_write(req, 0);
        return;
    }
    slot = server_slot(req);
    slot->zero = false;
    slot->durable = fi->flags & O_DSYNC; /* O_SYNC has its bit too */
    slot->payload = data;
    change_begin(slot, node->offset + (uint64_t)offset, size);
}

/* A hole that is punched must read as zeros, which DISCARD does not promise: both are ZERO, which gives space back where
 * it can. Space for a range that stands (mode 0) is not promised. */
void request_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                       struct fuse_file_info *fi)
{
    struct export *export = fuse_req_userdata(req);
    const struct node *node = node_file(export, ino);
    uint64_t whole = node ? node_length(export, node) : 0;
    int what = mode & ~FALLOC_FL_KEEP_SIZE;
    struct slot *slot;

    (void)fi;
    if (!node || !export->writable || (what != FALLOC_FL_PUNCH_HOLE && what != FALLOC_FL_ZERO_RANGE)) {
        fuse_reply_err(req, !node ? EISDIR : export->writable ? EOPNOTSUPP : EROFS);
        return;
    }
    if (offset < 0 || length <= 0) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    if ((uint64_t)offset > whole || (uint64_t)length > whole - (uint64_t)offset) {
        if (!(mode & FALLOC_FL_KEEP_SIZE)) {
            fuse_reply_err(req, ENOSPC);
            return;
        }
        length = (uint64_t)offset < whole ? (off_t)(whole - (uint64_t)offset) : 0;
    }
    if (length == 0) {
        fuse_reply_err(req, 0);
        return;
    }
    slot = server_slot(req);
    slot->zero = true;
    slot->durable = false;
    change_begin(slot, node->offset + (uint64_t)offset, (uint64_t)length);
}

/* ---- Holes ---- */

/* The first place at or after offset, as the node counts, that is data or not data. */
static int find(struct export *export, const struct node *node, uint64_t offset, bool data, uint64_t *found)
{
    uint64_t at = offset + node->offset, end = node->offset + node_length(export, node);
    struct vdisk_extent extent;

    at -= at % export->sector_size;
    while (at < end) {
        int err = vdisk_port_map(export->port, at, end - at, VDISK_MAP_HOLES, &extent);

        if (err < 0)
            return err;
        if ((extent.kind == VDISK_EXTENT_DATA) == data)
            break;
        at += extent.length;
    }
    if (at >= end && data)
        return -ENXIO;
    *found = at >= end ? end - node->offset : at < node->offset + offset ? offset : at - node->offset;
    return 0;
}

void request_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    struct export *export = fuse_req_userdata(req);
    const struct node *node = node_file(export, ino);
    uint64_t found;
    int err;

    (void)fi;
    if (!node || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    if (offset < 0 || (uint64_t)offset >= node_length(export, node)) {
        fuse_reply_err(req, ENXIO);
        return;
    }
    server_begin_long(export);
    server_drain();
    err = find(export, node, (uint64_t)offset, whence == SEEK_DATA, &found);
    server_end_long(export);
    if (err < 0)
        fuse_reply_err(req, -err);
    else
        fuse_reply_lseek(req, (off_t)found);
}
