/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The BAT and the sector bitmaps in memory: 64-bit little-endian words, read and changed by atomic operations. Bit n of
 * a bitmap is bit n % 8 of byte n / 8, so bit n % 64 of such a word. [MS-VHDX] 2.4, 2.5
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "disk/mutant.h"
#include "vhdx.h"

#define HOLES_WORTH 256u /* pages of a BAT from which on it pays to ask the file system for holes */

_Atomic uint64_t *vhdx_entry_at(const struct vhdx *v, uint64_t index)
{
    uint64_t page = index / VHDX_ENTRIES_PER_PAGE;
    _Atomic uint64_t *words;

    if (atomic_load_explicit(&v->pages[page], memory_order_acquire) < VHDX_PAGE_LOADED)
        return NULL;
    words = table_page(v->bat, page);
    return words + index % VHDX_ENTRIES_PER_PAGE;
}

bool vhdx_entry_get(const struct vhdx *v, uint64_t index, uint64_t *entry)
{
    _Atomic uint64_t *word = vhdx_entry_at(v, index);

    if (word)
        *entry = le64toh(atomic_load(word));
    else if (atomic_load_explicit(&v->pages[index / VHDX_ENTRIES_PER_PAGE], memory_order_acquire) == VHDX_PAGE_HOLE)
        *entry = VHDX_NOT_PRESENT;
    else
        return false;
    return true;
}

void vhdx_entry_mark(struct vhdx *v, uint64_t index)
{
    table_mark(v->bat, index / VHDX_ENTRIES_PER_PAGE);
}

/* Says what is wrong with the first bad entry of a page. */
static int verify_page(struct vhdx *v, uint64_t page)
{
    const _Atomic uint64_t *words = table_page(v->bat, page);
    uint64_t first = page * VHDX_ENTRIES_PER_PAGE;

    for (uint64_t i = 0; i < VHDX_ENTRIES_PER_PAGE && first + i < v->shape.entries; i++) {
        uint64_t index = first + i, entry = le64toh(atomic_load_explicit(&words[i], memory_order_relaxed));
        char text[VHDX_ENTRY_TEXT];

        if (entry == VHDX_NOT_PRESENT)
            continue;
        if (!vhdx_entry_fault(&v->shape, &v->regions, v->limit, index, entry, text))
            continue;
        return disk_error(&v->disk, -EIO, "BAT entry %" PRIu64 " at 0x%" PRIx64 " (%s %" PRIu64 "): %s", index,
                          v->regions.bat.position + index * sizeof(entry),
                          vhdx_shape_is_bitmap(&v->shape, index) ? "sector bitmap" : "block",
                          vhdx_shape_is_bitmap(&v->shape, index) ? index >> v->shape.ratio_shift
                                                                 : vhdx_shape_block(&v->shape, index),
                          text);
    }
    return 0;
}

/* Where the file has a hole the table is zeros: the pages need no memory. */
static bool look_for_hole(struct vhdx *v, uint64_t page)
{
    uint64_t position = table_position(v->bat) + page * VHDX_PAGE, data;
    uint64_t end = table_position(v->bat) + table_pages(v->bat) * VHDX_PAGE;

    if (table_pages(v->bat) < HOLES_WORTH || file_seek_data(v->disk.file, position, &data, NULL))
        return false;
    if (data > end)
        data = end;
    if (data < position + VHDX_PAGE)
        return false;
    for (uint64_t n = (data - position) / VHDX_PAGE; n > 0; n--, page++)
        if (v->pages[page] == VHDX_PAGE_UNKNOWN)
            atomic_store_explicit(&v->pages[page], VHDX_PAGE_HOLE, memory_order_release);
    return true;
}

/* A loaded page: before the first change to it. */
static int make_solid(struct vhdx *v, uint64_t page)
{
    uint64_t position = table_position(v->bat) + page * VHDX_PAGE;
    bool solid = v->pages[page] == VHDX_PAGE_SOLID || MUTANT("vhdx-bat-no-space");
    int err = solid ? 0 : file_allocate(v->disk.file, position, VHDX_PAGE);

    if (err)
        return disk_error(&v->disk, err, "BAT at 0x%" PRIx64 ": no space: %s", position, strerror(-err));
    atomic_store_explicit(&v->pages[page], VHDX_PAGE_SOLID, memory_order_release);
    return 0;
}

