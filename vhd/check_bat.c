/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Check of the BAT, the blocks' bitmaps, and the space that belongs to nothing. The BAT is read in pieces; what is
 * kept is a number per used entry, so memory is bounded by VHD_ENTRIES_MAX.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define LL(value) ((unsigned long long)(value))
#define PART_ENTRIES 16384u
#define PART_BYTES 65536u

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int keep(struct check *c, uint32_t block, uint32_t sector)
{
    if ((c->count & (c->count - 1)) == 0) { /* full at every power of two */
        uint64_t *more = realloc(c->used, (c->count ? 2ull * c->count : 1) * sizeof(*more));

        if (!more)
            return -ENOMEM;
        c->used = more;
    }
    c->used[c->count++] = (uint64_t)sector << 32 | block;
    return 0;
}

/* A BAT of millions of faults: those that nobody is told of are only counted. */
static int check_entry(struct check *c, uint32_t block, uint32_t sector)
{
    struct vhd_reason reason;
    bool silent = c->faults > CHECK_TOLD_MAX;

    if (sector == VHD_UNUSED)
        return 0;
    if (silent && block >= c->layout.blocks)
        return 0;
    if (silent && vhd_entry_check(&c->layout, block, sector, NULL)) {
        c->faults++;
        return 0;
    }
    if (block >= c->layout.blocks) {
        uint64_t at = c->layout.bat_at + 4ull * block;

        check_leak(c, "bat-beyond-disk", at, 0, "BAT entry %u at 0x%llx: is used (0x%x), the disk has only %u blocks",
                   block, LL(at), sector, c->layout.blocks);
        return 0;
    }
    if (vhd_entry_check(&c->layout, block, sector, &reason) == 0)
        return keep(c, block, sector);
    check_reason(c, &reason);
    return 0;
}

static int read_entries(struct check *c)
{
    struct be32 *part = malloc(PART_ENTRIES * sizeof(*part));
    int err = part ? 0 : -ENOMEM;

    for (uint32_t first = 0; first < c->layout.max_entries && !err; first += PART_ENTRIES) {
        uint32_t rest = c->layout.max_entries - first, count = rest < PART_ENTRIES ? rest : PART_ENTRIES;
        uint64_t at = c->layout.bat_at + 4ull * first;

        err = file_read(c->file, part, count * sizeof(*part), at);
        if (err)
            file_error(c->file, "vhd", err, "BAT at 0x%llx: cannot be read: %s", LL(at), strerror(-err));
        for (uint32_t i = 0; i < count && !err; i++)
            err = check_entry(c, first + i, be32_get(part[i]));
        if (!err)
            err = check_step(c, first, c->layout.max_entries);
    }
    free(part);
    return err;
}

/* Blocks that share bytes. The one that reaches farthest is compared with the next: none hides behind another. */
static void check_overlap(struct check *c)
{
    uint64_t before = 0;

    for (uint32_t i = 1; i < c->count; i++) {
        uint64_t used = c->used[i], other;

        if (check_end_of(c, c->used[i - 1]) >= check_end_of(c, c->used[before]))
            before = i - 1;
        other = c->used[before];
        if (check_start_of(used) >= check_end_of(c, other))
            continue;
        if (check_start_of(used) == check_start_of(other))
            check_tell(c, VDISK_FAULT, "bat-duplicate", c->layout.bat_at + 4ull * (uint32_t)used,
                       "BAT entries %u and %u: both give the block at 0x%llx", (uint32_t)other, (uint32_t)used,
                       LL(check_start_of(used)));
        else
            check_tell(c, VDISK_FAULT, "bat-overlap", c->layout.bat_at + 4ull * (uint32_t)used,
                       "BAT entries %u and %u: the blocks at 0x%llx and 0x%llx overlap", (uint32_t)other,
                       (uint32_t)used, LL(check_start_of(other)), LL(check_start_of(used)));
    }
}

int check_bat(struct check *c)
{
    int err = read_entries(c);

    if (err)
        return err;
    if (c->count)
        qsort(c->used, c->count, sizeof(*c->used), by_value);
    check_overlap(c);
    return 0;
}

