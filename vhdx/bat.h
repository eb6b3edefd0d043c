/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block allocation table: its arithmetic and the rules of its entries. [MS-VHDX] 2.4, 2.5
 */
#ifndef VHDX_BAT_H
#define VHDX_BAT_H

#include "parse.h"

/* An entry: state in bits 0 to 2, reserved 3 to 19, file offset (a multiple of 1 MiB) in 20 to 63. 2.5.1 */
#define VHDX_ENTRY_STATE UINT64_C(0x7)
#define VHDX_ENTRY_RESERVED_BITS UINT64_C(0xffff8)
#define VHDX_ENTRY_POSITION (~(VHDX_MIB - 1))

/* In memory only, in a reserved bit. Of a payload block: the position is a home that is not published; the state is
 * still the old one. Of a sector bitmap block: the entry is not durable yet. */
#define VHDX_ENTRY_HOME UINT64_C(0x8)

enum vhdx_state {
    VHDX_NOT_PRESENT = 0, /* of sector bitmap blocks too */
    VHDX_UNDEFINED = 1,
    VHDX_ZERO = 2,
    VHDX_UNMAPPED = 3,
    VHDX_FULLY_PRESENT = 6, /* a sector bitmap block: present */
    VHDX_PARTIALLY_PRESENT = 7
};

#define VHDX_BITMAP_SIZE VHDX_MIB              /* of a sector bitmap block */
#define VHDX_CHUNK_SECTORS (UINT64_C(1) << 23) /* that one sector bitmap block describes */
#define VHDX_ENTRIES_PER_PAGE (VHDX_PAGE / sizeof(uint64_t))
#define VHDX_BITS_PER_PAGE (VHDX_PAGE * 8u)

struct vhdx_shape {
    bool differencing;
    uint64_t size;
    uint64_t blocks, chunks, entries;
    uint32_t block_size, sector_size;
    unsigned block_shift, sector_shift, ratio_shift; /* chunk ratio: payload blocks of a chunk */
};

struct vhdx_shape vhdx_shape_of(const struct vhdx_metadata *metadata);
/* Does the BAT region hold all the entries? */
int vhdx_shape_verify(struct vhdx_report *report, const struct vhdx_metadata *metadata,
                      const struct vhdx_regions *regions);

static inline uint64_t vhdx_shape_chunk(const struct vhdx_shape *shape, uint64_t block)
{
    return block >> shape->ratio_shift;
}

/* Index of a payload block's entry: a sector bitmap block's stands behind those of each chunk. */
static inline uint64_t vhdx_shape_index(const struct vhdx_shape *shape, uint64_t block)
{
    return block + vhdx_shape_chunk(shape, block);
}

static inline uint64_t vhdx_shape_bitmap_index(const struct vhdx_shape *shape, uint64_t chunk)
{
    return ((chunk + 1) << shape->ratio_shift) + chunk;
}

/* The payload block of an entry; of a sector bitmap's entry: the first block of the next chunk. */
static inline uint64_t vhdx_shape_block(const struct vhdx_shape *shape, uint64_t index)
{
    uint64_t ratio = UINT64_C(1) << shape->ratio_shift;

    return index / (ratio + 1) * ratio + index % (ratio + 1);
}

static inline bool vhdx_shape_is_bitmap(const struct vhdx_shape *shape, uint64_t index)
{
    uint64_t ratio = UINT64_C(1) << shape->ratio_shift;

    return index % (ratio + 1) == ratio;
}

/* How much of a block the disk has: the last one may be short. */
static inline uint64_t vhdx_shape_used(const struct vhdx_shape *shape, uint64_t block)
{
    uint64_t left = shape->size - (block << shape->block_shift);

    return left < shape->block_size ? left : shape->block_size;
}

static inline enum vhdx_state vhdx_entry_state(uint64_t entry)
{
    return (enum vhdx_state)(entry & VHDX_ENTRY_STATE);
}

/* In a file, does this entry own space? */
static inline bool vhdx_entry_owns(uint64_t entry)
{
    return (entry & VHDX_ENTRY_STATE) >= VHDX_FULLY_PRESENT;
}

const char *vhdx_state_name(enum vhdx_state state);

/* Is an entry as it stands in a file right? NULL, or the fault's code with the sentence in text. limit: the file's
 * size. Duplicates are not looked for. */
#define VHDX_ENTRY_TEXT 160
const char *vhdx_entry_fault(const struct vhdx_shape *shape, const struct vhdx_regions *regions, uint64_t limit,
                             uint64_t index, uint64_t entry, char text[VHDX_ENTRY_TEXT]);

#endif
