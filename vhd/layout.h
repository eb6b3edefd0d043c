/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands in a VHD file. Source: "Virtual Hard Disk Image Format Specification", Microsoft, version 1.0 (2006); its
 * sections are named in quotes. All integers are big-endian. A file is one of
 *
 *     fixed:                  data | footer
 *     dynamic, differencing:  copy of the footer | header | BAT, parent locators | blocks | footer
 *
 * in sectors of 512 bytes; a block is its sector bitmap, padded to whole sectors, and then its data.
 */
#ifndef VHD_LAYOUT_H
#define VHD_LAYOUT_H

#include "disk/endian.h"

#define VHD_SECTOR 512u
#define VHD_ALIGN 4096u /* where Windows lets the data of a block begin, and ends the file */
#define VHD_SIZE_MAX (UINT64_C(2040) << 30)
#define VHD_GEOMETRY_MAX (UINT64_C(65535) * 16 * 255 * VHD_SECTOR) /* bytes; the geometry says no more */
#define VHD_BLOCK_MIN 4096u
#define VHD_BLOCK_MAX (256u << 20)
#define VHD_BLOCK_DEFAULT (2u << 20)
#define VHD_ENTRIES_MAX (16u << 20) /* what a BAT may have: 2040 GiB in blocks of 128 KiB; bounds memory */
#define VHD_UNUSED UINT32_C(0xFFFFFFFF)
#define VHD_NOWHERE UINT64_C(0xFFFFFFFFFFFFFFFF)
#define VHD_LOCATORS 8
#define VHD_LOCATOR_MAX 65536u /* bytes of text */
#define VHD_EPOCH 946684800    /* 2000-01-01 00:00 UTC in seconds of Unix */

#define VHD_COOKIE "conectix"
#define VHD_HEADER_COOKIE "cxsparse"
#define VHD_VERSION UINT32_C(0x00010000)
#define VHD_FEATURES 2u /* a reserved bit that is always set */

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

/* "Hard Disk Footer Format" */
struct vhd_footer {
    char cookie[8];              /* 0 */
    struct be32 features;        /* 8 */
    struct be32 version;         /* 12: major in the upper half */
    struct be64 data_offset;     /* 16: of the header; all ones in a fixed disk */
    struct be32 timestamp;       /* 24: seconds since VHD_EPOCH */
    char creator[4];             /* 28 */
    struct be32 creator_version; /* 32 */
    char creator_host[4];        /* 36 */
    struct be64 original_size;   /* 40 */
    struct be64 current_size;    /* 48 */
    struct be16 cylinders;       /* 56 */
    uint8_t heads;               /* 58 */
    uint8_t sectors_per_track;   /* 59 */
    struct be32 type;            /* 60 */
    struct be32 checksum;        /* 64: one's complement of the sum of all other bytes */
    uint8_t id[16];              /* 68 */
    uint8_t saved_state;         /* 84 */
    uint8_t reserved[427];       /* 85 */
};
_Static_assert(sizeof(struct vhd_footer) == 512, "Hard Disk Footer Format");

/* "Parent Locator Entries" */
struct vhd_locator {
    char code[4];         /* 0: W2ru, W2ku, MacX, ...; zero: none */
    struct be32 space;    /* 4: sectors by the specification, bytes in what Windows writes */
    struct be32 length;   /* 8: bytes */
    struct be32 reserved; /* 12 */
    struct be64 offset;   /* 16 */
};
_Static_assert(sizeof(struct vhd_locator) == 24, "Parent Locator Entries");

/* "Dynamic Disk Header Format" */
struct vhd_header {
    char cookie[8];                           /* 0 */
    struct be64 data_offset;                  /* 8: all ones */
    struct be64 table_offset;                 /* 16: of the BAT */
    struct be32 version;                      /* 24 */
    struct be32 max_entries;                  /* 28: of the BAT */
    struct be32 block_size;                   /* 32 */
    struct be32 checksum;                     /* 36 */
    uint8_t parent_id[16];                    /* 40 */
    struct be32 parent_timestamp;             /* 56 */
    struct be32 reserved;                     /* 60 */
    uint8_t parent_name[512];                 /* 64: UTF-16, big-endian */
    struct vhd_locator locator[VHD_LOCATORS]; /* 576 */
    uint8_t reserved2[256];                   /* 768 */
};
_Static_assert(sizeof(struct vhd_header) == 1024, "Dynamic Disk Header Format");

#endif
