/* SPDX-License-Identifier: BSD-2-Clause */
#include "bat.h"

#include <inttypes.h>
#include <stdio.h>

#include "disk/mutant.h"

static const char *const state_names[8] = {"not-present", "undefined",  "zero",          "unmapped",
                                           "reserved-4",  "reserved-5", "fully-present", "partially-present"};

const char *vhdx_state_name(enum vhdx_state state)
{
    return state_names[state];
}

struct vhdx_shape vhdx_shape_of(const struct vhdx_metadata *m)
{
    struct vhdx_shape shape = {.differencing = m->has_parent,
                               .size = m->size,
                               .block_size = m->block_size,
                               .sector_size = m->logical_sector,
                               .block_shift = (unsigned)__builtin_ctz(m->block_size),
                               .sector_shift = (unsigned)__builtin_ctz(m->logical_sector)};

    shape.ratio_shift = 23 + shape.sector_shift - shape.block_shift - MUTANT("vhdx-chunk-ratio");
    shape.blocks = (m->size + m->block_size - 1) >> shape.block_shift;
    shape.chunks = vhdx_shape_chunk(&shape, shape.blocks - 1) + 1;
    shape.entries = shape.differencing ? vhdx_shape_bitmap_index(&shape, shape.chunks - 1) + 1
                                       : vhdx_shape_index(&shape, shape.blocks - 1) + 1;
    return shape;
}

int vhdx_shape_verify(struct vhdx_report *report, const struct vhdx_metadata *metadata,
                      const struct vhdx_regions *regions)
{
    struct vhdx_shape shape = vhdx_shape_of(metadata);

    if (shape.entries * sizeof(uint64_t) <= regions->bat.length)
        return 0;
    return vhdx_fault(
        report, "bat-length", regions->bat.position,
        "BAT region at 0x%" PRIx64 ": it has %" PRIu64 " bytes, expected at least %" PRIu64 " for %" PRIu64 " entries",
        regions->bat.position, regions->bat.length, shape.entries * (uint64_t)sizeof(uint64_t), shape.entries);
}

/* Where a block of length bytes may stand. */
static const char *position_fault(const struct vhdx_regions *regions, uint64_t limit, uint64_t position,
                                  uint64_t length, char text[VHDX_ENTRY_TEXT])
{
    const struct vhdx_region *region;

    if (position > limit || length > limit - position) {
        snprintf(text, VHDX_ENTRY_TEXT, "it is at 0x%" PRIx64 " and ends behind the file, which has %" PRIu64 " bytes",
                 position, limit);
        return "bat-range";
    }
    region = vhdx_regions_find(regions, position, length);
    if (!region)
        return NULL;
    snprintf(text, VHDX_ENTRY_TEXT, "it is at 0x%" PRIx64 " and overlaps %s at 0x%" PRIx64, position, region->name,
             region->position);
    return "bat-overlap";
}

static const char *find_fault(const struct vhdx_shape *shape, const struct vhdx_regions *regions, uint64_t limit,
                              uint64_t index, uint64_t entry, char text[VHDX_ENTRY_TEXT])
{
    enum vhdx_state state = vhdx_entry_state(entry);
    uint64_t position = entry & VHDX_ENTRY_POSITION;
    bool bitmap = vhdx_shape_is_bitmap(shape, index);

    if (!bitmap && vhdx_shape_block(shape, index) >= shape->blocks)
        return NULL; /* the rest of the last chunk describes nothing */
    if (entry & VHDX_ENTRY_RESERVED_BITS) {
        snprintf(text, VHDX_ENTRY_TEXT, "it is 0x%016" PRIx64 ": reserved bits are set", entry);
        return "bat-reserved";
    }
    if (state == 4 || state == 5 || (bitmap && state != VHDX_NOT_PRESENT && state != VHDX_FULLY_PRESENT)) {
        snprintf(text, VHDX_ENTRY_TEXT, "the state %u is reserved", state);
        return "bat-state";
    }
    if (bitmap && state != VHDX_NOT_PRESENT && !shape->differencing) {
        snprintf(text, VHDX_ENTRY_TEXT, "there is a sector bitmap, but the disk has no parent");
        return "bat-bitmap";
    }
    if (!bitmap && state == VHDX_PARTIALLY_PRESENT && !shape->differencing) {
        snprintf(text, VHDX_ENTRY_TEXT, "the state is partially-present, but the disk has no parent");
        return "bat-partial";
    }
    if (!vhdx_entry_owns(entry))
        return NULL;
    return position_fault(regions, limit, position,
                          bitmap ? VHDX_BITMAP_SIZE : vhdx_shape_used(shape, vhdx_shape_block(shape, index)), text);
}

const char *vhdx_entry_fault(const struct vhdx_shape *shape, const struct vhdx_regions *regions, uint64_t limit,
                             uint64_t index, uint64_t entry, char text[VHDX_ENTRY_TEXT])
{
    const char *code = find_fault(shape, regions, limit, index, entry, text);

    return code && !MUTANT_CODE("vhdx-entry", code) ? code : NULL;
}
