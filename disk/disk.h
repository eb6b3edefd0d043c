/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The contract between the engine and a format.
 *
 * A format does not move the guest's bytes. It answers where they live (map), gives a range a home before it is
 * written (reserve), lets map say that the bytes are there (publish), takes whole blocks away (drop), and makes all of
 * that durable in the right order (sync). The engine does the rest: it splits an io by map, walks the chain where
 * the answer is BELOW, and hands the pieces to the ring of the calling thread.
 *
 * Who calls what, and from where:
 *   map, publish      any thread, many at once; never block, take no lock that a blocking function holds
 *   reserve, drop     worker threads, several at once; may block; the format serialises them
 *   sync              worker threads, several at once; a caller returns when everything published before its call is
 *                     durable (callers that meet may share one run)
 *   info              one thread, while requests go on
 *   open, close, settle, relink, create, check, repair   one thread, nothing else running on the disk
 *
 * Ranges are inside the disk, multiples of its sector size, and not empty. Errors are -errno, said in the file's log
 * by the function that finds them.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include <pthread.h>
#include <stdatomic.h>

#include "file.h"
#include "vdisk.h"

#define DISK_CHAIN_MAX 256 /* links in a chain, the disk itself included */
#define DISK_PARENT_NAMES 8

enum disk_type { DISK_FIXED, DISK_DYNAMIC, DISK_DIFFERENCING };

enum disk_access { DISK_READ, DISK_WRITE };

struct disk_extent {
    enum vdisk_extent_kind kind;
    uint64_t length;   /* from the offset asked; at least one sector, at most what was asked */
    uint64_t position; /* DATA: in the disk's file */
    bool publish;      /* DATA for DISK_WRITE: call publish when the bytes are there */
    const char *state; /* the format's word, static */
};

struct disk_geometry {
    enum disk_type type;
    uint64_t size;
    uint32_t block_size; /* 0: the format's default */
    uint32_t sector_size, physical_sector_size;
    bool azure;
    struct vdisk *parent;        /* of this format, open; NULL but for differencing */
    const char *parent_relative; /* as it is to be stored, '/' between the parts: "./p.vhdx" */
    const char *parent_absolute; /* "/mnt/vms/p.vhdx" */
};

/* What a child is to record of its parent. */
struct disk_link {
    struct vdisk *parent;
    const char *relative, *absolute; /* as in disk_geometry; both NULL: the paths stay as they are */
    bool to_be_written; /* the parent will be: it stays this child's parent whether that has begun or not */
};

struct disk_repair;

struct disk_format {
    const char *name;
    const char *const *suffixes; /* ".vhdx", NULL-terminated; the first is the usual one */
    size_t object_size;          /* of the format's struct, whose first member is struct vdisk */

    /* 1: the file carries this format's signature; 0: not; or -errno. NULL: there is no signature (raw). */
    int (*probe)(struct file *file);

    /* The disk is zeroed but for file, log, writable, format. Fills size, sector sizes, block_size, type and its own
     * state, reads what it must and no more. On failure nothing is left behind but the file. */
    int (*open)(struct vdisk *disk);

    /* Frees its state. Writable: everything is durable and the file is left clean first; the error is returned. Not
     * called for a disk whose open failed. */
    int (*close)(struct vdisk *disk);

    /* Writes the metadata of a new image into an empty file. geometry is valid in general (sector sizes, parent);
     * the format refuses what it cannot hold. */
    int (*create)(struct file *file, const struct disk_geometry *geometry);

    /* Where does [offset, ...) live? -EAGAIN: not in memory, or for DISK_WRITE without a home: call reserve. For
     * DISK_WRITE the answer is always DATA. DISK_READ of a reserved range that is not published gives the old answer. */
    int (*map)(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length,
               struct disk_extent *extent);

    /* After success map answers for at least the first part of the range (later a drop may change that again).
     * NULL: map never says -EAGAIN. */
    int (*reserve)(struct vdisk *disk, enum disk_access access, uint64_t offset, uint64_t length);

