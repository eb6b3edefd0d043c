/* SPDX-License-Identifier: BSD-2-Clause */
/* See dirty.h. */
#include "dirty.h"

#include <errno.h>
#include <stdlib.h>

#define UNIT_MIN (UINT64_C(64) << 10)
#define MARKS_MAX (UINT64_C(8) << 20)

int dirty_open(const struct vdisk *disk, struct disk_dirty **dirty)
{
    uint64_t unit = UNIT_MIN, words;
    struct disk_dirty *d;

    while (disk->size / unit >= MARKS_MAX)
        unit *= 2;
    words = (disk->size / unit + 64) / 64;
    d = calloc(1, sizeof(*d) + words * sizeof(d->marks[0]));
    if (!d)
        return -ENOMEM;
    d->unit = unit;
    d->size = disk->size;
    d->words = words;
    *dirty = d;
    return 0;
}

void dirty_mark(struct disk_dirty *dirty, uint64_t offset, uint64_t length)
{
    for (uint64_t at = offset / dirty->unit; at * dirty->unit < offset + length; at++)
        atomic_fetch_or(&dirty->marks[at / 64], UINT64_C(1) << at % 64);
}

uint64_t dirty_bytes(struct disk_dirty *dirty)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < dirty->words; i++)
        count += (uint64_t)__builtin_popcountll(atomic_load(&dirty->marks[i]));
    return count * dirty->unit;
}

static bool take(struct disk_dirty *dirty, uint64_t at)
{
    uint64_t bit = UINT64_C(1) << at % 64;

    return atomic_fetch_and(&dirty->marks[at / 64], ~bit) & bit;
}

bool dirty_take(struct disk_dirty *dirty, uint64_t *offset, uint64_t *length, uint64_t max)
{
    uint64_t at = *offset / dirty->unit, marks = dirty->words * 64, first;

    while (at < marks && !take(dirty, at)) {
        at++;
        while (at % 64 == 0 && at < marks && atomic_load(&dirty->marks[at / 64]) == 0)
            at += 64;
    }
    if (at >= marks)
        return false;
    for (first = at++; at < marks && (at - first) * dirty->unit < max && take(dirty, at);)
        at++;
    *offset = first * dirty->unit;
    *length = at * dirty->unit < dirty->size ? (at - first) * dirty->unit : dirty->size - *offset;
    return true;
}
