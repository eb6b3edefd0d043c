/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Simulated storages under names of real, empty files, which the library's paths lead to, and when these names came and
 * went. For test programs in which file_open, file_sync_directory, renameat2 and unlink are these (see the Makefile).
 */
#ifndef TESTS_NAMES_H
#define TESTS_NAMES_H

#include "disk/disk.h"
#include "tests/storage.h"

struct name {
    char path[TEST_PATH];
    struct storage *storage;
    bool ours;   /* to be freed: the library made it */
    bool stands; /* the path leads to it */
    uint64_t given, durable, removing,
        removed; /* storage_clock: by rename; since a sync of its directory; 0: not yet */
};

/* The storage stands there from now on, open as disk: whose file says so too. */
void names_add(const char *path, struct storage *storage, struct vdisk *disk);
void names_clear(void);

/* What stands there, or stood there last; NULL: nothing. */
struct name *names_find(const char *path);
unsigned names_standing(void);

/* Called with each file that the library makes. */
extern void (*names_made)(struct name *name);

/* The next of these calls fails, if it is about a path with this in it. */
enum names_call { NAMES_NONE, NAMES_CREATE, NAMES_RENAME, NAMES_SYNC, NAMES_UNLINK };

void names_fail(enum names_call call, const char *part, int error);
bool names_failed(void); /* and it has */

#endif
