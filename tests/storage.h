/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Storage that is only memory, and remembers: every write, resize, zero and sync of a file with when it began and ended,
 * so that the states that a power cut could have left can be built afterwards.
 *
 * What a cut at time t leaves: everything that ended before the start of the last sync that had ended by t, and of what
 * began later any part, torn at 512 or 4096 bytes; the length is that of any one resize that was not yet durable, or
 * the durable one; space that was never durable holds zeros or junk.
 */
#ifndef TESTS_STORAGE_H
#define TESTS_STORAGE_H

#include "disk/file.h"
#include "tests/support.h"

struct storage;

enum storage_kind { STORAGE_WRITE, STORAGE_ZERO, STORAGE_RESIZE, STORAGE_SYNC, STORAGE_READ, STORAGE_ALLOCATE };

struct storage_op {
    enum storage_kind kind;
    uint64_t position, length; /* RESIZE: position is the new size */
    uint64_t old_size;         /* RESIZE: before */
    uint8_t *data;
    uint64_t begin, end; /* storage_clock */
    bool lost;           /* by a sync that failed */
};

struct storage *storage_new(void);
void storage_free(struct storage *storage);

/* The same bytes, without the history. */
struct storage *storage_copy(struct storage *storage);

/* A file over the storage; several may be open. name is for messages. */
int storage_open(struct storage *storage, const char *name, bool writable, const struct vdisk_log *log,
                 struct file **file);

/* From now on operations are remembered; the bytes now are durable. */
void storage_record(struct storage *storage);
size_t storage_ops(struct storage *storage, struct storage_op **ops);

/* One clock for all storages and for whoever notes events beside them: strictly growing. */
uint64_t storage_clock(void);

/* Faults: of the operations of these kinds (1 << kind), the one of this number (1 is the next) fails with error; sticky:
 * and so do all after it. STORAGE_SHORT: a transfer ends after a sector of its first buffer. */
#define STORAGE_SHORT 1
void storage_fail(struct storage *storage, uint64_t number, unsigned kinds, int error, bool sticky);
uint64_t storage_count(struct storage *storage); /* of these kinds, since storage_fail */

/* From now on there is room for so many bytes more, in pages of 4 KiB: what needs another gets -ENOSPC. */
#define STORAGE_UNLIMITED UINT64_MAX
void storage_limit(struct storage *storage, uint64_t more);

/* A file system that knows no holes: none are found, none are made, and what grows takes storage. */
void storage_make_plain(struct storage *storage);

/* Else 512: what the guest relies on that no transfer ends inside of. */
void storage_set_sector(struct storage *storage, uint32_t bytes);

/* Writes the bytes to a file of the kernel. */
void storage_save(struct storage *storage, int fd);

/* ---- Cuts ---- */

struct storage_cut {
    struct storage *storage; /* recorded */
    uint64_t time;
    size_t *pending; /* ops that may or may not have happened, by index */
    size_t count;
};

/* What a cut at this time leaves open; times never go back. Free with storage_cut_free. */
void storage_cut_at(struct storage *storage, uint64_t time, struct storage_cut *cut);
void storage_cut_free(struct storage_cut *cut);

enum storage_keep { KEEP_NONE, KEEP_ALL, KEEP_TORN };

struct storage_choice {
    const uint8_t *keep; /* enum storage_keep for each pending op */
    uint64_t seed;       /* where torn ones are torn */
    unsigned tear;       /* 512 or 4096 */
    bool junk;           /* what was dropped in space that is new holds junk, else zeros */
};

struct storage *storage_after_cut(const struct storage_cut *cut, const struct storage_choice *choice);

#endif
