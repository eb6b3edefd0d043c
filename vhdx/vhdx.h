/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An open VHDX file.
 *
 * The BAT and the sector bitmaps are kept in memory as they stand in the file, page by page (disk/table.h), and are
 * changed in place with atomic operations. map and publish take no lock. lock serialises what decides about space:
 * loading, reserve, drop, and the copying of changed pages for the log.
 *
 * The life of a payload block's entry: reserve gives it a home (VHDX_ENTRY_HOME, the state is still the old one);
 * publish makes it present; drop makes it zero. Only publish moves it without the lock, and only from home to present,
 * by compare and swap. In the file an entry with a home has its old state and no position.
 *
 * A sector's bit is set before its block's entry becomes partially-present, and a block that is not present has no bit
 * set before it gets a home: so no order of copying the two pages shows what was not written.
 *
 * A sync that finds no space has no way back. So what it writes has storage before: the headers and the log's entries
 * from begin on, a page of the BAT and a sector bitmap block before the first change to it.
 */
#ifndef VHDX_VHDX_H
#define VHDX_VHDX_H

#include "bat.h"
#include "disk/table.h"
#include "log.h"

/* A page of the BAT in memory. SOLID: loaded, and its place in the file has storage. */
enum { VHDX_PAGE_UNKNOWN, VHDX_PAGE_HOLE, VHDX_PAGE_LOADED, VHDX_PAGE_SOLID };

/* Space in the file. */
struct vhdx_run {
    uint64_t position, length;
};

struct vhdx_runs {
    struct vhdx_run *run;
    size_t count, room;
};

struct vhdx {
    struct vdisk disk;
    struct vhdx_shape shape;
    struct vhdx_metadata metadata;
    struct vhdx_regions regions;
    struct vhdx_locator locator;
    bool replayed;  /* the log held something when the file was opened */
    uint64_t limit; /* the file's size at open: nothing in the file's own entries may lie behind */

    struct table *bat;
    _Atomic unsigned char *pages;     /* of the BAT: VHDX_PAGE_...; a loaded page has been verified, a hole is zeros */
    _Atomic(struct table *) *bitmaps; /* by chunk; there once the sector bitmap block is durable */
    _Atomic bool *solid;              /* by chunk: and the block has storage */
    _Atomic bool begun;               /* the headers say that this open writes */
    _Atomic unsigned publishing;      /* publishes that may have changed a page and not marked it yet */

    pthread_mutex_t lock;
    struct vhdx_guid next_guid; /* the DataWriteGuid that the next begin takes; zero: any */

    /* Under lock; begin, a sync run and close also write header and slot, one after the other. */
    struct vhdx_header header;
    unsigned slot;
    uint64_t end;               /* of allocated space; the file may be longer */
    struct vhdx_runs available; /* reads as zeros; whole payload blocks */
    struct vhdx_runs pending;   /* given up, but the entry that names it may still be durable */

    /* Who runs sync, and which runs are over. */
    pthread_mutex_t sync_lock;
    pthread_cond_t sync_done;
    bool sync_running;
    uint64_t sync_started, sync_finished;
    int sync_error; /* the first, for ever */

    /* The running sync's own. */
    struct vhdx_log log;
    bool log_active;          /* the headers name log.guid */
    struct vhdx_batch *batch; /* one is kept */
};

static inline struct vhdx *vhdx_of(struct vdisk *disk)
{
    return (struct vhdx *)disk;
}

/* ---- table.c: pages and entries ---- */

/* The entry in memory, or NULL: its page is not loaded. */
_Atomic uint64_t *vhdx_entry_at(const struct vhdx *v, uint64_t index);
/* False: not in memory. */
bool vhdx_entry_get(const struct vhdx *v, uint64_t index, uint64_t *entry);
void vhdx_entry_mark(struct vhdx *v, uint64_t index);

/* Loads and verifies the page of an entry. Under lock. Unless it is for writing, a hole may stay a hole. */
int vhdx_entry_load(struct vhdx *v, uint64_t index, bool write);

