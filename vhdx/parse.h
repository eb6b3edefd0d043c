/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a VHDX file's structures, for open and for check alike: every function verifies what it reads and tells each
 * fault to a report.
 */
#ifndef VHDX_PARSE_H
#define VHDX_PARSE_H

#include "disk/disk.h"
#include "layout.h"

#define VHDX_GUID_TEXT 39 /* "{00000000-0000-0000-0000-000000000000}" and its end */

/* Where faults go. Without a function the first one is said in the file's log, for open; with one each is told to it,
 * for check. */
struct vhdx_report {
    struct file *file;
    vdisk_fault_fn *fault;
    void *arg;
    unsigned faults;
    int error; /* the storage's: the file could not be read */
};

/* Tells a fault and returns -EIO. offset is in the file. */
int vhdx_fault(struct vhdx_report *report, const char *code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void vhdx_leak(struct vhdx_report *report, const char *code, uint64_t offset, uint64_t length, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Reads all of it or tells why not: what is the structure's name. */
int vhdx_read(struct vhdx_report *report, struct file *file, void *buffer, size_t length, uint64_t position,
              const char *what);

uint32_t vhdx_crc(uint32_t crc, const void *data, size_t length); /* CRC-32C; starts from 0 */
/* CRC-32C of a structure as if its checksum, 4 bytes at 4, were zero. */
uint32_t vhdx_checksum(const void *structure, size_t length);

bool vhdx_guid_is(const struct vhdx_guid *guid, const struct vhdx_guid *other);
bool vhdx_guid_is_zero(const struct vhdx_guid *guid);
struct vhdx_guid vhdx_guid_random(void);
void vhdx_guid_text(const struct vhdx_guid *guid, char text[VHDX_GUID_TEXT]);

/* UTF-16LE, and UTF-8 in malloced strings. -EILSEQ: not text. */
int vhdx_text_read(const void *utf16, size_t bytes, char **text);
int vhdx_text_write(const char *text, char **utf16, size_t *bytes);

/* ---- Headers ---- */

int vhdx_identifier_probe(struct file *file); /* as disk_format has it */
int vhdx_identifier_read(struct vhdx_report *report, struct file *file);

/* The current header and its slot; the log's place is verified. */
int vhdx_header_read(struct vhdx_report *report, struct file *file, struct vhdx_header *header, unsigned *slot);

/* Writes header to the other slot, then to its own, each durable before the next step, sequence numbers going up;
 * header and slot are then what stands in the file. The checksum is filled in. */
int vhdx_header_write(struct file *file, struct vhdx_header *header, unsigned *slot);

/* ---- Regions ---- */

struct vhdx_region {
    uint64_t position, length;
    const char *name;
};

/* Everything in the file that is not a block. */
struct vhdx_regions {
    struct vhdx_region *list; /* the header section, the log, the regions; by position */
    unsigned count;
    struct vhdx_region bat, metadata;
};

extern const struct vhdx_guid vhdx_guid_bat, vhdx_guid_metadata;

int vhdx_regions_read(struct vhdx_report *report, struct file *file, const struct vhdx_header *header,
                      struct vhdx_regions *regions);
void vhdx_regions_free(struct vhdx_regions *regions);
/* Writes over the table in this slot what the other one holds. Not yet durable. */
int vhdx_regions_copy(struct file *file, unsigned slot);
/* The table of one copy, which is valid, in its VHDX_TABLE_SIZE bytes; and another place of the BAT in it. */
int vhdx_regions_load(struct file *file, void *table);
int vhdx_regions_set_bat(void *table, uint64_t position, uint64_t length);
/* The one that shares a byte with the range, which ends before 2^64; or NULL. */
const struct vhdx_region *vhdx_regions_find(const struct vhdx_regions *regions, uint64_t position, uint64_t length);

/* ---- Metadata ---- */

struct vhdx_metadata {
    uint64_t size;
    uint32_t block_size, logical_sector, physical_sector;
    bool leave_blocks_allocated, has_parent;
    struct vhdx_guid disk_id;
    uint64_t size_position;    /* in the file, of the item */
    uint64_t locator_position; /* in the file; 0: there is none */
    uint32_t locator_length;
};

#define VHDX_SIZE_MAX (UINT64_C(64) << 40)

extern const struct vhdx_guid vhdx_item_file_parameters, vhdx_item_size, vhdx_item_disk_id, vhdx_item_logical_sector,
    vhdx_item_physical_sector, vhdx_item_locator, vhdx_locator_type;

int vhdx_metadata_read(struct vhdx_report *report, struct file *file, const struct vhdx_region *region,
                       struct vhdx_metadata *metadata);

/* What a parent locator says; NULL where it says nothing. */
struct vhdx_locator {
    char *linkage, *linkage2, *relative, *volume, *absolute;
};

int vhdx_locator_read(struct vhdx_report *report, struct file *file, const struct vhdx_metadata *metadata,
                      struct vhdx_locator *locator);
void vhdx_locator_free(struct vhdx_locator *locator);
/* The item, malloced. */
int vhdx_locator_write(const struct vhdx_locator *locator, uint8_t **item, size_t *length);
/* Fills in what a child records of a parent that has this DataWriteGuid. */
int vhdx_locator_make(const struct vhdx_guid *linkage, const char *relative, const char *absolute,
                      struct vhdx_locator *locator);

/* Where in the region an item of this length can stand in the locator's stead, and the table's page that says so, changed
 * to say it. entry: where the page is, in the file. */
int vhdx_metadata_move_locator(struct file *file, const struct vhdx_region *region, size_t length, uint64_t *position,
                               uint8_t page[VHDX_PAGE], uint64_t *entry);

#endif
