/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock guards everything; it is taken twice for each change while the disk moves, for a few comparisons. */
#include "mirror.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "mutant.h"

#define REGION_MIN (UINT64_C(64) << 10)
#define REGIONS_MAX (UINT64_C(8) << 20)

enum { CLEAN, DIRTY, COPYING, STATE = 3, WRITTEN = 4 }; /* WRITTEN: the target may hold something there */

/* A change in flight. */
struct shadow {
    struct vdisk_io io; /* first: the one to the target */
    struct mirror *mirror;
    struct vdisk_io *original;
    struct shadow *next, **at;
    bool overlaps;   /* another change, in time and place */
    bool on_its_way; /* to the target */
};

struct mirror {
    struct vdisk_port *port;
    struct vdisk *source, *target;
    uint64_t region, regions;
    pthread_mutex_t lock;
    pthread_cond_t arrived; /* a change at the target */
    uint8_t *state;
    uint64_t unclean; /* regions that are not CLEAN */
    uint64_t written;
    int error;
    struct shadow *flying, *free;
    bool holding; /* of who copies */
};

int mirror_open(struct vdisk_port *port, struct vdisk *source, struct vdisk *target, struct mirror **out)
{
    struct mirror *mirror = calloc(1, sizeof(*mirror));

    if (!mirror)
        return -ENOMEM;
    mirror->port = port;
    mirror->source = source;
    mirror->target = target;
    mirror->region = REGION_MIN;
    while ((source->size + mirror->region - 1) / mirror->region > REGIONS_MAX)
        mirror->region *= 2;
    mirror->regions = mirror->unclean = (source->size + mirror->region - 1) / mirror->region;
    mirror->state = malloc(mirror->regions);
    if (!mirror->state) {
        free(mirror);
        return -ENOMEM;
    }
    memset(mirror->state, DIRTY, mirror->regions);
    pthread_mutex_init(&mirror->lock, NULL);
    pthread_cond_init(&mirror->arrived, NULL);
    atomic_store(&port->mirror, mirror);
    epoch_grace(&port->epoch); /* whoever did not see it is through */
    *out = mirror;
    return 0;
}

void mirror_close(struct mirror *mirror)
{
    struct shadow *shadow;

    atomic_store(&mirror->port->mirror, NULL);
    epoch_grace(&mirror->port->epoch);
    assert(!mirror->flying);
    while ((shadow = mirror->free)) {
        mirror->free = shadow->next;
        free(shadow);
    }
    pthread_cond_destroy(&mirror->arrived);
    pthread_mutex_destroy(&mirror->lock);
    free(mirror->state);
    free(mirror);
}

/* ---- Regions: under the lock ---- */

static void set(struct mirror *mirror, uint64_t region, uint8_t state)
{
    uint8_t *now = &mirror->state[region];

    mirror->unclean += (state != CLEAN) - ((*now & STATE) != CLEAN);
    *now = (uint8_t)((*now & ~STATE) | state);
}

/* May a change of these regions be sent? If not, they are dirty from now on. */
static bool may_send(struct mirror *mirror, const struct shadow *shadow)
{
    uint64_t first = shadow->original->offset / mirror->region;
    uint64_t last = (shadow->original->offset + shadow->original->length - 1) / mirror->region;
    bool clean = false;

    for (uint64_t i = first; i <= last; i++)
        clean |= (mirror->state[i] & STATE) == CLEAN;
    if (clean && (!shadow->overlaps || MUTANT("mirror-overlap-ignored")) && !mirror->error &&
        !shadow->original->engine.error && shadow->original->op != VDISK_DISCARD)
        return true;
    for (uint64_t i = first; i <= last; i++)
        set(mirror, i, DIRTY);
    return false;
}

static void mark_written(struct mirror *mirror, uint64_t offset, uint64_t length)
{
    for (uint64_t i = offset / mirror->region; i <= (offset + length - 1) / mirror->region; i++)
        mirror->state[i] |= WRITTEN;
}

/* ---- Changes ---- */

