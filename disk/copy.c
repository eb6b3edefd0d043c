/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The copier: a few lanes, each a thread with a ring. A lane claims a range from the walk over the source's map, lets
 * the storage share what it can (clone.c), reads the rest in chunks, looks for zeros in them, and writes what is not
 * zero. What the map knows to be zero, or to be the parent's, is never read.
 *
 * Claims and chunks start and end on sectors of both disks. The lock guards the walk and the sums; a lane's slots are
 * its own.
 */
#include <errno.h>
#include <isa-l/mem_routines.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clone.h"

#define LANES 4
#define SLOTS 8
#define CHUNK (UINT64_C(256) << 10)
#define CLAIM (UINT64_C(32) << 20)
#define ZERO_UNIT 4096u /* zeros are looked for in these */
#define ZERO_GAP 65536u /* a shorter gap between data is written */

struct copier;

struct slot {
    struct vdisk_io io; /* first: done finds the slot by it */
    struct lane *lane;
    struct iovec iov;
    char *buffer;
    uint64_t offset, length; /* the chunk; of the target */
    uint64_t read;           /* of it, from the source */
    uint64_t written;        /* bytes of the chunk looked at */
    uint64_t skipped;
    struct slot *next_free;
};

struct lane {
    struct copier *copier;
    struct vdisk_ring *ring;
    pthread_t thread;
    struct slot slot[SLOTS], *free;
    unsigned busy;
    uint64_t at, end; /* of the claim: what is still to be read */
};

struct copier {
    struct vdisk *source, *target;
    const struct vdisk_progress *progress;
    struct clone *clone;
    bool alone;
    uint64_t unit; /* the larger sector */
    struct lane lane[LANES];
    _Atomic int error; /* the first; all lanes end */

    pthread_mutex_t lock; /* of what follows */
    uint64_t at;          /* the walk over the source's map */
    uint64_t total;       /* bytes to move, known beforehand */
    struct vdisk_copy_result result;
};

/* What a lane has claimed. */
struct claim {
    enum vdisk_extent_kind kind;
    uint64_t offset, length;
    struct vdisk_extent extent; /* it begins in; for DATA that all of it may be shared */
};

static void fail(struct copier *c, int error)
{
    int none = 0;

    if (error)
        atomic_compare_exchange_strong(&c->error, &none, error);
}

/* Adds to the sums, and tells. */
static void account(struct copier *c, struct vdisk_copy_result moved)
{
    pthread_mutex_lock(&c->lock);
    c->result.bytes_read += moved.bytes_read;
    c->result.bytes_written += moved.bytes_written;
    c->result.bytes_skipped += moved.bytes_skipped;
    c->result.bytes_shared += moved.bytes_shared;
    if (c->progress && c->progress->step)
        c->progress->step(c->progress->arg, c->result.bytes_read + c->result.bytes_shared, c->total);
    pthread_mutex_unlock(&c->lock);
}

static int failure(struct copier *c)
{
    if (disk_cancelled(c->progress))
        fail(c, -ECANCELED);
    return c->error;
}

/* ---- A chunk ---- */

static bool is_zero(const char *bytes, uint64_t length)
{
    return isal_zero_detect((void *)bytes, length) == 0;
}

/* The next run of data in the chunk at or after *start; false: the rest is zero. */
static bool next_run(const char *buffer, uint64_t length, uint64_t *start, uint64_t *end)
{
    uint64_t at = *start, zeros = 0;

    while (at < length && is_zero(buffer + at, length - at < ZERO_UNIT ? length - at : ZERO_UNIT))
        at += ZERO_UNIT;
    if (at >= length)
        return false;
    *start = *end = at;
    for (; at < length && zeros < ZERO_GAP; at += ZERO_UNIT) {
        uint64_t part = length - at < ZERO_UNIT ? length - at : ZERO_UNIT;

        zeros = is_zero(buffer + at, part) ? zeros + part : 0;
        if (!zeros)
            *end = at + part;
    }
    return true;
}

static void release(struct slot *slot, int error)
{
    struct lane *lane = slot->lane;
    struct vdisk_copy_result moved = {
        .bytes_read = slot->read, .bytes_skipped = slot->skipped, .bytes_written = slot->written - slot->skipped};

    fail(lane->copier, error);
    if (!error)
        account(lane->copier, moved);
    slot->next_free = lane->free;
    lane->free = slot;
    lane->busy--;
}