    /* The bytes of [offset, length) are at position. Ignored where the home was taken away by drop since. */
    void (*publish)(struct vdisk *disk, uint64_t offset, uint64_t length, uint64_t position);

    /* Makes as much as it can of the range, from offset on, read as zeros by metadata alone, whatever a parent holds,
     * and frees the space after disk_grace. Returns how many bytes it did; 0: this part needs zeros written; or -errno.
     * NULL: always 0. */
    int64_t (*drop)(struct vdisk *disk, uint64_t offset, uint64_t length);

    int (*sync)(struct vdisk *disk);

    /* Everything is durable and the file as clean as close leaves it, but the disk stays open: to be read, or to begin
     * writing anew (with new identifiers, where the format has them). Nothing is in flight. NULL: sync is enough. */
    int (*settle)(struct vdisk *disk);

    /* For compaction, beside requests but reclaim. NULL, all three: there is nothing to move.
     * locate: 1: the block at offset, of block_size, has a place in the file; 0: it has none; or -errno. May block.
     * reclaim: nothing runs, all is durable: space in the file that nothing names becomes free for new blocks.
     * relocate: the block, in which nobody writes (disk_hold), goes to the first free place before its own, and its old place
     * is free once the next sync has made that durable. Adds to *moved the bytes that it copied. 0: there is no place. */
    int (*locate)(struct vdisk *disk, uint64_t offset, uint64_t *position);
    int (*reclaim)(struct vdisk *disk);
    int (*relocate)(struct vdisk *disk, uint64_t offset, uint64_t *moved);

    /* Gives a settled disk, on which nothing runs, another size. below: how much of a parent there
     * is. Whatever the moment of a power cut, the file opens with the old size or the new one, and what both have is as it
     * was. What the disk gains in new blocks reads as zeros, whatever a parent holds; the space of what it loses is given
     * back. Whatever is returned, the file is then clean and the disk good for nothing but close, which leaves the file
     * alone. NULL: cannot. */
    int (*resize)(struct vdisk *disk, uint64_t size, uint64_t below);

    /* 16 bytes that tell this image's content from others. True: they are other ones after every change of the content,
     * whoever made it, and disk_mark_changes is called before that. May be asked after close. NULL: there are none. */
    bool (*mark)(struct vdisk *disk, uint8_t mark[16]);

    void (*info)(struct vdisk *disk, vdisk_field_fn *field, void *arg);

    /* See vdisk_check. The file is open read-only. */
    int (*check)(struct file *file, const struct vdisk_progress *progress, vdisk_fault_fn *fault, void *arg);

    /* See repair.h. NULL: there is nothing to mend. */
    int (*repair)(struct file *file, struct disk_repair *repair);

    /* Differencing. names: where the child says that its parent is, best first, UTF-8, with '/' between the parts,
     * drive letters and volumes removed ("./p.vhdx", "Projects/x/p.vhdx"); malloced, the rest NULL. */
    int (*parent_names)(struct vdisk *disk, char *names[DISK_PARENT_NAMES]);

    /* The same, as it stands in the file ("C:\\Projects\\x\\p.vhdx"). */
    int (*parent_paths)(struct vdisk *disk, char *paths[DISK_PARENT_NAMES]);

    /* Records the parent, durably, all or nothing. Neither what a guest reads changes by it nor the disk's identity. */
    int (*relink)(struct vdisk *disk, const struct disk_link *link);

    /* Is this the parent that the child was made from? Both identities are given as text, for the message. A child
     * without an identity recorded matches nothing. */
    bool (*parent_matches)(struct vdisk *disk, struct vdisk *parent, char expected[64], char found[64]);
};

/* Defined beside the library's list of formats; NULL-terminated; raw is the last. */
extern const struct disk_format *const disk_formats[];

#define DISK_EPOCH_SLOTS 16

/* How many of whatever is counted are under way, by the epoch in which they began: see epoch.c. */
struct disk_epoch {
    _Atomic unsigned current;
    struct {
        _Alignas(64) _Atomic unsigned pieces[2];
    } slot[DISK_EPOCH_SLOTS];
    pthread_mutex_t lock; /* one grace at a time */
};

