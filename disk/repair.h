/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One run of repair, as a format sees it. A format looks through the whole file as check does, tells what it mends and
 * what it does not, and then, unless the run is dry, does it: in an order in which every moment is one that a later run
 * goes on from. Only a dry run may be given a file that is open for reading.
 */
#ifndef DISK_REPAIR_H
#define DISK_REPAIR_H

#include "disk.h"

struct disk_repair {
    bool dry;
    const struct vdisk_progress *progress;
    vdisk_fault_fn *step; /* NULL: told before */
    void *arg;
    unsigned mends, refusals;
};

/* Tells one of them. */
void disk_repair_mend(struct disk_repair *repair, const char *code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* fault stays; advice: why, and what a person can do. */
void disk_repair_refuse(struct disk_repair *repair, const struct vdisk_fault *fault, const char *advice);

/* Can space in the middle of the file be given back? */
bool disk_repair_punches(struct file *file);

/* Why a fault of this code stays; a table ends with an entry without a code, which is for all others. */
struct disk_advice {
    const char *code, *text;
};
const char *disk_repair_advice(const struct disk_advice *table, const char *code);

#endif