static void submit(struct slot *slot, struct vdisk *disk, enum vdisk_op op, uint64_t offset, uint64_t length,
                   void (*done)(struct vdisk_io *io, int error))
{
    slot->iov = (struct iovec){slot->buffer + (offset - slot->offset), length};
    slot->io =
        (struct vdisk_io){.op = op, .offset = offset, .length = length, .iov = &slot->iov, .iovcnt = 1, .done = done};
    vdisk_submit(disk, slot->lane->ring, &slot->io);
}

static void write_done(struct vdisk_io *io, int error);

/* Writes the next run of the chunk, or ends it. Over a parent zeros are made too. */
static void write_next(struct slot *slot)
{
    struct copier *c = slot->lane->copier;
    uint64_t start = slot->written, end = slot->length;
    bool data = next_run(slot->buffer, slot->length, &start, &end);

    if (!data)
        start = slot->length;
    start -= start % c->unit;
    if (start > slot->written) { /* zeros first */
        uint64_t from = slot->written;

        slot->skipped += start - from;
        slot->written = start;
        if (c->alone) {
            submit(slot, c->target, VDISK_ZERO, slot->offset + from, start - from, write_done);
            return;
        }
    }
    if (slot->written == slot->length) {
        release(slot, 0);
        return;
    }
    end = (end + c->unit - 1) / c->unit * c->unit;
    slot->written = end;
    submit(slot, c->target, VDISK_WRITE, slot->offset + start, end - start, write_done);
}

static void write_done(struct vdisk_io *io, int error)
{
    struct slot *slot = (struct slot *)io;

    if (!error)
        error = failure(slot->lane->copier);
    if (error)
        release(slot, error);
    else
        write_next(slot);
}

static void read_done(struct vdisk_io *io, int error)
{
    write_done(io, error);
}

static void zero_done(struct vdisk_io *io, int error)
{
    release((struct slot *)io, error);
}

static struct slot *take_slot(struct lane *lane, uint64_t offset, uint64_t length)
{
    struct slot *slot;

    while (!lane->free)
        vdisk_ring_poll(lane->ring, true);
    slot = lane->free;
    lane->free = slot->next_free;
    lane->busy++;
    slot->offset = offset;
    slot->length = (length + lane->copier->unit - 1) / lane->copier->unit * lane->copier->unit;
    slot->read = slot->written = slot->skipped = 0;
    return slot;
}

/* ---- The walk. Under the lock. ---- */

/* What of the source has to be moved or made zero at c->at: the kind, and how far, in units. */
static int look(struct copier *c, struct claim *claim)
{
    unsigned flags = VDISK_MAP_HOLES | (c->alone ? VDISK_MAP_ALONE : 0);
    uint64_t left = c->source->size - c->at;
    struct vdisk_extent *extent = &claim->extent;
    int err = vdisk_map(c->source, c->at, left, flags, extent);

    if (err)
        return err;
    claim->kind = extent->kind;
    claim->offset = c->at;
    claim->length = extent->length;
    if (extent->length == left || extent->length % c->unit == 0)
        return 0;
    if (extent->length > c->unit) { /* whole units first */
        claim->length -= extent->length % c->unit;
        return 0;
    }
    /* A unit that is partly data is data. */
    claim->length = c->unit < left ? c->unit : left;
    claim->kind = VDISK_EXTENT_DATA;
    return 0;
}

/* Counts what will be moved, so that progress can be trusted. */
static int count(struct copier *c)
{
    struct claim claim;
    int err = 0;

    for (c->at = 0; c->at < c->source->size && !err; c->at += err ? 0 : claim.length) {
        err = disk_cancelled(c->progress) ? -ECANCELED : look(c, &claim);
        if (!err && claim.kind == VDISK_EXTENT_DATA)
            c->total += claim.length;
    }
    c->at = 0;
    return err;
}

/* The next range that needs work. False: there is none, or an error. */
static bool find(struct copier *c, struct claim *claim)
{
    while (!failure(c) && c->at < c->source->size) {
        int err = look(c, claim);

        if (err) {
            fail(c, err);
            return false;
        }
        if (claim->kind == VDISK_EXTENT_DATA && claim->length > CLAIM - c->at % CLAIM)
            claim->length = CLAIM - c->at % CLAIM;
        c->at += claim->length;
        if (claim->kind == VDISK_EXTENT_DATA || (claim->kind == VDISK_EXTENT_ZERO && c->alone))
            return true;
        c->result.bytes_skipped += claim->length;
    }
    return false;
}

/* ---- A lane ---- */