/* The bits of [offset, offset + length) in one block; the pages are loaded, or the answer is false. */
struct vhdx_bits {
    struct table *table;
    uint64_t first, count;
};
bool vhdx_bits_of(const struct vhdx *v, uint64_t offset, uint64_t length, struct vhdx_bits *bits);
/* How many bits from the first on are equal, as far as loaded; 0: not loaded. */
uint64_t vhdx_bits_run(const struct vhdx_bits *bits, bool *set);
bool vhdx_bits_loaded(const struct vhdx_bits *bits); /* all of them */
void vhdx_bits_set(const struct vhdx_bits *bits);
void vhdx_bits_clear(const struct vhdx_bits *bits);
/* Loads their pages. Under lock. */
int vhdx_bits_load(struct vhdx *v, const struct vhdx_bits *bits);

/* ---- space.c. Under lock. ---- */

int vhdx_space_begin(struct vhdx *v);                                     /* before the first modification */
int vhdx_space_begin_file(struct vhdx *v); /* before one that no guest can see: the disk keeps its identity */
int vhdx_space_take(struct vhdx *v, uint64_t length, uint64_t *position); /* reads as zeros */
void vhdx_space_trim(struct vhdx *v); /* gives available space at the end back to nobody: end moves */
void vhdx_runs_add(struct vhdx_runs *runs, uint64_t position, uint64_t length);
/* Makes runs read as zeros and available, and empties them. Takes the lock itself. */
void vhdx_space_recycle(struct vhdx *v, struct vhdx_runs *runs);

/* ---- sync.c ---- */

/* Batches become durable, through the log and in place, after everything that was written before. Nobody else syncs. */
int vhdx_log_commit(struct vhdx *v, struct vhdx_batch *batches, uint64_t flushed, uint64_t last);

/* The header while others write: taken between two runs of sync. Returns its slot. (sync.c) */
unsigned vhdx_header_copy(struct vhdx *v, struct vhdx_header *copy);

/* ---- What disk_format has ---- */

int vhdx_map(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length, struct disk_extent *extent);
void vhdx_publish(struct vdisk *disk, uint64_t offset, uint64_t length, uint64_t position);
int vhdx_reserve(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length);
int64_t vhdx_drop(struct vdisk *disk, uint64_t offset, uint64_t length);
int vhdx_sync(struct vdisk *disk);
/* Through the log: all pages of the batch or none, durable in place. Nothing else is running, and all is begun. */
int vhdx_sync_pages(struct vhdx *v, struct vhdx_batch *batch);
int vhdx_relink(struct vdisk *disk, const struct disk_link *link);
int vhdx_locate(struct vdisk *disk, uint64_t offset, uint64_t *position);
int vhdx_reclaim(struct vdisk *disk);
int vhdx_relocate(struct vdisk *disk, uint64_t offset, uint64_t *moved);
int vhdx_resize(struct vdisk *disk, uint64_t size, uint64_t below);
int vhdx_open(struct vdisk *disk);
int vhdx_close(struct vdisk *disk);
int vhdx_settle(struct vdisk *disk);
int vhdx_create(struct file *file, const struct disk_geometry *geometry);
bool vhdx_mark(struct vdisk *disk, uint8_t mark[16]);
void vhdx_info(struct vdisk *disk, vdisk_field_fn *field, void *arg);
int vhdx_check(struct file *file, const struct vdisk_progress *progress, vdisk_fault_fn *fault, void *arg);
int vhdx_repair(struct file *file, struct disk_repair *repair);
int vhdx_parent_paths(struct vdisk *disk, char *paths[DISK_PARENT_NAMES]);
int vhdx_parent_names(struct vdisk *disk, char *names[DISK_PARENT_NAMES]);
bool vhdx_parent_matches(struct vdisk *disk, struct vdisk *parent, char expected[64], char found[64]);

#endif
