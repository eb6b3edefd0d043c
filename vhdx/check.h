/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One walk over a file's metadata, which check tells of and repair plans by.
 */
#ifndef VHDX_CHECK_H
#define VHDX_CHECK_H

#include "vhdx.h"

struct vhdx_check {
    /* The caller's. */
    struct vhdx_report report; /* file, fault and arg */
    const struct vdisk_progress *progress;
    struct file *view; /* the file with something laid over it, or NULL; looked at where the log holds nothing */

    /* What was found, as far as the walk came. */
    struct vhdx_header header;
    unsigned slot;
    struct vhdx_replay replay; /* with a view: the log is to be replayed */
    struct vhdx_regions regions;
    struct vhdx_metadata metadata;
    struct vhdx_shape shape;
    bool whole; /* the walk came to its end: all structures were read */

    uint64_t mibs;
    uint8_t *used; /* a bit for each MiB of the file */
    bool partial;  /* the chunk under way has a partially-present block: */
    uint64_t partial_block;
};

/* As disk_format has check. Free it whatever is returned. */
int vhdx_check_walk(struct vhdx_check *c);
void vhdx_check_free(struct vhdx_check *c);

#endif