/* What the storage can share of the claim, from its beginning on. */
static void share(struct lane *lane, const struct claim *claim)
{
    struct copier *c = lane->copier;
    const struct vdisk_extent *extent = &claim->extent;

    if (extent->kind != VDISK_EXTENT_DATA || c->clone->way == CLONE_NOT)
        return;
    while (lane->busy > 0)
        vdisk_ring_poll(lane->ring, true);
    while (lane->at < lane->end && !failure(c)) {
        uint64_t done = lane->at - claim->offset,
                 left = claim->length < extent->length ? claim->length : extent->length;
        int64_t n = 0;

        if (left - done >= CLONE_MIN)
            n = clone_range(c->clone, lane->at, left - done, extent->owner->file, extent->position + done);
        if (n < 0)
            fail(c, (int)n);
        if (n <= 0)
            return;
        lane->at += (uint64_t)n;
        account(c, (struct vdisk_copy_result){.bytes_shared = (uint64_t)n});
    }
}

static void read_rest(struct lane *lane)
{
    struct copier *c = lane->copier;

    while (lane->at < lane->end && !failure(c)) {
        uint64_t length = CHUNK - lane->at % CHUNK;
        struct slot *slot;

        if (length > lane->end - lane->at)
            length = lane->end - lane->at;
        slot = take_slot(lane, lane->at, length);
        slot->read = length;
        memset(slot->buffer + length, 0, slot->length - length);
        submit(slot, c->source, VDISK_READ, lane->at, length, read_done);
        lane->at += length;
        vdisk_ring_poll(lane->ring, false);
    }
}

static void *lane_run(void *arg)
{
    struct lane *lane = arg;
    struct copier *c = lane->copier;
    struct claim claim;
    bool found;

    for (;;) {
        pthread_mutex_lock(&c->lock);
        found = find(c, &claim);
        pthread_mutex_unlock(&c->lock);
        if (!found)
            break;
        lane->at = claim.offset;
        lane->end = claim.offset + claim.length;
        if (claim.kind == VDISK_EXTENT_ZERO) {
            struct slot *slot = take_slot(lane, claim.offset, claim.length);

            submit(slot, c->target, VDISK_ZERO, slot->offset, slot->length, zero_done);
            continue;
        }
        share(lane, &claim);
        read_rest(lane);
        file_push(c->target->file);
    }
    while (lane->busy > 0)
        vdisk_ring_poll(lane->ring, true);
    return NULL;
}

static int lane_open(struct copier *c, struct lane *lane)
{
    int err = vdisk_ring_open(0, VDISK_BACKEND_AUTO, &lane->ring);

    lane->copier = c;
    for (int i = 0; i < SLOTS && !err; i++) {
        struct slot *slot = &lane->slot[i];

        slot->lane = lane;
        slot->buffer = aligned_alloc(4096, CHUNK);
        err = slot->buffer ? 0 : -ENOMEM;
        slot->next_free = lane->free;
        lane->free = slot;
    }
    return err;
}

static void lane_close(struct lane *lane)
{
    for (int i = 0; i < SLOTS; i++)
        free(lane->slot[i].buffer);
    vdisk_ring_close(lane->ring);
}

/* One lane is the caller's own thread. */
static int run(struct copier *c)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned lanes = cpus < 2 ? 1 : cpus < LANES ? (unsigned)cpus : LANES, started = 1;
    int err = count(c);

    for (unsigned i = 0; i < lanes && !err; i++)
        err = lane_open(c, &c->lane[i]);
    if (!err) {
        while (started < lanes && pthread_create(&c->lane[started].thread, NULL, lane_run, &c->lane[started]) == 0)
            started++;
        lane_run(&c->lane[0]);
        for (unsigned i = 1; i < started; i++)
            pthread_join(c->lane[i].thread, NULL);
        err = c->error;
    }
    for (unsigned i = 0; i < lanes; i++)
        lane_close(&c->lane[i]);
    return err;
}

int vdisk_copy(struct vdisk *source, struct vdisk *target, unsigned flags, const struct vdisk_progress *progress,
               struct vdisk_copy_result *result)
{
    struct copier *c = calloc(1, sizeof(*c));
    int err;

    if (!c)
        return -ENOMEM;
    c->source = source;
    c->target = target;
    c->progress = progress;
    c->alone = flags & VDISK_COPY_ALONE;
    c->unit = source->sector_size > target->sector_size ? source->sector_size : target->sector_size;
    pthread_mutex_init(&c->lock, NULL);
    err = target->size < source->size
              ? disk_error(target, -ENOSPC, "has %llu bytes, its source %s %llu", (unsigned long long)target->size,
                           source->file->path, (unsigned long long)source->size)
              : clone_open(source, target, false, &c->clone);
    if (!err)
        err = run(c);
    if (result)
        *result = c->result;
    clone_close(c->clone);
    pthread_mutex_destroy(&c->lock);
    free(c);
    return err;
}