struct disk_worker;
struct track;
struct disk_dirty;

struct io_list {
    struct vdisk_io *head, **tail;
};

/* A range that nobody changes: hold.c. */
struct disk_hold {
    _Atomic bool active;
    _Atomic uint64_t start, end;
    struct disk_epoch zeroing; /* parts of ZERO and DISCARD that are under way */
    pthread_mutex_t lock;
    struct io_list waiting; /* under lock */
};

struct vdisk {
    const struct disk_format *format;
    struct file *file;
    struct vdisk *parent;
    struct vdisk_log log;
    bool writable;
    bool alone; /* opened with VDISK_OPEN_ALONE */

    /* Set by the format's open. */
    enum disk_type type;
    uint64_t size;
    uint32_t sector_size, physical_sector_size, block_size;
    bool tail_reads_zero; /* the file may end inside the last sector (raw) */

    /* The engine's. */
    _Atomic int failed; /* the error after which nothing may be written any more */
    struct disk_epoch epoch; /* of the pieces that asked map */
    struct disk_hold hold;
    struct disk_worker *worker;
    struct track *track; /* NULL: it has no points (track.h); changed while nothing is in flight */
    _Atomic(struct disk_dirty *) dirty; /* where changes are noted, or NULL; put and taken by whoever merges the disk */
    struct vdisk *walked_by; /* of a parent that is written to: the top whose requests come down to it */
    pthread_mutex_t data_lock;
    uint64_t data_start, data_end; /* under data_lock: a run of the file seen to hold data (map.c) */
    char *temporary; /* a created disk's name until it is committed to file->path; NULL too where it is to have none */
    bool replace;    /* a file that stands there then */
    struct file *replaced; /* that file, which nobody may open meanwhile; NULL: there is none */
};

/* Waits until every piece that asked map before this call has completed. Called from reserve, drop and sync, without
 * holding a lock that map or publish take. */
void disk_grace(struct vdisk *disk);

/* From return to disk_release no write, zero or discard is in the range, or enters it: they wait without a thread, and
 * reads go on. One range at a time; blocks. No port of the disk may be paused meanwhile: that waits for those who wait. */
void disk_hold(struct vdisk *disk, uint64_t offset, uint64_t length);
void disk_release(struct vdisk *disk);

/* The disk is settled, and its lock becomes that of a reader: others may open it as a parent, nobody may write. Nothing is
 * in flight. And back: -EBUSY where somebody else has opened it since. */
int disk_freeze(struct vdisk *disk);
int disk_thaw(struct vdisk *disk);

/* For resize: of the block in which the smaller of both sizes ends, what is behind it becomes zero in the disk's own
 * file, durably, so that neither a guest's old bytes nor a parent's show when the disk is, or later becomes, larger. */
int disk_clear_tail(struct vdisk *disk, uint64_t size, uint64_t below);

/* The image is about to get this mark: called by its format before that, without its being in the file in any part. */
int disk_mark_changes(struct vdisk *disk, const uint8_t mark[16]);

/* A range is about to be changed by other means than an io (a merge, a resize): it counts as changed. Blocks. */
int disk_track(struct vdisk *disk, uint64_t offset, uint64_t length);

#define disk_say(disk, level, ...) file_say((disk)->file, (level), (disk)->format->name, __VA_ARGS__)

/* Is the work to stop? Any thread; whoever says so may be another one, or a signal's handler. */
static inline bool disk_cancelled(const struct vdisk_progress *progress)
{
    return progress && progress->cancel && __atomic_load_n(progress->cancel, __ATOMIC_RELAXED);
}

/* Says "<format>: <path>: <text>" and returns error. */
#define disk_error(disk, error, ...) file_error((disk)->file, (disk)->format->name, (error), __VA_ARGS__)

/* From now on nothing is written: every write and flush fails with error. Said once, loudly. */
void disk_fail(struct vdisk *disk, int error);

#endif
