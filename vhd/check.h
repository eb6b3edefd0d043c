/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One walk over a file's metadata, which check tells of and repair plans by: what has been read, and where faults go.
 */
#ifndef VHD_CHECK_H
#define VHD_CHECK_H

#include "vhd.h"

#define CHECK_TOLD_MAX 1000u /* faults */

struct check {
    /* The caller's. */
    struct file *file;
    const struct vdisk_progress *progress;
    vdisk_fault_fn *fault;
    void *arg;
    bool all; /* faults without number are told */

    /* What was found, as far as the walk came. */
    unsigned faults, told;
    bool whole; /* the walk came to its end: all structures were read */
    struct vhd_footers footers;
    struct vhd_footer footer;
    struct vhd_header header;
    struct vhd_layout layout;
    uint64_t *used; /* sector << 32 | block of every entry that is right for itself, in order */
    uint32_t count;
};

/* As disk_format has check. Free it whatever is returned. */
int vhd_check_walk(struct check *c);
void vhd_check_free(struct check *c);

void check_tell(struct check *c, enum vdisk_severity severity, const char *code, uint64_t offset, const char *format,
                ...) __attribute__((format(printf, 5, 6)));
void check_leak(struct check *c, const char *code, uint64_t offset, uint64_t length, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void check_reason(struct check *c, const struct vhd_reason *reason);

/* -ECANCELED where the caller wants no more. */
int check_step(const struct check *c, uint64_t done, uint64_t total);

/* What a used entry spans. */
static inline uint64_t check_start_of(uint64_t used)
{
    return (used >> 32) * VHD_SECTOR;
}

static inline uint64_t check_end_of(const struct check *c, uint64_t used)
{
    return check_start_of(used) + c->layout.bitmap_size + vhd_block_bytes(&c->layout, (uint32_t)used);
}

/* check_bat.c. 0 or -errno. */
int check_bat(struct check *c);
int check_bitmaps(struct check *c);
void check_gaps(struct check *c);

#endif
