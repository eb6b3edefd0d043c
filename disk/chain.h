/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening one link, finding its parent, and naming formats: what open, create and check share. */
#ifndef DISK_CHAIN_H
#define DISK_CHAIN_H

#include "disk.h"

/* Says a sentence that names a path before there is a file. Returns error. */
int chain_error(const struct vdisk_log *log, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The format of that name, or NULL, said in the log. */
const struct disk_format *chain_format_named(const char *name, const struct vdisk_log *log);
/* The format whose suffix the path bears, or NULL (not said). */
const struct disk_format *chain_format_of_suffix(const char *path);
/* The format of an open file: the name given, or the signature. For writing, the path's suffix has to agree. */
int chain_format_of_file(struct file *file, const char *name, const struct disk_format **format);

/* One link over an open file, which it takes on success. */
int link_open(struct file *file, const struct disk_format *format, bool alone, struct vdisk **disk);
int link_close(struct vdisk *disk);
/* The file of a disk at rest was changed: *fresh is the disk as it is now, with everything that the old one had, which is
 * gone. On failure *fresh is the old one, of which nothing can be read or written any more. */
int link_reopen(struct vdisk *disk, struct vdisk **fresh);
/* A link that is open for reading, open for writing too, beside the one that is, whose place in the chain it has to take:
 * points are accounted for there from now on. -EBUSY, said: somebody else has the file open. */
int link_open_again(struct vdisk *link, struct vdisk **fresh);

/* The link of the chain from top on whose file that is; NULL: there is none. _named: said. */
struct vdisk *chain_find(struct vdisk *top, uint64_t device, uint64_t inode);
struct vdisk *chain_named(struct vdisk *top, const char *path);
struct vdisk *chain_above(struct vdisk *top, const struct vdisk *link); /* whose parent it is; NULL: the top */

/* -ELOOP, said: with a child, at path, on this disk the chain would have more links than are opened again. */
int chain_refuse_child(const struct vdisk *parent, const char *path, const struct vdisk_log *log);

/* A child of an open disk, under a temporary name, open for writing; its parent is that disk, which stays the caller's
 * where this fails. create_appear gives it its name, durably; until then closing it removes it. */
int create_child(const char *path, const struct vdisk_create_options *options, struct vdisk *parent,
                 struct vdisk **disk);
int create_appear(struct vdisk *disk);

/* How a child says where its parent is: '/' between the parts, both beginning as struct disk_geometry has it. */
struct create_paths {
    char *relative, *absolute;
};
int create_paths_make(const char *child, const char *parent, const struct vdisk_log *log, struct create_paths *paths);
void create_paths_free(struct create_paths *paths);

/* Finds and opens the parents of a differencing disk, down to the last. */
int chain_open_parents(struct vdisk *disk, const struct vdisk_open_options *options);

#endif
