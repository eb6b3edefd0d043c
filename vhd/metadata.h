/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Footers, header and parent locators: read, checked, made. What is wrong comes back as a reason, so that open refuses
 * a file and check reports it in the same words.
 */
#ifndef VHD_METADATA_H
#define VHD_METADATA_H

#include "disk/disk.h"
#include "layout.h"

/* Why a file is refused: the sentence for open, and code and offset for check. */
struct vhd_reason {
    const char *code;
    uint64_t offset;
    char text[256];
};
int vhd_refuse(struct vhd_reason *reason, const char *code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5))); /* returns -EINVAL; reason may be NULL */

/* ---- footer.c ---- */

struct vhd_footers {
    struct vhd_footer end, copy;
    uint64_t end_at;            /* of the last footer; the file's size where there is none */
    bool end_there, copy_there; /* the cookie */
    bool end_valid, copy_valid; /* and the checksum */
    bool behind;                /* the file is longer: an interrupted resize */
};

uint32_t vhd_checksum(const void *data, size_t size, size_t field);
bool vhd_footer_valid(const struct vhd_footer *footer);
int vhd_footers_read(struct file *file, struct vhd_footers *footers);
int vhd_footer_choose(const struct vhd_footers *footers, struct vhd_footer *footer, struct vhd_reason *reason);
/* at: where the footer stands. */
int vhd_footer_check(const struct vhd_footer *footer, uint64_t at, struct vhd_reason *reason);
uint64_t vhd_footer_size(const struct vhd_footer *footer);
void vhd_geometry(uint64_t size, unsigned *cylinders, unsigned *heads, unsigned *sectors);
void vhd_footer_set_size(struct vhd_footer *footer, uint64_t size);
void vhd_footer_new(struct vhd_footer *footer, enum vhd_type type, uint64_t size);

/* search.c: 1: found at *at, 0: there is none, or -errno. */
int vhd_footer_search(struct file *file, struct vhd_footer *footer, uint64_t *at);

/* ---- header.c ---- */

struct vhd_range {
    uint64_t start, end;
    const char *what;
};

/* Where everything of a dynamic or differencing file stands. */
struct vhd_layout {
    uint64_t size; /* the guest's */
    uint64_t header_at, bat_at;
    uint64_t limit;        /* blocks end here: the last footer, or the file's end */
    uint64_t metadata_end; /* of the ranges */
    uint32_t blocks, max_entries, block_size, bitmap_size;
    unsigned ranges;
    struct vhd_range range[3 + VHD_LOCATORS]; /* no block may touch these */
};

int vhd_header_read(struct file *file, const struct vhd_footer *footer, uint64_t limit, struct vhd_header *header,
                    struct vhd_layout *layout, struct vhd_reason *reason);
int vhd_entry_check(const struct vhd_layout *layout, uint32_t block, uint32_t sector, struct vhd_reason *reason);
uint64_t vhd_block_bytes(const struct vhd_layout *layout, uint32_t block); /* that belong to the disk */

/* ---- create.c ---- */

/* Both: the text goes to *position, which moves behind it, in whole sectors. -EILSEQ: it is not UTF-8. */
int vhd_locator_write(struct file *file, struct vhd_locator *locator, const char *code, const char *path,
                      uint64_t *position);
int vhd_parent_write(struct file *file, struct vhd_header *header, const struct disk_link *link, uint64_t *position);

/* ---- locator.c ---- */

int vhd_locator_read(struct file *file, const struct vhd_locator *locator, char **text);
char *vhd_parent_name(const struct vhd_header *header);
int vhd_parent_paths(struct vdisk *disk, char *paths[DISK_PARENT_NAMES]);
int vhd_parent_names(struct vdisk *disk, char *names[DISK_PARENT_NAMES]);
bool vhd_parent_matches(struct vdisk *disk, struct vdisk *parent, char expected[64], char found[64]);
void vhd_locator_range(const struct vhd_locator *locator, uint64_t *start, uint64_t *end);
char *vhd_utf16_of(const char *text, const char *order, size_t *bytes);

#endif
