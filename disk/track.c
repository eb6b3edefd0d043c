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
 *
 * Which image the file speaks of is told by the image's mark (disk_format.mark). A mark that changes with the content is
 * recorded before the image gets it, beside the one that it has: whichever the image is found with is right. Where marks
 * do not change, the image file's time and length are compared too; they are recorded at a clean close only, so after a
 * crash, as after a change behind our back, all counts as changed.
 */
#include "track.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "mutant.h"

#define CHECKPOINT_EVERY UINT64_C(5000000000) /* nanoseconds */

struct track {
    struct vdisk *disk;
    struct points points;
    unsigned grain_shift;
    uint64_t capacity; /* of the disk, that there are bits for */
    uint64_t bit_words, intent_words;
    _Atomic uint64_t *bits;    /* of the newest point */
    _Atomic uint64_t *intents; /* durable, and bits may be set under them */

    pthread_mutex_t lock; /* all below, and the points file */
    _Atomic uint64_t *recorded; /* intents as the file has them: their bits are not durable */
    int failed;                 /* an intent could not be recorded: no more is */
    int behind;                 /* the last checkpoint's error */
    uint64_t checkpointed;      /* when: nanoseconds */
    uint64_t every;             /* how long after that the next flush does it again */
};

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

static bool bit_is_set(const _Atomic uint64_t *words, uint64_t bit)
{
    return atomic_load_explicit(&words[bit / 64], memory_order_relaxed) >> bit % 64 & 1;
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

static uint64_t grains(const struct track *t)
{
    uint64_t size = t->disk->size < t->capacity ? t->disk->size : t->capacity;

    return (size + (UINT64_C(1) << t->grain_shift) - 1) >> t->grain_shift;
}

static uint64_t regions(const struct track *t)
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
    uint64_t each = POINTS_REGION >> t->grain_shift >> 6, end = regions(t); /* words */
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
    uint64_t end = regions(t);
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

/* Under lock. After a failure the intents stay in the file, and that is all. */
static int checkpoint(struct track *t)
{
    uint64_t end = regions(t);
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
        checkpoint(t);
    pthread_mutex_unlock(&t->lock);
}

/* ---- Which image this is ---- */

/* True: the mark is another one after every change of the content, whoever made it. */
static bool mark_get(struct vdisk *disk, uint8_t mark[16])
{
    memset(mark, 0, 16);
    return disk->format->mark && disk->format->mark(disk, mark);
}

static void modified_get(const struct vdisk *disk, struct le64 *modified, struct le64 *length)
{
    struct stat st = {0};

    if (disk->file->fd >= 0 && fstat(disk->file->fd, &st) < 0)
        st.st_mtim.tv_sec = st.st_mtim.tv_nsec = 0;
    *modified = le64_of((uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec);
    *length = le64_of((uint64_t)st.st_size);
}

/* The header speaks of the image as it is now. False: it did so already. */
static bool describe(struct track *t)
{
    struct points_header *h = &t->points.header, old = *h;

    if (!mark_get(t->disk, h->mark[0]))
        modified_get(t->disk, &h->modified, &h->length);
    memcpy(h->mark[1], h->mark[0], sizeof(h->mark[1]));
    h->size = le64_of(t->disk->size);
    return memcmp(&old, h, sizeof(old)) != 0;
}

static bool is_as_we_left_it(struct track *t)
{
    const struct points_header *h = &t->points.header;
    struct le64 modified, length;
    uint8_t mark[16];
    bool exact = mark_get(t->disk, mark);

    if (MUTANT("track-image-not-looked-at"))
        return true;
    if (exact)
        return memcmp(mark, h->mark[0], 16) == 0 || memcmp(mark, h->mark[1], 16) == 0;
    modified_get(t->disk, &modified, &length);
    return memcmp(mark, h->mark[0], 16) == 0 && le64_get(modified) == le64_get(h->modified) &&
           le64_get(length) == le64_get(h->length);
}

int disk_mark_changes(struct vdisk *disk, const uint8_t mark[16])
{
    struct track *t = disk->track;
    int err;

    if (!t)
        return 0;
    pthread_mutex_lock(&t->lock);
    mark_get(disk, t->points.header.mark[0]);
    memcpy(t->points.header.mark[1], mark, 16);
    err = MUTANT("track-mark-unrecorded") ? 0 : points_write(&t->points);
    pthread_mutex_unlock(&t->lock);
    return err;
}

/* ---- Open ---- */

static void all_changed(struct track *t, const char *why)
{
    struct points_header *h = &t->points.header;

    for (unsigned i = 0; i < le32_get(h->count); i++)
        h->entry[i].flags = le32_of(POINTS_WHOLE);
    if (le32_get(h->count) > 0)
        disk_say(t->disk, VDISK_WARNING, "%s: all of it counts as changed since each of its points", why);
}

/* The regions of the intents that were left count as changed. */
static void take_leftovers(struct track *t)
{
    uint64_t end = regions(t), left = 0;

    for (uint64_t region = 0; region < end; region++)
        if (bit_is_set(t->recorded, region)) {
            uint64_t first = region * POINTS_REGION >> t->grain_shift;

            track_words_set(t->bits, first, first + (POINTS_REGION >> t->grain_shift) - 1);
            left++;
        }
    if (left)
        disk_say(t->disk, VDISK_NOTE, "was not closed cleanly: %llu regions of %llu MiB count as changed",
                 (unsigned long long)left, (unsigned long long)(POINTS_REGION >> 20));
}

/* What the disk has grown by since the header was written counts as changed: it is not in the file until a checkpoint. */
static void take_growth(struct track *t)
{
    uint64_t from = le64_get(t->points.header.size), last = grains(t) - 1;

    if (t->disk->size > t->capacity)
        all_changed(t, "has grown to more than its points can tell");
    if (from < t->disk->size && from < t->capacity && !MUTANT("track-growth-unseen")) {
        track_words_set(t->bits, from >> t->grain_shift, last);
        track_words_set(t->recorded, from / POINTS_REGION, (last << t->grain_shift) / POINTS_REGION);
    }
}

static int load(struct track *t)
{
    struct points *p = &t->points;
    int err;

    t->grain_shift = (unsigned)__builtin_ctz(le32_get(p->header.grain));
    t->capacity = le64_get(p->header.capacity);
    t->bit_words = points_words((t->capacity >> t->grain_shift) + 1);
    t->intent_words = points_words(regions(t));
    t->bits = track_words_new(t->bit_words);
    t->intents = track_words_new(t->intent_words);
    t->recorded = track_words_new(t->intent_words);
    if (!t->bits || !t->intents || !t->recorded)
        return -ENOMEM;
    err = points_bits_read(p, POINTS_INTENTS_AT, regions(t), t->recorded);
    if (!err && track_points(t) > 0)
        err = points_bits_read(p, points_bitmap_at(p, track_entry(t, track_points(t) - 1)), grains(t), t->bits);
    if (err)
        return err;
    if (!is_as_we_left_it(t))
        all_changed(t, "was changed by something else than this program, or not closed cleanly");
    take_leftovers(t);
    take_growth(t);
    return 0;
}

int track_open(struct vdisk *disk, struct file *file, enum vdisk_level level, struct track **track)
{
    struct track *t = calloc(1, sizeof(*t));
    int err;

    if (!t)
        return -ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    t->disk = disk;
    t->every = CHECKPOINT_EVERY;
    err = points_read(&t->points, file, level);
    if (!err)
        err = load(t);
    if (!err && file->writable)
        err = checkpoint(t);
    if (!err && file->writable && describe(t))
        err = points_write(&t->points);
    if (err) {
        t->points.file = NULL;
        track_close(t);
        return err;
    }
    *track = t;
    return 0;
}

void track_close(struct track *t)
{
    if (!t)
        return;
    track_words_free(t->bits, t->bit_words);
    track_words_free(t->intents, t->intent_words);
    track_words_free(t->recorded, t->intent_words);
    file_close(t->points.file);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

char *track_path(const struct vdisk *disk)
{
    char *real = realpath(disk->file->path, NULL), *path = NULL;

    if (real && asprintf(&path, "%s" POINTS_SUFFIX, real) < 0)
        path = NULL;
    free(real);
    return path;
}

/* The messages are said once, at this level. */
static int open_beside(struct vdisk *disk, unsigned flags, enum vdisk_level level, struct track **track)
{
    static const struct vdisk_log silent;
    char *path = track_path(disk);
    struct file *file;
    int err;

    if (!path || access(path, F_OK) < 0) {
        err = path || errno != ENOMEM ? -ENOENT : -ENOMEM;
        free(path);
        return err;
    }
    err = file_open(AT_FDCWD, path, flags, &silent, &file);
    if (err) {
        disk_say(disk, level, "its points at %s cannot be opened: %s", path, strerror(-err));
    } else {
        file->log = disk->log;
        err = track_open(disk, file, level, track);
        if (err)
            file_close(file);
    }
    free(path);
    return err;
}

void track_attach(struct vdisk *disk)
{
    int err = open_beside(disk, FILE_WRITE, VDISK_WARNING, &disk->track);

    if (err && err != -ENOENT)
        disk_say(disk, VDISK_WARNING, "its changes are not tracked (%s): all of it will count as changed since its points",
                 strerror(-err));
}

int track_load(struct vdisk *disk, struct track **track)
{
    return open_beside(disk, 0, VDISK_ERROR, track);
}

void track_move(struct vdisk *from, struct vdisk *to)
{
    struct track *t = from->track;

    from->track = NULL;
    to->track = t;
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->disk = to;
    take_growth(t);
    if (checkpoint(t) == 0 && describe(t))
        points_write(&t->points);
    pthread_mutex_unlock(&t->lock);
}

void track_take_over(struct vdisk *link, struct vdisk *fresh)
{
    if (!link->track)
        track_attach(fresh);
    else if (track_claim(link) == 0)
        track_move(link, fresh);
}

void track_remove(struct vdisk *disk)
{
    char *path = track_path(disk);

    if (path && unlink(path) < 0 && errno != ENOENT)
        disk_say(disk, VDISK_WARNING, "its points at %s cannot be removed: %s", path, strerror(errno));
    free(path);
}

/* ---- Close ---- */

void track_settle(struct vdisk *disk)
{
    struct track *t = disk->track;

    if (!t || !disk->writable)
        return;
    pthread_mutex_lock(&t->lock);
    checkpoint(t);
    pthread_mutex_unlock(&t->lock);
}

void track_seal(struct vdisk *disk)
{
    struct track *t = disk->track;

    if (!t || !disk->writable)
        return;
    pthread_mutex_lock(&t->lock);
    /* Where the file's time is compared, a cut must not take it back. */
    if (!t->behind && (disk->file->fd < 0 || fsync(disk->file->fd) == 0) && describe(t))
        points_write(&t->points);
    pthread_mutex_unlock(&t->lock);
}

void track_yield(struct vdisk *disk)
{
    if (disk->track)
        file_yield(disk->track->points.file);
}

int track_claim(struct vdisk *disk)
{
    struct file *file = disk->track ? disk->track->points.file : NULL;
    int err = file ? file_claim(file) : 0;

    return err ? file_error(file, "points", err, "cannot be written to again: %s",
                            err == -EBUSY ? "another process has opened it" : strerror(-err))
               : 0;
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
    err = points_bits_clear(&t->points, points_bitmap_at(&t->points, entry), grains(t));
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
        err = checkpoint(t);
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
    uint64_t count = (grains(t) + 63) / 64, end = points_words(grains(t));
    int err = words ? points_bits_read(p, older, grains(t), words) : -ENOMEM;

    if (!err && !newest)
        err = points_bits_read(p, points_bitmap_at(p, track_entry(t, index)), grains(t), words);
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
    err = checkpoint(t);
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
    uint64_t count = (grains(t) + 63) / 64;
    int err = 0;

    pthread_mutex_lock(&t->lock);
    for (unsigned i = since; i < until && !err; i++) {
        *whole |= le32_get(track_entry(t, i)->flags) & POINTS_WHOLE;
        if (i + 1 < track_points(t)) {
            err = points_bits_read(&t->points, points_bitmap_at(&t->points, track_entry(t, i)), grains(t), words);
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
