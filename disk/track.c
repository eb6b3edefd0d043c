/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What has changed since the newest point, in memory and in the points file. The order, as Linux' md keeps its write-intent
 * bitmap:
 *
 *     before a write    its region's intent is durable in the points file; then its bits are set in memory; then it begins
 *     at a checkpoint   no new bit is set under an old intent (disk_grace); then the bits are durable; then the intents go
 *     after a crash     all of a region with an intent counts as changed
 *
 * So a bit that is set in memory is in the file, or its region's intent is: who finds it set has nothing to do. A first
 * write into a region since the last checkpoint goes to a worker; a first write into a grain sets a bit, inside the epoch
 * that the checkpoint's grace waits for; every other write looks at a bit.
 */
#include "track.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "engine.h"
#include "mutant.h"

/* ---- Bits ---- */

_Atomic uint64_t *track_words_new(uint64_t words)
{
    void *memory = mmap(NULL, words * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void track_words_free(_Atomic uint64_t *memory, uint64_t words)
{
    if (memory)
        munmap((void *)memory, words * sizeof(uint64_t));
}

/* The bits of [first, last] that are in this word. */
static uint64_t mask_of(uint64_t word, uint64_t first, uint64_t last)
{
    uint64_t mask = UINT64_MAX;

    if (word == first / 64)
        mask &= UINT64_MAX << first % 64;
    if (word == last / 64)
        mask &= UINT64_MAX >> (63 - last % 64);
    return mask;
}

void track_words_set(_Atomic uint64_t *words, uint64_t first, uint64_t last)
{
    for (uint64_t word = first / 64; word <= last / 64; word++) {
        uint64_t mask = mask_of(word, first, last);

        if ((atomic_load_explicit(&words[word], memory_order_relaxed) & mask) != mask)
            atomic_fetch_or(&words[word], mask);
    }
}

uint64_t track_words_next(const _Atomic uint64_t *words, uint64_t bit, uint64_t end, bool set)
{
    while (bit < end) {
        uint64_t word = atomic_load_explicit(&words[bit / 64], memory_order_relaxed);

        word = (set ? word : ~word) >> bit % 64;
        if (word)
            return bit + (unsigned)__builtin_ctzll(word) < end ? bit + (unsigned)__builtin_ctzll(word) : end;
        bit = (bit / 64 + 1) * 64;
    }
    return end;
}

uint64_t track_grains(const struct track *t)
{
    uint64_t size = t->disk->size < t->capacity ? t->disk->size : t->capacity;

    return (size + (UINT64_C(1) << t->grain_shift) - 1) >> t->grain_shift;
}

uint64_t track_regions(const struct track *t)
{
    return (t->capacity + POINTS_REGION - 1) / POINTS_REGION;
}

/* ---- The engine's questions ---- */

/* Sets bits of one word, and so of one region, if its intent is durable. */
static bool set_bits(struct track *t, unsigned slot, uint64_t word, uint64_t mask)
{
    unsigned parity = epoch_enter(&t->disk->epoch, slot);
    uint64_t region = (word * 64 << t->grain_shift) / POINTS_REGION;
    bool may = atomic_load(&t->intents[region / 64]) >> region % 64 & 1;

    if (MUTANT("track-grace-skipped"))
        sched_yield();
    if (may && !MUTANT("track-bit-forgotten"))
        atomic_fetch_or(&t->bits[word], mask);
    epoch_leave(&t->disk->epoch, slot, parity);
    return may;
}

/* What lies behind the capacity has no bits: see track_open. */
static uint64_t clip(const struct track *t, uint64_t offset, uint64_t length)
{
    if (offset >= t->capacity)
        return 0;
    return length < t->capacity - offset ? length : t->capacity - offset;
}

bool track_covers(struct track *t, unsigned slot, uint64_t offset, uint64_t length)
{
    uint64_t first = offset >> t->grain_shift, last;

    length = clip(t, offset, length);
    if (length == 0)
        return true;
    last = (offset + length - 1) >> t->grain_shift;
    for (uint64_t word = first / 64; word <= last / 64; word++) {
        uint64_t mask = mask_of(word, first, last);

        if ((atomic_load_explicit(&t->bits[word], memory_order_acquire) & mask) != mask &&
            !set_bits(t, slot, word, mask))
            return false;
    }
    return true;
}

/* Intents that are in the file already need no writing: a checkpoint that failed left them. */
static int record_intents(struct track *t, uint64_t first, uint64_t last)
{
    uint64_t fresh = track_words_next(t->recorded, first, last + 1, false);
    int err;

    if (fresh > last)
        return 0;
    track_words_set(t->recorded, fresh, last);
    err = MUTANT("track-intent-unwritten") ? 0
          : points_bits_write(&t->points, POINTS_INTENTS_AT, fresh / 64, last / 64 - fresh / 64 + 1, t->recorded);
    if (!err && !MUTANT("track-intent-not-durable"))
        err = file_sync(t->points.file);
    return err;
}

int track_record(struct track *t, uint64_t offset, uint64_t length)
{
    uint64_t last;
    int err;

    length = clip(t, offset, length);
    if (length == 0)
        return 0;
    last = offset + length - 1;
    pthread_mutex_lock(&t->lock);
    err = t->failed ? t->failed : record_intents(t, offset / POINTS_REGION, last / POINTS_REGION);
    if (err && !t->failed) {
        t->failed = err;
        file_error(t->points.file, "points", err,
                   "cannot be written: %s: writes to %s fail for as long as this file stands there", strerror(-err),
                   t->disk->file->path);
    }
    if (!err) {
        track_words_set(t->intents, offset / POINTS_REGION, last / POINTS_REGION);
        track_words_set(t->bits, offset >> t->grain_shift, last >> t->grain_shift);
    }
    pthread_mutex_unlock(&t->lock);
    return err;
}

int disk_track(struct vdisk *disk, uint64_t offset, uint64_t length)
{
    return disk->track ? track_record(disk->track, offset, length) : 0;
}

/* ---- Checkpoints ---- */

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* The bits of the newest point, in the regions of the recorded intents, into the bitmap at position. */
static int write_bits(struct track *t, uint64_t position)
{
    uint64_t each = POINTS_REGION >> t->grain_shift >> 6, end = track_regions(t); /* words */
    int err = 0;

    for (uint64_t from = track_words_next(t->recorded, 0, end, true), to; from < end && !err;
         from = track_words_next(t->recorded, to, end, true)) {
        to = track_words_next(t->recorded, from, end, false);
        err = points_bits_write(&t->points, position, from * each, (to - from) * each, t->bits);
    }
    return err;
}

static int forget_intents(struct track *t)
{
    uint64_t end = track_regions(t);
    int err = 0;

    for (uint64_t at = track_words_next(t->recorded, 0, end, true); at < end && !err;
         at = track_words_next(t->recorded, at, end, true)) {
        uint64_t first = at / 64 / POINTS_WORDS * POINTS_WORDS;

        for (uint64_t word = first; word < first + POINTS_WORDS; word++)
            atomic_store_explicit(&t->recorded[word], 0, memory_order_relaxed);
        err = points_bits_write(&t->points, POINTS_INTENTS_AT, first, POINTS_WORDS, t->recorded);
    }
    return err;
}

int track_checkpoint(struct track *t)
{
    uint64_t end = track_regions(t);
    int err = 0;

    t->checkpointed = now();
    if (track_words_next(t->recorded, 0, end, true) == end)
        return 0;
    for (uint64_t word = 0; word < t->intent_words; word++)
        if (atomic_load_explicit(&t->intents[word], memory_order_relaxed))
            atomic_store(&t->intents[word], 0);
    if (!MUTANT("track-grace-skipped"))
        disk_grace(t->disk);
    if (MUTANT("track-intents-forgotten-first"))
        err = forget_intents(t);
    if (!err && track_points(t) > 0)
        err = write_bits(t, points_bitmap_at(&t->points, track_entry(t, track_points(t) - 1)));
    if (!err && !MUTANT("track-bits-not-durable"))
        err = file_sync(t->points.file);
    if (!err)
        err = forget_intents(t);
    if (err)
        file_say(t->points.file, VDISK_WARNING, "points", "cannot be written: %s: more than what changes will count",
                 strerror(-err));
    t->behind = err;
    return err;
}

void track_checkpoint_every(struct track *t, uint64_t nanoseconds)
{
    t->every = nanoseconds;
}

void track_flushed(struct track *t)
{
    pthread_mutex_lock(&t->lock);
    if (now() - t->checkpointed >= t->every)
        track_checkpoint(t);
    pthread_mutex_unlock(&t->lock);
}

/* ---- Operations ---- */

unsigned track_points(const struct track *t)
{
    return le32_get(t->points.header.count);
}

const struct points_entry *track_entry(const struct track *t, unsigned index)
{
    return &t->points.header.entry[index];
}

int track_find(const struct track *t, const char *name)
{
    for (unsigned i = 0; i < track_points(t); i++)
        if (strcmp(track_entry(t, i)->name, name) == 0)
            return (int)i;
    return -ENOENT;
}

unsigned track_grain_shift(const struct track *t)
{
    return t->grain_shift;
}

static uint32_t free_slot(const struct track *t)
{
    uint32_t used = 0;

    for (unsigned i = 0; i < track_points(t); i++)
        used |= 1u << le32_get(track_entry(t, i)->slot);
    return (uint32_t)__builtin_ctz(~used);
}

/* Under lock. From here on the file and the memory speak of the new point. */
static int add_point(struct track *t, const char *name)
{
    struct points_header *h = &t->points.header;
    unsigned count = track_points(t);
    struct points_entry *entry = &h->entry[count];
    int err;

    *entry = (struct points_entry){.created = le64_of((uint64_t)time(NULL)), .slot = le32_of(free_slot(t))};
    memcpy(entry->name, name, strlen(name));
    err = points_bits_clear(&t->points, points_bitmap_at(&t->points, entry), track_grains(t));
    if (err)
        return file_error(t->points.file, "points", err, "no room for a point: %s", strerror(-err));
    /* The file is as long as the bitmap is before anything is said to be in it. */
    err = file_sync(t->points.file);
    if (err)
        return file_error(t->points.file, "points", err, "cannot be written: %s", strerror(-err));
    h->count = le32_of(count + 1);
    err = points_write(&t->points);
    if (err)
        h->count = le32_of(count);
    else if (madvise((void *)t->bits, t->bit_words * sizeof(uint64_t), MADV_DONTNEED) < 0)
        assert(!"private memory is dropped");
    return err;
}

int track_point(struct track *t, const char *name)
{
    int err = 0;

    if (track_points(t) == POINTS_MAX)
        return file_error(t->points.file, "points", -ENOSPC, "has %u points already, as many as there can be",
                          POINTS_MAX);
    if (track_find(t, name) >= 0)
        return file_error(t->points.file, "points", -EEXIST, "there is a point '%s' already", name);
    if (t->disk->size > t->capacity)
        return file_error(t->points.file, "points", -EFBIG,
                          "the disk has grown to more than its points can tell; delete them first");
    pthread_mutex_lock(&t->lock);
    err = t->failed;
    if (!err && !MUTANT("track-point-over-old-bits"))
        err = track_checkpoint(t);
    if (!err)
        err = add_point(t, name);
    pthread_mutex_unlock(&t->lock);
    return err;
}

/* What changed since the point has changed since the one before it too: its bits go there. The newest point's are in
 * memory, and stay there: they are the other's now. */
static int hand_down(struct track *t, unsigned index)
{
    struct points *p = &t->points;
    uint64_t older = points_bitmap_at(p, track_entry(t, index - 1));
    bool newest = index + 1 == track_points(t);
    _Atomic uint64_t *words = newest ? t->bits : track_words_new(t->bit_words);
    uint64_t count = (track_grains(t) + 63) / 64, end = points_words(track_grains(t));
    int err = words ? points_bits_read(p, older, track_grains(t), words) : -ENOMEM;

    if (!err && !newest)
        err = points_bits_read(p, points_bitmap_at(p, track_entry(t, index)), track_grains(t), words);
    for (uint64_t at = 0; at < end && !err; at += POINTS_WORDS) {
        bool empty = true;

        for (uint64_t i = at; i < at + POINTS_WORDS && i < count && empty; i++)
            empty = atomic_load_explicit(&words[i], memory_order_relaxed) == 0;
        if (!empty && !MUTANT("points-bits-not-handed-down"))
            err = points_bits_write(p, older, at, POINTS_WORDS, words);
    }
    if (!newest)
        track_words_free(words, t->bit_words);
    return err ? err : file_sync(p->file);
}

int track_forget(struct track *t, const char *name)
{
    struct points_header *h = &t->points.header, old;
    int index = track_find(t, name), err = 0;
    unsigned count = track_points(t);

    assert(index >= 0);
    pthread_mutex_lock(&t->lock);
    old = *h;
    err = track_checkpoint(t);
    if (!err && index > 0)
        err = hand_down(t, (unsigned)index);
    if (!err) {
        if (index > 0)
            h->entry[index - 1].flags = le32_of(le32_get(h->entry[index - 1].flags) | le32_get(h->entry[index].flags));
        memmove(&h->entry[index], &h->entry[index + 1], (count - 1 - (unsigned)index) * sizeof(h->entry[0]));
        memset(&h->entry[count - 1], 0, sizeof(h->entry[0]));
        h->count = le32_of(count - 1);
        err = points_write(&t->points);
        if (err)
            *h = old;
    }
    pthread_mutex_unlock(&t->lock);
    return err;
}

int track_changes(struct track *t, unsigned since, unsigned until, _Atomic uint64_t *words, bool *whole)
{
    uint64_t count = (track_grains(t) + 63) / 64;
    int err = 0;

    pthread_mutex_lock(&t->lock);
    for (unsigned i = since; i < until && !err; i++) {
        *whole |= le32_get(track_entry(t, i)->flags) & POINTS_WHOLE;
        if (i + 1 < track_points(t)) {
            err = points_bits_read(&t->points, points_bitmap_at(&t->points, track_entry(t, i)), track_grains(t), words);
            continue;
        }
        for (uint64_t word = 0; word < count; word++) {
            uint64_t bits = atomic_load_explicit(&t->bits[word], memory_order_relaxed);

            if (bits)
                atomic_fetch_or_explicit(&words[word], bits, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return err;
}
