/* SPDX-License-Identifier: BSD-2-Clause */
/* Children that nobody has named: images in a directory whose recorded parent is a disk. */
#ifndef DISK_FAMILY_H
#define DISK_FAMILY_H

#include "disk.h"

struct family {
    char **path; /* malloced, each too */
    size_t count;
};

/* Adds the images in the directory of the file at beside that are children of the parent, but for those in the chain
 * from top on. What cannot be opened is none. -ENOMEM, or the directory's error. */
int family_find(struct family *family, struct vdisk *parent, const char *beside, struct vdisk *top);
int family_add(struct family *family, const char *path); /* once */
void family_free(struct family *family);

#endif