static bool overlap(const struct vdisk_io *a, const struct vdisk_io *b)
{
    return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* Under the lock. NULL: there is no memory, and the disk does not move. */
static struct shadow *shadow_take(struct mirror *mirror)
{
    struct shadow *shadow = mirror->free;

    if (shadow)
        mirror->free = shadow->next;
    else
        shadow = malloc(sizeof(*shadow)); /* as many as there are changes in flight: then never again */
    if (!shadow && !mirror->error)
        mirror->error = -ENOMEM;
    return shadow;
}

/* Under the lock. */
static void shadow_give(struct shadow *shadow)
{
    struct mirror *mirror = shadow->mirror;

    *shadow->at = shadow->next;
    if (shadow->next)
        shadow->next->at = shadow->at;
    shadow->next = mirror->free;
    mirror->free = shadow;
}

void mirror_begin(struct mirror *mirror, struct vdisk_io *io)
{
    struct shadow *shadow;

    if (io->op == VDISK_READ || io->op == VDISK_FLUSH || io->length == 0 || io->offset > mirror->source->size ||
        io->length > mirror->source->size - io->offset)
        return;
    pthread_mutex_lock(&mirror->lock);
    shadow = shadow_take(mirror);
    if (shadow) {
        *shadow = (struct shadow){.mirror = mirror, .original = io, .next = mirror->flying, .at = &mirror->flying};
        for (struct shadow *other = mirror->flying; other; other = other->next)
            if (overlap(other->original, io))
                other->overlaps = shadow->overlaps = true;
        if (mirror->flying)
            mirror->flying->at = &shadow->next;
        mirror->flying = shadow;
    }
    pthread_mutex_unlock(&mirror->lock);
    io->engine.shadow = shadow;
}

static void arrived(struct vdisk_io *io, int error)
{
    struct shadow *shadow = (struct shadow *)io;
    struct mirror *mirror = shadow->mirror;
    struct vdisk_io *original = shadow->original;

    pthread_mutex_lock(&mirror->lock);
    if (error && !mirror->error && !MUTANT("mirror-error-ignored"))
        mirror->error = error;
    mirror->written += original->length;
    shadow_give(shadow);
    pthread_cond_signal(&mirror->arrived);
    pthread_mutex_unlock(&mirror->lock);
    engine_end(original);
}

bool mirror_takes(struct vdisk_io *io)
{
    struct shadow *shadow = io->engine.shadow;
    struct mirror *mirror = shadow->mirror;
    bool send;

    pthread_mutex_lock(&mirror->lock);
    send = may_send(mirror, shadow) && !MUTANT("mirror-not-written");
    if (send) {
        mark_written(mirror, io->offset, io->length);
        shadow->on_its_way = true;
    } else {
        shadow_give(shadow);
    }
    pthread_mutex_unlock(&mirror->lock);
    if (!send)
        return false;
    shadow->io = (struct vdisk_io){.op = io->op, .offset = io->offset, .length = io->length, .iov = io->iov,
                                   .iovcnt = io->iovcnt, .done = arrived};
    vdisk_submit(mirror->target, io->engine.ring, &shadow->io);
    return true;
}

/* ---- Copying ---- */

int mirror_failure(struct mirror *mirror)
{
    int error;

    pthread_mutex_lock(&mirror->lock);
    error = mirror->error;
    pthread_mutex_unlock(&mirror->lock);
    return error;
}

void mirror_fail(struct mirror *mirror, int error)
{
    pthread_mutex_lock(&mirror->lock);
    if (!mirror->error)
        mirror->error = error;
    pthread_mutex_unlock(&mirror->lock);
}

uint64_t mirror_dirty(struct mirror *mirror)
{
    uint64_t bytes;

    pthread_mutex_lock(&mirror->lock);
    bytes = mirror->unclean * mirror->region;
    pthread_mutex_unlock(&mirror->lock);
    return bytes;
}

uint64_t mirror_written(struct mirror *mirror)
{
    uint64_t bytes;

    pthread_mutex_lock(&mirror->lock);
    bytes = mirror->written;
    pthread_mutex_unlock(&mirror->lock);
    return bytes;
}

/* Under the lock: the first region of that sort in [from, to), or to. */
static uint64_t find(const struct mirror *mirror, uint64_t from, uint64_t to, bool dirty)
{
    while (from < to && ((mirror->state[from] & STATE) == DIRTY) != dirty)
        from++;
    return from;
}

bool mirror_next(struct mirror *mirror, uint64_t *at, uint64_t max, uint64_t *offset, uint64_t *length)
{
    uint64_t start = *at / mirror->region, most = max / mirror->region > 0 ? max / mirror->region : 1, first, end;
    bool found;

    pthread_mutex_lock(&mirror->lock);
    first = find(mirror, start < mirror->regions ? start : 0, mirror->regions, true);
    if (first == mirror->regions)
        first = find(mirror, 0, mirror->regions, true);
    found = first < mirror->regions;
    end = first + most < mirror->regions ? first + most : mirror->regions;
    end = find(mirror, first, end, false);
    pthread_mutex_unlock(&mirror->lock);
    *offset = first * mirror->region;
    *length = (end < mirror->regions ? end * mirror->region : mirror->source->size) - *offset;
    *at = end * mirror->region;
    return found;
}

/* Under the lock: is a change of the range on its way to the target? */
static bool awaited(const struct mirror *mirror, uint64_t offset, uint64_t length)
{
    const struct vdisk_io range = {.offset = offset, .length = length};

    for (const struct shadow *shadow = mirror->flying; shadow; shadow = shadow->next)
        if (shadow->on_its_way && overlap(shadow->original, &range))
            return true;
    return false;
}

bool mirror_copy_begin(struct mirror *mirror, uint64_t offset, uint64_t length, bool quiet)
{
    uint64_t first = offset / mirror->region, last = (offset + length - 1) / mirror->region;
    bool written = false;

    mirror->holding = !quiet && !MUTANT("mirror-not-held");
    if (mirror->holding)
        disk_hold(mirror->source, offset, length);
    pthread_mutex_lock(&mirror->lock);
    for (uint64_t i = first; i <= last; i++)
        set(mirror, i, COPYING);
    while (awaited(mirror, offset, length) && !MUTANT("mirror-not-awaited"))
        pthread_cond_wait(&mirror->arrived, &mirror->lock);
    for (uint64_t i = first; i <= last; i++)
        written |= mirror->state[i] & WRITTEN;
    mark_written(mirror, offset, length);
    pthread_mutex_unlock(&mirror->lock);
    return written;
}

void mirror_copy_end(struct mirror *mirror, uint64_t offset, uint64_t length, int error)
{
    pthread_mutex_lock(&mirror->lock);
    for (uint64_t i = offset / mirror->region; i <= (offset + length - 1) / mirror->region; i++)
        if ((mirror->state[i] & STATE) == COPYING)
            set(mirror, i, error ? DIRTY : CLEAN);
    if (error && !mirror->error)
        mirror->error = error;
    pthread_mutex_unlock(&mirror->lock);
    if (mirror->holding)
        disk_release(mirror->source);
}
