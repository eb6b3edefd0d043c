/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finding and patching what stands in a VHDX file, for the hostile suites. Field offsets are those of [MS-VHDX] 2.2 to
 * 2.6; every structure with a checksum gets a right one after a patch, unless the patch says _RAW.
 */
#ifndef TESTS_HOSTILE_VHDX_H
#define TESTS_HOSTILE_VHDX_H

#include "tests/hostile.h"

#define KIB 1024ull
#define MIB (1ull << 20)
#define ALL_ONES UINT64_MAX

enum base { DYNAMIC, FIXED, CHILD, LOGGED, BASES };

enum where {
    FILE_AT = 1, /* a byte of the file */
    SIZE,        /* the file gets this size */
    CUT,         /* this much is cut off */
    HEADERS,     /* in both headers; HEADER_NEW: the one that counts; HEADER_OLD: the other */
    HEADER_NEW,
    HEADER_OLD,
    HEADERS_RAW,
    HEADER_NEW_RAW,
    REGIONS, /* in both region tables */
    REGIONS_RAW,
    REGION_FIRST_RAW,
    REGION_BAT, /* in the BAT's entry of both */
    REGION_METADATA,
    METADATA,   /* in the metadata table */
    ENTRY_FILE, /* in the table's entry of an item: file parameters, size, page 83, sector sizes, locator */
    ENTRY_SIZE,
    ENTRY_PAGE83,
    ENTRY_LOGICAL,
    ENTRY_PHYSICAL,
    ENTRY_LOCATOR,
    ITEM_FILE, /* in the item */
    ITEM_SIZE,
    ITEM_LOGICAL,
    ITEM_PHYSICAL,
    ITEM_LOCATOR,
    BAT,       /* entry at, whole */
    BAT_OVER,  /* entry at: state value, offset of the region or structure in width (enum over) */
    BAT_TWICE, /* entry at becomes entry value */
    LOG,       /* in the log entry; LOG_DATA: in its data sector */
    LOG_RAW
};

enum over { OVER_LOG = 1, OVER_METADATA, OVER_BAT };

#define SECTOR_BITMAP 4096 /* the BAT index of the first bitmap: 1 MiB blocks of 512-byte sectors, 4096 to a chunk */
#define ENTRY(mib, state) ((uint64_t)(mib) << 20 | (state))

#define P(...)                                                                                                         \
    {                                                                                                                  \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define PP(...)                                                                                                        \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static inline uint64_t le_get(struct hostile_image *image, uint64_t at, unsigned width)
{
    return image_get(image, at, width, false);
}

static inline void le_put(struct hostile_image *image, uint64_t at, unsigned width, uint64_t value)
{
    image_put(image, at, width, value, false);
}

extern const uint8_t vhdx_image_guid_bat[16], vhdx_image_guid_items[6][16], vhdx_image_guid_unknown[16],
    vhdx_image_log_guid[16];

/* Positions in the file. item: as ENTRY_FILE and the following count. */
void vhdx_image_mend(struct hostile_image *image, uint64_t at, size_t length);
uint64_t vhdx_image_header(struct hostile_image *image, bool newer);
uint64_t vhdx_image_region_entry(struct hostile_image *image, uint64_t table, const uint8_t guid[16]);
uint64_t vhdx_image_bat(struct hostile_image *image);
uint64_t vhdx_image_metadata(struct hostile_image *image);
uint64_t vhdx_image_item_entry(struct hostile_image *image, unsigned item);
uint64_t vhdx_image_item(struct hostile_image *image, unsigned item);
uint64_t vhdx_image_log(struct hostile_image *image);
void vhdx_image_apply(struct hostile_image *image, const struct hostile_patch *patch);
void vhdx_image_log_data(uint8_t *entry, unsigned index, unsigned count, const uint8_t *page, uint64_t at,
                         uint64_t sequence);
void vhdx_image_log_write(struct hostile_image *image, uint64_t position, uint64_t sequence, const uint8_t guid[16]);
void vhdx_image_log_guid_set(struct hostile_image *image);
void vhdx_image_make(const char *dir, unsigned base, const char *path);

#endif
