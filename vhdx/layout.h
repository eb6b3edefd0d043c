/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stands in a VHDX file, byte by byte; the BAT is in bat.h. [MS-VHDX] version 20240423. All integers are
 * little-endian, a GUID's first three fields too.
 */
#ifndef VHDX_LAYOUT_H
#define VHDX_LAYOUT_H

#include "disk/endian.h"

#define VHDX_MIB (UINT64_C(1) << 20)
#define VHDX_PAGE 4096u /* the unit of the log */

#define VHDX_HEADER_AT(slot) (65536u * (1u + (slot))) /* slot 0 or 1 */
#define VHDX_REGION_TABLE_AT(slot) (65536u * (3u + (slot)))
#define VHDX_TABLE_SIZE 65536u /* of a region table, of a metadata table */
#define VHDX_TABLE_ENTRIES_MAX 2047u

struct vhdx_guid {
    uint8_t byte[16];
};

/* A GUID as the specification prints it. */
#define VHDX_GUID(a, b, c, d0, d1, d2, d3, d4, d5, d6, d7)                                                             \
    {                                                                                                                  \
        {                                                                                                              \
            (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff, (b)&0xff, (b) >> 8 & 0xff, (c)&0xff,      \
                (c) >> 8 & 0xff, d0, d1, d2, d3, d4, d5, d6, d7                                                        \
        }                                                                                                              \
    }

/* 2.2.1 */
struct vhdx_identifier {
    uint8_t signature[8];     /* 0: "vhdxfile" */
    struct le16 creator[256]; /* 8: UTF-16 */
};
_Static_assert(sizeof(struct vhdx_identifier) == 520, "[MS-VHDX] 2.2.1");

/* 2.2.2 */
struct vhdx_header {
    uint8_t signature[4];             /* 0: "head" */
    struct le32 checksum;             /* 4: CRC-32C of the 4 KiB */
    struct le64 sequence;             /* 8 */
    struct vhdx_guid file_write_guid; /* 16 */
    struct vhdx_guid data_write_guid; /* 32 */
    struct vhdx_guid log_guid;        /* 48: zero: nothing to replay */
    struct le16 log_version;          /* 64: 0 */
    struct le16 version;              /* 66: 1 */
    struct le32 log_length;           /* 68: multiple of 1 MiB */
    struct le64 log_offset;           /* 72: multiple of 1 MiB */
    uint8_t reserved[4016];           /* 80 */
};
_Static_assert(sizeof(struct vhdx_header) == 4096, "[MS-VHDX] 2.2.2");

/* 2.2.3 */
struct vhdx_region_header {
    uint8_t signature[4];    /* 0: "regi" */
    struct le32 checksum;    /* 4: CRC-32C of the 64 KiB */
    struct le32 entry_count; /* 8 */
    uint8_t reserved[4];     /* 12 */
};
_Static_assert(sizeof(struct vhdx_region_header) == 16, "[MS-VHDX] 2.2.3.1");

struct vhdx_region_entry {
    struct vhdx_guid guid;   /* 0 */
    struct le64 file_offset; /* 16 */
    struct le32 length;      /* 24 */
    struct le32 required;    /* 28: bit 0 */
};
_Static_assert(sizeof(struct vhdx_region_entry) == 32, "[MS-VHDX] 2.2.3.2");

/* 2.3.1 */
struct vhdx_log_header {
    uint8_t signature[4];            /* 0: "loge" */
    struct le32 checksum;            /* 4: CRC-32C of the entry */
    struct le32 entry_length;        /* 8 */
    struct le32 tail;                /* 12: offset in the log */
    struct le64 sequence;            /* 16 */
    struct le32 descriptor_count;    /* 24 */
    uint8_t reserved[4];             /* 28 */
    struct vhdx_guid log_guid;       /* 32 */
    struct le64 flushed_file_offset; /* 48 */
    struct le64 last_file_offset;    /* 56 */
};
_Static_assert(sizeof(struct vhdx_log_header) == 64, "[MS-VHDX] 2.3.1.1");

/* Both kinds of descriptor: what differs is what the two fields after the signature hold. */
struct vhdx_log_descriptor {
    uint8_t signature[4]; /* 0: "desc" or "zero" */
    uint8_t trailing[4];  /* 4: data: the page's last 4 bytes; zero: reserved */
    union {
        uint8_t leading[8];      /* 8: data: the page's first 8 bytes */
        struct le64 zero_length; /* 8: zero */
    };
    struct le64 file_offset; /* 16 */
    struct le64 sequence;    /* 24: the entry's */
};
_Static_assert(sizeof(struct vhdx_log_descriptor) == 32, "[MS-VHDX] 2.3.1.2, 2.3.1.3");

struct vhdx_log_data {
    uint8_t signature[4];      /* 0: "data" */
    struct le32 sequence_high; /* 4 */
    uint8_t bytes[4084];       /* 8: bytes 8 to 4091 of the page */
    struct le32 sequence_low;  /* 4092 */
};
_Static_assert(sizeof(struct vhdx_log_data) == 4096, "[MS-VHDX] 2.3.1.4");

/* 2.6.1 */
struct vhdx_metadata_header {
    uint8_t signature[8];    /* 0: "metadata" */
    uint8_t reserved[2];     /* 8 */
    struct le16 entry_count; /* 10 */
    uint8_t reserved2[20];   /* 12 */
};
_Static_assert(sizeof(struct vhdx_metadata_header) == 32, "[MS-VHDX] 2.6.1.1");

struct vhdx_metadata_entry {
    struct vhdx_guid item; /* 0 */
    struct le32 offset;    /* 16: in the region, at least 64 KiB */
    struct le32 length;    /* 20 */
    struct le32 flags;     /* 24: VHDX_ITEM_... */
    uint8_t reserved[4];   /* 28 */
};
_Static_assert(sizeof(struct vhdx_metadata_entry) == 32, "[MS-VHDX] 2.6.1.2");

#define VHDX_ITEM_USER 0x1u
#define VHDX_ITEM_VIRTUAL_DISK 0x2u
#define VHDX_ITEM_REQUIRED 0x4u

/* 2.6.2.1, the second word */
#define VHDX_LEAVE_BLOCKS_ALLOCATED 0x1u
#define VHDX_HAS_PARENT 0x2u

/* 2.6.2.6 */
struct vhdx_locator_header {
    struct vhdx_guid type;       /* 0 */
    uint8_t reserved[2];         /* 16 */
    struct le16 key_value_count; /* 18 */
};
_Static_assert(sizeof(struct vhdx_locator_header) == 20, "[MS-VHDX] 2.6.2.6.1");

struct vhdx_locator_entry {
    struct le32 key_offset;   /* 0: in the item */
    struct le32 value_offset; /* 4 */
    struct le16 key_length;   /* 8: bytes */
    struct le16 value_length; /* 10 */
};
_Static_assert(sizeof(struct vhdx_locator_entry) == 12, "[MS-VHDX] 2.6.2.6.2");

#endif
