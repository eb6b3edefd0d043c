/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of a move say to each other: move.c the order of it, move_copy.c bytes, move_file.c parents. */
#ifndef DISK_MOVE_H
#define DISK_MOVE_H

#include "pace.h"
#include "port.h"

struct move_copy;

struct move {
    struct vdisk_port *port;
    const struct vdisk_move_options *options;
    const struct vdisk_progress *progress;
    struct vdisk *source, *target;
    bool chain, flatten;
    bool parent_shared; /* the two have the same parent, open once */
    struct vdisk_log log;  /* of whoever asked */
    _Atomic bool told;     /* an error of the target */
    struct mirror *mirror;
    struct move_copy *copy;
    uint64_t total;   /* bytes of data when it began */
    uint64_t files;   /* of parents: copied before */
    struct pace pace;
    char **copied;    /* the parents' new names, DISK_CHAIN_MAX; NULL after the last */
    unsigned copies;
    struct vdisk_move_result result;
};

/* The disk behind the port goes over to the target, which is open under a temporary name and empty: what is described in
 * move.c. Of the two the caller closes, afterwards, the one that is not used. */
int move_to(struct move *m);

/* alone: what is the parent's is left to it, and the target has the same. */
int move_copy_open(struct vdisk *source, struct vdisk *target, bool alone, struct move_copy **copy);
void move_copy_close(struct move_copy *copy); /* NULL is allowed */

/* Makes [offset, offset + length) of the target what the source shows, which nobody changes meanwhile. written: the target
 * may hold something there; otherwise it reads as zeros, or as the parent. Blocks. 0 or -errno, said. */
int move_copy_range(struct move_copy *copy, uint64_t offset, uint64_t length, bool written);

struct vdisk_ring *move_copy_ring(struct move_copy *copy);

/* How many bytes were moved, and shared by the storage. */
uint64_t move_copy_moved(const struct move_copy *copy);
uint64_t move_copy_shared(const struct move_copy *copy);

/* Copies the file of a link, which nobody changes, to path, which must not exist, byte by byte with its holes; durable under
 * its name when this returns, and not there at all where it fails. */
int move_file_copy(struct move *m, const struct vdisk *link, const char *path);

/* So many bytes are done of the file in hand. */
void move_tell(const struct move *m, uint64_t done);

/* The name of path in the directory; malloced. NULL: out of memory. */
char *move_file_name(const char *directory, const char *path);

#endif
