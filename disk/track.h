/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Change tracking: which grains of a disk have changed since its newest point. The engine asks before it lets a guest
 * change a range; a disk without points has no track, and the engine's question is one branch.
 *
 * What must hold at every moment, whatever is cut off then: a grain whose bytes may have changed has its bit in the file, or
 * its region's intent is in the file. See the head of track.c for how.
 */
#ifndef DISK_TRACK_H
#define DISK_TRACK_H

#include "disk.h"
#include "points.h"

/* The parts of it that are not atomic are under lock, and so is the points file. */
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

/* The track that a points file describes, and what it says after a look at the image: not closed cleanly, changed behind
 * our back, grown. Writable disks: that is made durable, so that tracking can begin. Takes the file on success. */
int track_open(struct vdisk *disk, struct file *file, enum vdisk_level level, struct track **track);
void track_close(struct track *track); /* NULL is allowed */

/* The points file of an image that is opened for writing, if there is one. One that is refused is told as a warning, and
 * the disk is not tracked: its next look at the image will find it changed. */
void track_attach(struct vdisk *disk);

/* The same image, of another size maybe, is open as another disk now: what it has grown by counts as changed. */
void track_move(struct vdisk *from, struct vdisk *to);

/* The next header that is written speaks of the image as it is now. Nothing is in flight. */
void track_describe(struct track *track);

/* A link that is frozen, or open for reading, is open for writing too now. */
void track_take_over(struct vdisk *link, struct vdisk *fresh);

/* The image is removed: its points go. path: track_path's, from when its file had a name; taken. */
void track_remove(struct vdisk *disk, char *path);

/* The path of the points file; malloced, or NULL for want of memory or where the image's file has no name. */
char *track_path(const struct vdisk *disk);

/* The points file of this link, for reading. -ENOENT, not said: there is none. */
int track_load(struct vdisk *disk, struct track **track);

/* Of the same content, in another file: to is tracked from here on by a copy of what from knows. Nothing is in flight. */
void track_hand_over(struct vdisk *from, struct vdisk *to);

/* ---- The engine's ---- */

/* May the range be changed without more ado? Any thread, outside an epoch; never blocks. slot: the ring's. */
bool track_covers(struct track *track, unsigned slot, uint64_t offset, uint64_t length);

/* After success it may. Blocks. */
int track_record(struct track *track, uint64_t offset, uint64_t length);

/* After a sync of the disk: makes the bits durable now and then, so that few intents stay. */
void track_flushed(struct track *track);
void track_checkpoint_every(struct track *track, uint64_t nanoseconds); /* 5 seconds, else */

/* ---- Around the format's close and settle; nothing is in flight ---- */

void track_settle(struct vdisk *disk); /* before */
void track_seal(struct vdisk *disk);   /* after, when it succeeded: this is how we left it */

/* Around the time in which the disk is frozen: the points file may be read by others. */
void track_yield(struct vdisk *disk);
int track_claim(struct vdisk *disk);

/* ---- Operations. Nothing is in flight, everything is durable. ---- */

int track_point(struct track *track, const char *name);
int track_forget(struct track *track, const char *name);
unsigned track_points(const struct track *track);
const struct points_entry *track_entry(const struct track *track, unsigned index);
int track_find(const struct track *track, const char *name); /* its index, or -ENOENT */

/* Adds the grains changed from one point to a later one (until == track_points: to now) to words, which has room for
 * the disk. *whole: all of it. */
int track_changes(struct track *track, unsigned since, unsigned until, _Atomic uint64_t *words, bool *whole);
unsigned track_grain_shift(const struct track *track);

/* Anonymous memory that is zero and costs nothing until it is touched. NULL: there is none. */
_Atomic uint64_t *track_words_new(uint64_t words);
void track_words_free(_Atomic uint64_t *memory, uint64_t words);
/* The next bit that is set (or not) at or after this one; end: there is none. */
uint64_t track_words_next(const _Atomic uint64_t *words, uint64_t bit, uint64_t end, bool set);
void track_words_set(_Atomic uint64_t *words, uint64_t first, uint64_t last); /* bits, last included */

/* Regions that a bitmap of intents speaks of, and grains of the disk that have a bit. */
uint64_t track_regions(const struct track *track);
uint64_t track_grains(const struct track *track);

/* Under lock: the bits are durable and the intents go. After a failure they stay in the file, and that is all. */
int track_checkpoint(struct track *track);

#endif
