/* SPDX-License-Identifier: BSD-2-Clause */
/* The points file: headers and bitmaps as they stand in it. */
#include "points.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "mutant.h"

#define CAPACITY_UNIT (UINT64_C(1) << 40)
#define CAPACITY_MAX (UINT64_C(1) << 50)
#define BITS_MAX (UINT64_C(128) << 20)    /* of the grains of a disk when its file is made: 16 MiB */
#define CHUNK 128u                        /* sectors that are read and written at once */

/* What the file itself is to blame for. */
static int refuse(const struct points *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(const struct points *p, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    file_say(p->file, p->level, "points", "%s", text);
    return -EINVAL;
}

static int unreadable(const struct points *p, uint64_t position, int err)
{
    file_say(p->file, p->level, "points", "cannot be read at 0x%llx: %s", (unsigned long long)position,
             err == -ENODATA ? "the file ends before" : strerror(-err));
    return err;
}

static uint32_t crc(const void *data, size_t length)
{
    return ~crc32_iscsi((unsigned char *)data, (int)length, ~0u);
}

static uint32_t header_checksum(const struct points_header *header)
{
    struct points_header copy = *header;

    copy.checksum = le32_of(0);
    return crc(&copy, sizeof(copy));
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static uint64_t bitmap_bytes(uint64_t capacity, uint64_t unit)
{
    return round_up(points_words((capacity + unit - 1) / unit) / POINTS_WORDS * POINTS_SECTOR, POINTS_HEADER);
}

/* Where things are, by what the header says. */
static void lay_out(struct points *p)
{
    uint64_t capacity = le64_get(p->header.capacity);

    p->data_at = POINTS_INTENTS_AT + bitmap_bytes(capacity, le32_get(p->header.region));
    p->stride = bitmap_bytes(capacity, le32_get(p->header.grain));
}

/* ---- Headers ---- */

static bool name_is_sound(const char *name)
{
    size_t length = strnlen(name, POINTS_NAME);

    if (length == 0 || length == POINTS_NAME)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

static int check_entries(const struct points *p, uint64_t at)
{
    const struct points_header *h = &p->header;
    uint32_t used = 0;

    for (unsigned i = 0; i < le32_get(h->count); i++) {
        const struct points_entry *entry = &h->entry[i];
        unsigned long long where = at + offsetof(struct points_header, entry) + i * sizeof(*entry);
        uint32_t slot = le32_get(entry->slot);

        if (!name_is_sound(entry->name))
            return refuse(p, "point %u at 0x%llx: the name is empty, too long, or holds a control character", i, where);
        if (slot >= POINTS_MAX || used & 1u << slot)
            return refuse(p, "point %u at 0x%llx: slot %u is %s", i, where + 72, slot,
                          slot >= POINTS_MAX ? "out of range" : "another point's");
        if (le32_get(entry->flags) & ~POINTS_WHOLE)
            return refuse(p, "point %u at 0x%llx: the flags 0x%x are not known", i, where + 76, le32_get(entry->flags));
        for (unsigned k = 0; k < i; k++)
            if (strcmp(h->entry[k].name, entry->name) == 0)
                return refuse(p, "point %u at 0x%llx: has the name of point %u", i, where, k);
        used |= 1u << slot;
    }
    return 0;
}

static int check_header(const struct points *p, uint64_t at)
{
    const struct points_header *h = &p->header;
    uint64_t grain = le32_get(h->grain), capacity = le64_get(h->capacity);

    if (le32_get(h->version) != 1)
        return refuse(p, "header at 0x%llx: the version is %u, expected 1", (unsigned long long)at,
                      le32_get(h->version));
    if (grain < POINTS_GRAIN_MIN || grain > POINTS_GRAIN_MAX || grain & (grain - 1))
        return refuse(p, "header at 0x%llx: the grain is %u, expected a power of two from 64 KiB to 1 MiB",
                      (unsigned long long)at + 88, le32_get(h->grain));
    if (le32_get(h->region) != POINTS_REGION)
        return refuse(p, "header at 0x%llx: the region is %u, expected %llu", (unsigned long long)at + 92,
                      le32_get(h->region), (unsigned long long)POINTS_REGION);
    if (capacity == 0 || capacity > CAPACITY_MAX || capacity % POINTS_REGION || le64_get(h->size) > capacity)
        return refuse(p, "header at 0x%llx: the disk's size is %llu, of at most %llu", (unsigned long long)at + 72,
                      (unsigned long long)le64_get(h->size), (unsigned long long)capacity);
    if (le32_get(h->count) > POINTS_MAX)
        return refuse(p, "header at 0x%llx: there are %u points, expected at most %u", (unsigned long long)at + 96,
                      le32_get(h->count), POINTS_MAX);
    return check_entries(p, at);
}

int points_read(struct points *p, struct file *file, enum vdisk_level level)
{
    struct points_header header[2];
    bool valid[2];
    int err;

    *p = (struct points){.file = file, .level = level};
    for (unsigned i = 0; i < 2; i++) {
        err = file_read(file, &header[i], sizeof(header[i]), i * POINTS_HEADER);
        if (err)
            return unreadable(p, i * POINTS_HEADER, err);
        valid[i] = memcmp(header[i].signature, "vdpoints", 8) == 0 &&
                   (le32_get(header[i].checksum) == header_checksum(&header[i]) || MUTANT("points-header-checksum"));
    }
    if (!valid[0] && !valid[1])
        return refuse(p, "headers at 0x0 and 0x%x: neither has a valid signature and checksum", POINTS_HEADER);
    p->current = !valid[0] || (valid[1] && le64_get(header[1].sequence) > le64_get(header[0].sequence));
    p->header = header[p->current];
    err = check_header(p, p->current * POINTS_HEADER);
    if (!err)
        lay_out(p);
    return err;
}

int points_write(struct points *p)
{
    struct points_header *h = &p->header;
    int err;

    h->sequence = le64_of(le64_get(h->sequence) + 1);
    h->checksum = le32_of(header_checksum(h));
    err = file_write(p->file, h, sizeof(*h), (1 - p->current) * POINTS_HEADER);
    if (!err && !MUTANT("points-header-not-durable"))
        err = file_sync(p->file);
    if (err)
        return file_error(p->file, "points", err, "header at 0x%x: cannot be written: %s",
                          (1 - p->current) * POINTS_HEADER, strerror(-err));
    p->current = 1 - p->current;
    return 0;
}

int points_format(struct points *p, struct file *file, uint64_t size)
{
    uint64_t grain = POINTS_GRAIN_MIN, capacity = round_up(4 * size, CAPACITY_UNIT); /* disks grow */
    struct points_header *h = &p->header;
    int err;

    if (size > CAPACITY_MAX / 4)
        return file_error(file, "points", -EFBIG, "a disk of %llu bytes is too large for points",
                          (unsigned long long)size);
    while (grain < POINTS_GRAIN_MAX && size / grain > BITS_MAX)
        grain *= 2;
    *p = (struct points){.file = file, .level = VDISK_ERROR};
    memcpy(h->signature, "vdpoints", 8);
    h->version = le32_of(1);
    h->size = le64_of(size);
    h->capacity = le64_of(capacity);
    h->grain = le32_of((uint32_t)grain);
    h->region = le32_of(POINTS_REGION);
    lay_out(p);
    /* Both headers and the intents of the disk have their storage: recording an intent never needs more. */
    err = file_allocate(file, 0, POINTS_INTENTS_AT + bitmap_bytes(size, POINTS_REGION));
    for (int i = 0; i < 2 && !err; i++)
        err = points_write(p);
    return err;
}

struct points_entry *points_find(struct points *p, const char *name)
{
    for (unsigned i = 0; i < le32_get(p->header.count); i++)
        if (strcmp(p->header.entry[i].name, name) == 0)
            return &p->header.entry[i];
    return NULL;
}

/* ---- Bitmaps ---- */

static bool is_empty(const struct points_sector *sector)
{
    static const struct points_sector empty;

    return memcmp(sector, &empty, sizeof(empty)) == 0;
}

static int take_sector(struct points *p, const struct points_sector *sector, uint64_t number, uint64_t position,
                       _Atomic uint64_t *words)
{
    const uint8_t *rest = (const uint8_t *)sector + sizeof(sector->checksum);

    if (is_empty(sector))
        return 0;
    if (le32_get(sector->checksum) != crc(rest, sizeof(*sector) - sizeof(sector->checksum)) &&
        !MUTANT("points-sector-checksum"))
        return refuse(p, "bitmap at 0x%llx: the checksum is wrong", (unsigned long long)position);
    if (le32_get(sector->number) != (uint32_t)(number + 1))
        return refuse(p, "bitmap at 0x%llx: is sector %u, expected %u", (unsigned long long)position,
                      le32_get(sector->number), (uint32_t)(number + 1));
    for (unsigned i = 0; i < POINTS_WORDS; i++)
        if (le64_get(sector->word[i]))
            atomic_fetch_or_explicit(&words[number * POINTS_WORDS + i], le64_get(sector->word[i]),
                                     memory_order_relaxed);
    return 0;
}

int points_bits_read(struct points *p, uint64_t position, uint64_t bits, _Atomic uint64_t *words)
{
    uint64_t sectors = points_words(bits) / POINTS_WORDS, end = position + sectors * POINTS_SECTOR, data, hole;
    struct points_sector sector[CHUNK];

    if (end > p->file->size)
        end = p->file->size;
    for (uint64_t at = position; at < end;) {
        uint64_t want;
        int err = file_seek_data(p->file, at, &data, &hole);

        if (err)
            return unreadable(p, at, err);
        if (data > at) /* whole sectors of a hole */
            at += (data - at) / POINTS_SECTOR * POINTS_SECTOR;
        if (at >= end)
            break;
        want = end - at < sizeof(sector) ? end - at : sizeof(sector);
        if (want % POINTS_SECTOR)
            return refuse(p, "bitmap at 0x%llx: the file ends inside a sector", (unsigned long long)(at + want));
        err = file_read(p->file, sector, (size_t)want, at);
        if (err)
            return unreadable(p, at, err);
        for (uint64_t i = 0; i < want / POINTS_SECTOR && !err; i++, at += POINTS_SECTOR)
            err = take_sector(p, &sector[i], (at - position) / POINTS_SECTOR, at, words);
        if (err)
            return err;
    }
    return 0;
}

int points_bits_write(struct points *p, uint64_t position, uint64_t first, uint64_t count,
                      const _Atomic uint64_t *words)
{
    uint64_t number = first / POINTS_WORDS, end = (first + count + POINTS_WORDS - 1) / POINTS_WORDS;
    struct points_sector sector[CHUNK];

    while (number < end) {
        unsigned n = 0;
        int err;

        for (; n < CHUNK && number + n < end; n++) {
            struct points_sector *s = &sector[n];

            s->number = le32_of((uint32_t)(number + n + 1));
            for (unsigned i = 0; i < POINTS_WORDS; i++)
                s->word[i] = le64_of(atomic_load_explicit(&words[(number + n) * POINTS_WORDS + i],
                                                          memory_order_relaxed));
            s->checksum = le32_of(crc(&s->number, sizeof(*s) - sizeof(s->checksum)));
        }
        err = file_write(p->file, sector, n * sizeof(sector[0]), position + number * POINTS_SECTOR);
        if (err)
            return err;
        number += n;
    }
    return 0;
}

int points_bits_clear(struct points *p, uint64_t position, uint64_t bits)
{
    uint64_t length = points_words(bits) / POINTS_WORDS * POINTS_SECTOR;

    return MUTANT("points-slot-not-emptied") ? 0 : file_zero(p->file, position, length, false);
}