int vhdx_entry_load(struct vhdx *v, uint64_t index, bool write)
{
    uint64_t page = index / VHDX_ENTRIES_PER_PAGE;
    int err;

    if (v->pages[page] >= VHDX_PAGE_LOADED)
        return write ? make_solid(v, page) : 0;
    if (!write && (v->pages[page] == VHDX_PAGE_HOLE || look_for_hole(v, page)))
        return 0;
    err = table_load(v->bat, page);
    if (err)
        return disk_error(&v->disk, err, "BAT at 0x%" PRIx64 ": cannot read: %s",
                          table_position(v->bat) + page * VHDX_PAGE, strerror(-err));
    err = verify_page(v, page);
    if (!err)
        atomic_store_explicit(&v->pages[page], VHDX_PAGE_LOADED, memory_order_release);
    return err || !write ? err : make_solid(v, page);
}

bool vhdx_bits_of(const struct vhdx *v, uint64_t offset, uint64_t length, struct vhdx_bits *bits)
{
    uint64_t sector = offset >> v->shape.sector_shift;

    bits->table = atomic_load_explicit(&v->bitmaps[sector / VHDX_CHUNK_SECTORS], memory_order_acquire);
    bits->first = sector % VHDX_CHUNK_SECTORS;
    bits->count = length >> v->shape.sector_shift;
    return bits->table != NULL;
}

static _Atomic uint64_t *word_at(const struct vhdx_bits *bits, uint64_t bit)
{
    _Atomic uint64_t *words = table_page(bits->table, bit / VHDX_BITS_PER_PAGE);

    return words ? words + bit % VHDX_BITS_PER_PAGE / 64 : NULL;
}

uint64_t vhdx_bits_run(const struct vhdx_bits *bits, bool *set)
{
    uint64_t run = 0, flip = 0;

    while (run < bits->count) {
        uint64_t bit = bits->first + run, value, same;
        const _Atomic uint64_t *word = word_at(bits, bit);

        if (!word)
            break;
        value = (MUTANT("vhdx-bit-order") ? be64toh(atomic_load(word)) : le64toh(atomic_load(word))) >> bit % 64;
        if (run == 0) {
            *set = value & 1;
            flip = *set ? ~UINT64_C(0) : 0;
        }
        value ^= flip; /* what differs from the first is 1 now */
        value &= ~UINT64_C(0) >> bit % 64;
        same = value ? (uint64_t)__builtin_ctzll(value) : 64 - bit % 64;
        run += same;
        if (value)
            break;
    }
    return run < bits->count ? run : bits->count;
}

bool vhdx_bits_loaded(const struct vhdx_bits *bits)
{
    uint64_t last = (bits->first + bits->count - 1) / VHDX_BITS_PER_PAGE;

    for (uint64_t page = bits->first / VHDX_BITS_PER_PAGE; page <= last; page++)
        if (!table_page(bits->table, page))
            return false;
    return true;
}

/* Marks the pages that it changes. */
static void change(const struct vhdx_bits *bits, bool set)
{
    for (uint64_t done = 0, part; done < bits->count; done += part) {
        uint64_t bit = bits->first + done, mask, old;
        _Atomic uint64_t *word = word_at(bits, bit);

        part = 64 - bit % 64 < bits->count - done ? 64 - bit % 64 : bits->count - done;
        mask = htole64((part == 64 ? ~UINT64_C(0) : (UINT64_C(1) << part) - 1) << bit % 64);
        old = atomic_load(word);
        if ((old & mask) == (set ? mask : 0))
            continue;
        if (set)
            atomic_fetch_or(word, mask);
        else
            atomic_fetch_and(word, ~mask);
        table_mark(bits->table, bit / VHDX_BITS_PER_PAGE);
    }
}

void vhdx_bits_set(const struct vhdx_bits *bits)
{
    change(bits, true);
}

void vhdx_bits_clear(const struct vhdx_bits *bits)
{
    change(bits, false);
}

int vhdx_bits_load(struct vhdx *v, const struct vhdx_bits *bits)
{
    uint64_t last = (bits->first + bits->count - 1) / VHDX_BITS_PER_PAGE;

    for (uint64_t page = bits->first / VHDX_BITS_PER_PAGE; page <= last; page++) {
        int err = table_page(bits->table, page) ? 0 : table_load(bits->table, page);

        if (err)
            return disk_error(&v->disk, err, "sector bitmap at 0x%" PRIx64 ": cannot read: %s",
                              table_position(bits->table) + page * VHDX_PAGE, strerror(-err));
    }
    return 0;
}