static bool is_zero(const uint8_t *data, size_t length)
{
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

static bool bit(const uint8_t *bits, uint64_t sector)
{
    return bits[sector / 8] >> (7 - sector % 8) & 1;
}

/* Sectors that a dynamic disk's bitmap says are not there, zeros to those who go by it: readers that do not (QEMU) show
 * what stands there. part is PART_BYTES long. */
static int check_clear(struct check *c, uint64_t used, const uint8_t *bits, uint8_t *part)
{
    uint64_t sectors = vhd_block_bytes(&c->layout, (uint32_t)used) / VHD_SECTOR;
    uint64_t data = check_start_of(used) + c->layout.bitmap_size;

    for (uint64_t at = 0; at < sectors;) {
        uint64_t end = at, there;
        int err;

        while (end < sectors && end - at < PART_BYTES / VHD_SECTOR && !bit(bits, end))
            end++;
        if (end == at) {
            at++;
            continue;
        }
        if (file_seek_data(c->file, data + at * VHD_SECTOR, &there, NULL) == 0 && there >= data + end * VHD_SECTOR) {
            at = end; /* a hole */
            continue;
        }
        err = file_read(c->file, part, (size_t)(end - at) * VHD_SECTOR, data + at * VHD_SECTOR);
        if (err)
            return err;
        if (!is_zero(part, (size_t)(end - at) * VHD_SECTOR)) {
            check_tell(c, VDISK_FAULT, "bitmap-disagrees", check_start_of(used),
                       "bitmap at 0x%llx of block %u: sectors from %llu on are clear but hold data",
                       LL(check_start_of(used)), (uint32_t)used, LL(at));
            return 0;
        }
        at = end;
    }
    return 0;
}

static int check_bitmap(struct check *c, uint64_t used, uint8_t *bits, uint8_t *part)
{
    uint64_t sectors = vhd_block_bytes(&c->layout, (uint32_t)used) / VHD_SECTOR, set = 0;
    int err = file_read(c->file, bits, c->layout.bitmap_size, check_start_of(used));

    for (uint64_t i = 0; i < sectors / 8 && !err; i++)
        set += (unsigned)__builtin_popcount(bits[i]);
    for (uint64_t i = sectors / 8 * 8; i < sectors && !err; i++)
        set += bit(bits, i);
    if (!err && set == 0)
        check_leak(c, "block-empty", check_start_of(used), check_end_of(c, used) - check_start_of(used),
                   "block %u at 0x%llx: none of its sectors is in use", (uint32_t)used, LL(check_start_of(used)));
    if (!err && set < sectors && be32_get(c->footer.type) == VHD_DYNAMIC)
        err = check_clear(c, used, bits, part);
    return err ? file_error(c->file, "vhd", err, "block %u at 0x%llx: cannot be read: %s", (uint32_t)used,
                            LL(check_start_of(used)), strerror(-err))
               : 0;
}

/* Of blocks that share bytes, which is told already, one is looked at: no BAT makes us read more than the file. */
int check_bitmaps(struct check *c)
{
    uint8_t *bits = malloc(c->layout.bitmap_size), *part = malloc(PART_BYTES);
    int err = bits && part ? 0 : -ENOMEM;
    uint64_t reached = 0;

    for (uint32_t i = 0; i < c->count && !err; i++) {
        if (check_start_of(c->used[i]) < reached)
            continue;
        reached = check_end_of(c, c->used[i]);
        err = check_bitmap(c, c->used[i], bits, part);
        if (!err && i % 64 == 0)
            err = check_step(c, i, c->count);
    }
    free(bits);
    free(part);
    return err ? err : check_step(c, c->count, c->count);
}

/* Bytes that the storage holds between start and end. */
static uint64_t stored(struct check *c, uint64_t start, uint64_t end)
{
    uint64_t sum = 0, data, hole;

    for (uint64_t at = start; at < end; at = hole) {
        if (file_seek_data(c->file, at, &data, &hole) || data >= end)
            break;
        sum += (hole < end ? hole : end) - data;
    }
    return sum;
}

/* A gap is a leak if it costs space, more than alignment and the bitmaps of discarded blocks do. Metadata may be in it.
 */
static void check_gap(struct check *c, uint64_t start, uint64_t end)
{
    uint64_t slack = c->layout.bitmap_size + (uint64_t)VHD_ALIGN, bytes;

    if (start >= end || end - start <= slack)
        return;
    for (unsigned i = 0; i < c->layout.ranges; i++) {
        const struct vhd_range *range = &c->layout.range[i];

        if (range->start < end && start < range->end) {
            check_gap(c, start, range->start);
            check_gap(c, range->end, end);
            return;
        }
    }
    bytes = stored(c, start, end);
    if (bytes > ((end - start) / c->layout.block_size + 2) * slack)
        check_leak(c, "gap", start, end - start, "%llu bytes from 0x%llx to 0x%llx belong to no block", LL(bytes),
                   LL(start), LL(end));
}

/* What stands before the first block may be other programs': it is left out. */
void check_gaps(struct check *c)
{
    uint64_t reached;

    if (c->count == 0)
        return;
    reached = check_end_of(c, c->used[0]);
    for (uint32_t i = 1; i < c->count; i++) {
        check_gap(c, reached, check_start_of(c->used[i]));
        if (check_end_of(c, c->used[i]) > reached)
            reached = check_end_of(c, c->used[i]);
    }
    check_gap(c, reached, c->footers.end_at);
}
