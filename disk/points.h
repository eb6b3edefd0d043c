/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The points file: what has changed in an image since named points, kept beside it as "<image>.points".
 *
 *     0, 4 KiB      two headers: the valid one with the greater sequence number is current, an update writes the other
 *     8 KiB         the intents: a bit for each region of the disk (64 MiB)
 *     data_at       a bitmap for each slot, stride bytes apart: a bit for each grain of the disk (64 KiB or more)
 *
 * A bitmap is a sequence of sectors (struct points_sector), each with a checksum of its own, for each is written whole or
 * not at all; a sector of zeros, or behind the end of the file, has no bit set. docs/points.md tells the order of writing
 * and why it misses nothing. Integers are little-endian.
 */
#ifndef DISK_POINTS_H
#define DISK_POINTS_H

#include <stdatomic.h>

#include "endian.h"
#include "file.h"

#define POINTS_SUFFIX ".points"
#define POINTS_MAX 31u
#define POINTS_NAME 64u  /* with the NUL */
#define POINTS_WORDS 63u /* of 64 bits in a sector */
#define POINTS_SECTOR 512u
#define POINTS_HEADER 4096u
#define POINTS_INTENTS_AT UINT64_C(8192)
#define POINTS_REGION (UINT64_C(64) << 20)
#define POINTS_GRAIN_MIN (UINT64_C(64) << 10)
#define POINTS_GRAIN_MAX (UINT64_C(1) << 20) /* so that regions share no word of a bitmap */

#define POINTS_WHOLE 0x1u /* all of the disk counts as changed since the point */

struct points_entry {
    char name[POINTS_NAME]; /* 0: UTF-8, ends with NUL */
    struct le64 created;    /* 64: seconds since 1970 */
    struct le32 slot;       /* 72: of its bitmap */
    struct le32 flags;      /* 76: POINTS_WHOLE */
    uint8_t reserved[48];   /* 80 */
};
_Static_assert(sizeof(struct points_entry) == 128, "docs/points.md");

struct points_header {
    char signature[8];     /* 0: "vdpoints" */
    struct le32 version;   /* 8: 1 */
    struct le32 checksum;  /* 12: CRC-32C of the header with zeros here */
    struct le64 sequence;  /* 16 */
    uint8_t mark[2][16];   /* 24: of the image's content; the second is the one that a writer was about to give it */
    struct le64 modified;  /* 56: the image file's mtime in nanoseconds and */
    struct le64 length;    /* 64: its length, where the mark does not change with the content; else 0 */
    struct le64 size;      /* 72: of the disk */
    struct le64 capacity;  /* 80: how large a disk the bitmaps have bits for */
    struct le32 grain;     /* 88: bytes of the disk for a bit of a bitmap */
    struct le32 region;    /* 92: and of the intents */
    struct le32 count;     /* 96: of the points, oldest first */
    uint8_t reserved[28];  /* 100 */
    struct points_entry entry[POINTS_MAX]; /* 128 */
};
_Static_assert(sizeof(struct points_header) == POINTS_HEADER, "docs/points.md");

struct points_sector {
    struct le32 checksum; /* 0: CRC-32C of the rest */
    struct le32 number;   /* 4: in its bitmap, from 1 on */
    struct le64 word[POINTS_WORDS]; /* 8: bit n of the bitmap is bit n % 64 of word n / 64 */
};
_Static_assert(sizeof(struct points_sector) == POINTS_SECTOR, "docs/points.md");

/* An open points file. Nothing here is locked. */
struct points {
    struct file *file;
    enum vdisk_level level; /* of what is said of a bad file: an error, or a warning where the caller goes on without it */
    struct points_header header;
    unsigned current;       /* where the header stands: 0 or 1 */
    uint64_t data_at, stride;
};

/* Reads and verifies the headers. The file stays the caller's. */
int points_read(struct points *points, struct file *file, enum vdisk_level level);

/* Writes an empty file for a disk of this size, all but the durability. */
int points_format(struct points *points, struct file *file, uint64_t size);

/* The header, with the next sequence number, into the other place, durably. */
int points_write(struct points *points);

/* The bitmap of a slot. */
static inline uint64_t points_bitmap_at(const struct points *points, const struct points_entry *entry)
{
    return points->data_at + le32_get(entry->slot) * points->stride;
}

/* Sets in words (room for bits) what is set in the bitmap at position. */
int points_bits_read(struct points *points, uint64_t position, uint64_t bits, _Atomic uint64_t *words);

/* Writes the sectors of the bitmap at position that hold the words [first, first + count). */
int points_bits_write(struct points *points, uint64_t position, uint64_t first, uint64_t count,
                      const _Atomic uint64_t *words);

/* Makes the bitmap at position, for so many bits, empty, and the file long enough for it. Not durable. */
int points_bits_clear(struct points *points, uint64_t position, uint64_t bits);

struct points_entry *points_find(struct points *points, const char *name); /* NULL: there is none */

/* How many words a bitmap has room for, in memory: whole sectors of them. */
static inline uint64_t points_words(uint64_t bits)
{
    uint64_t words = (bits + 63) / 64;

    return (words + POINTS_WORDS - 1) / POINTS_WORDS * POINTS_WORDS;
}

#endif
