/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libvdisk: virtual disks in VHD, VHDX and raw files.
 *
 * Two nouns. A disk (struct vdisk) is one open image with the chain of its parents. An io (struct vdisk_io)
 * is one request, lent by its caller to the disk until its done function is called.
 *
 * Units: every offset, length and size is in bytes. Errors: 0 or a negative errno; the sentence that names the
 * file, the field and the offset goes to struct vdisk_log. The library never prints and never exits.
 *
 * Threads: a disk may be used by any number of threads at once, each with a ring of its own. A ring belongs to one
 * thread at a time. Everything else here (open, close, create, info, copy) is called by one thread for one disk.
 *
 * Whoever serves a disk to others holds a port: the disk behind it may be replaced while it is in use, by the operations
 * that take a port.
 */
#ifndef VDISK_H
#define VDISK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct shadow;
struct vdisk;
struct vdisk_extent;
struct vdisk_port;
struct vdisk_ring;

/* ---- Messages ------------------------------------------------------------------------------------------------ */

enum vdisk_level { VDISK_ERROR, VDISK_WARNING, VDISK_NOTE };

/* Where sentences go. print may be NULL (silence) and is called from any thread that works for the disk. The text
 * has no newline: "vhdx: a.vhdx: log entry at 0x100000: bad checksum". */
struct vdisk_log {
    void (*print)(void *arg, enum vdisk_level level, const char *text);
    void *arg;
};

/* How long work tells how far it is, and is told to stop. Any member may be NULL. *cancel is read often; once it is
 * not 0 the work undoes itself and returns -ECANCELED. total may grow while the work goes on. step is called by one
 * thread at a time, not always the same. */
struct vdisk_progress {
    void (*step)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    const volatile sig_atomic_t *cancel;
};

/* ---- Open and close ------------------------------------------------------------------------------------------ */

#define VDISK_OPEN_WRITE 0x1u /* for reading and writing; the file is locked against other writers */
#define VDISK_OPEN_ALONE 0x2u /* do not open the parent of a differencing disk; reads that need it give -ENXIO */
#define VDISK_OPEN_DIRECT 0x4u /* past the page cache; -EINVAL where the storage cannot, or not in sectors of the disk */

struct vdisk_open_options {
    unsigned flags;
    const char *format;         /* "vhd", "vhdx", "raw"; NULL: by signature (for writing the name must agree) */
    const char *const *parents; /* files that may be parents in the chain, NULL-terminated; NULL: none */
    const char *const *parent_map; /* "D:\\VMs=/mnt/vms": where recorded paths that begin so are now; as parents */
    const char *parent_dir;     /* a directory beneath which parents may be found; NULL: none */
    struct vdisk_log log;       /* copied */
};

/* Opens the image and its chain. options may be NULL. The strings are needed only during the call. A parent is
 * accepted when its identity is the one that the child recorded; it is opened read-only, from the list, where the
 * map says, beneath the directory, or beside the child, in this order; never through "..", a symbolic link that leaves the directory, or
 * anything that is not a regular file. */
int vdisk_open(const char *path, const struct vdisk_open_options *options, struct vdisk **disk);

/* Makes everything durable and frees the disk, in this order, whatever is returned. No io may be in flight. A disk
 * from vdisk_create that was not committed is removed. NULL is allowed. */
int vdisk_close(struct vdisk *disk);

uint64_t vdisk_size(const struct vdisk *disk);                 /* the guest's view, bytes */
unsigned vdisk_sector_size(const struct vdisk *disk);          /* logical: 512 or 4096; the unit of an io */
unsigned vdisk_physical_sector_size(const struct vdisk *disk); /* 512 or 4096 */
uint32_t vdisk_block_size(const struct vdisk *disk);           /* payload block; 0 for raw and fixed VHD */
const char *vdisk_path(const struct vdisk *disk);
const char *vdisk_format(const struct vdisk *disk); /* "vhd", "vhdx", "raw" */
const char *vdisk_type(const struct vdisk *disk);   /* "fixed", "dynamic", "differencing" */
struct vdisk *vdisk_parent(const struct vdisk *disk); /* NULL where there is none; lives as long as the disk */

/* ---- Create -------------------------------------------------------------------------------------------------- */

#define VDISK_CREATE_OVERWRITE 0x1u /* replace an existing file, unless it is in use (-EBUSY); otherwise it is -EEXIST */
#define VDISK_CREATE_AZURE 0x2u     /* fixed VHD, size rounded up to 1 MiB, as Azure takes it */
#define VDISK_CREATE_UNNAMED 0x4u   /* the file has a name for an instant only, and is gone when it is closed, however that comes */

struct vdisk_create_options {
    unsigned flags;
    const char *format;  /* NULL: by the suffix .vhd .avhd .vhdx .avhdx .raw .img */
    const char *type;    /* "fixed", "dynamic", "differencing"; NULL: dynamic, differencing where a parent is given */
    uint64_t size;       /* 0 with a parent: the parent's */
    uint32_t block_size; /* 0: the format's default */
    uint32_t sector_size;          /* logical: 512 or 4096; 0: 512, or the parent's */
    uint32_t physical_sector_size; /* 512 or 4096; 0: 4096 */
    const char *parent;            /* path of the parent of a differencing disk */
    const char *parent_format;     /* NULL: by signature */
    const struct vdisk_open_options *parent_options; /* how to open the parent's own chain; may be NULL */
    struct vdisk_log log;
};

/* Creates an image under a temporary name beside path and opens it for writing. Nothing stands at path before
 * vdisk_commit. */
int vdisk_create(const char *path, const struct vdisk_create_options *options, struct vdisk **disk);

/* Makes a created disk durable, gives it its name, and closes it, whatever is returned. -EINVAL: it is never to have one.
 */
int vdisk_commit(struct vdisk *disk);

/* Reserves space on the storage for every byte of the file, so that it has no holes (Windows refuses sparse files). */
int vdisk_hydrate(struct vdisk *disk);

/* ---- Asynchronous I/O ---------------------------------------------------------------------------------------- */

enum vdisk_op {
    VDISK_READ,
    VDISK_WRITE,
    VDISK_ZERO,    /* reads as zeros from now on, whatever a parent holds; space is given back where it can be */
    VDISK_DISCARD, /* advice: each sector keeps its bytes or reads as zeros, and stays so; never older bytes */
    VDISK_FLUSH    /* everything done before its submission is durable when it is done */
};

#define VDISK_FUA 0x1u /* VDISK_WRITE: durable when done */

/* One request. The caller fills the first part, lends the whole from vdisk_submit until done, and may free or reuse
 * it inside done. offset and length are multiples of the sector size; iov covers length bytes (READ and WRITE). */
struct vdisk_io {
    enum vdisk_op op;
    unsigned flags;
    uint64_t offset, length;
    const struct iovec *iov;
    int iovcnt;
    void (*done)(struct vdisk_io *io, int error); /* called by vdisk_ring_poll of the ring that submitted */

    /* The engine's, from submission to done. */
    struct {
        struct vdisk *disk;
        struct vdisk_port *port; /* NULL: it came by vdisk_submit */
        struct vdisk_ring *ring;
        struct shadow *shadow; /* of a change while the disk moves */
        struct vdisk_io *next;
        unsigned port_parity;
        uint64_t began; /* by a port: nanoseconds of the monotonic clock */
        uint64_t at;      /* bytes of the request whose pieces have been issued */
        unsigned pending; /* pieces in flight */
        int error;        /* the first */
        int iov_index;    /* where at stands in iov */
        size_t iov_skip;
        unsigned step;
        struct vdisk *blocked_on; /* the link whose map needs a worker, and what was asked of it */
        uint64_t blocked_at, blocked_length;
        int blocked_result;
    } engine;
};

enum vdisk_backend {
    VDISK_BACKEND_AUTO,
    VDISK_BACKEND_URING,
    VDISK_BACKEND_AIO,
    VDISK_BACKEND_THREADS,
    VDISK_BACKEND_INLINE, /* the thread that submits or polls moves the bytes: for one request at a time */
    VDISK_BACKEND_CACHED  /* as AUTO, but a write to the page cache that is alone in the ring is moved by the thread: where one
                           * of the kernel's would be woken for it (ext4), that costs more than the copy */
};

/* depth: how many pieces may be in flight (0: 128); more requests than that wait inside the ring. AUTO takes the first
 * of these that this kernel and sandbox allow. */
int vdisk_ring_open(unsigned depth, enum vdisk_backend backend, struct vdisk_ring **ring);
void vdisk_ring_close(struct vdisk_ring *ring); /* nothing may be in flight */
const char *vdisk_ring_backend(const struct vdisk_ring *ring);

/* Readable when vdisk_ring_poll has something to do, once that has returned 0 without waiting. */
int vdisk_ring_fd(const struct vdisk_ring *ring);

/* Takes the io. Never fails and never calls done: errors come by done like everything else. What was submitted
 * starts at the latest at the next vdisk_ring_poll. */
void vdisk_submit(struct vdisk *disk, struct vdisk_ring *ring, struct vdisk_io *io);

/* Starts what was submitted, calls done for what has completed; returns how many. wait: blocks until at least one is
 * done, if any io is in flight. A thread with io in flight keeps polling: others may wait for it. */
int vdisk_ring_poll(struct vdisk_ring *ring, bool wait);

/* ---- Blocking I/O -------------------------------------------------------------------------------------------- */

/* One request, start to end, on a ring with nothing else in flight. For READ and WRITE offset and length may be any
 * (the edges of a WRITE that are not whole sectors are read, changed and written: nobody else may write to those
 * sectors meanwhile). buffer is ignored for other ops. */
int vdisk_transfer(struct vdisk *disk, struct vdisk_ring *ring, enum vdisk_op op, void *buffer, uint64_t offset,
                   uint64_t length);

/* ---- Ports ---------------------------------------------------------------------------------------------------- */

/* A disk whose chain can be replaced between two requests. While that happens new requests wait, some milliseconds;
 * a thread with io in flight must go on polling meanwhile.
 *
 * Opens the disk behind a port of its own. Closing the port closes the disk, as vdisk_close does; nothing may be in
 * flight. */
int vdisk_port_open(const char *path, const struct vdisk_open_options *options, struct vdisk_port **port);
int vdisk_port_of(struct vdisk *disk, struct vdisk_port **port); /* takes an open disk on success */
int vdisk_port_close(struct vdisk_port *port);

/* The disk behind the port now: for the one thread that calls the operations on the port, and for whoever knows that
 * there are none. */
struct vdisk *vdisk_port_disk(const struct vdisk_port *port);
uint64_t vdisk_port_size(const struct vdisk_port *port); /* by any thread, at any time */

/* As the functions without "port", by any thread. An extent's owner is not to be looked at: it may be gone. */
void vdisk_port_submit(struct vdisk_port *port, struct vdisk_ring *ring, struct vdisk_io *io);
int vdisk_port_transfer(struct vdisk_port *port, struct vdisk_ring *ring, enum vdisk_op op, void *buffer,
                        uint64_t offset, uint64_t length);
int vdisk_port_map(struct vdisk_port *port, uint64_t offset, uint64_t length, unsigned flags,
                   struct vdisk_extent *extent); /* not with io in flight on this thread's ring: it may wait for all */

/* What came through a port since it was opened, for each enum vdisk_op. */
#define VDISK_STATS_BUCKETS 304

struct vdisk_stats_op {
    uint64_t count, errors;
    uint64_t bytes;                        /* of those that succeeded */
    uint64_t nanoseconds;                  /* from submission to the end, all together */
    uint64_t latency[VDISK_STATS_BUCKETS]; /* how many took how long: eight buckets to each power of two */
};

struct vdisk_stats {
    struct vdisk_stats_op op[VDISK_FLUSH + 1];
};

void vdisk_port_stats(const struct vdisk_port *port, struct vdisk_stats *stats); /* by any thread, at any time */
uint64_t vdisk_stats_bound(unsigned bucket); /* the longest duration that is counted in it, in nanoseconds */

/* What the fastest part (0.5: half) of the requests did not exceed; 0 where there are none. */
uint64_t vdisk_stats_quantile(const struct vdisk_stats_op *op, double part);

/* ---- Operations on a port: blocking, one at a time, while others do I/O through it -------------------------------- */

/* How long requests had to wait because of an operation, in nanoseconds: the longest pause. */
struct vdisk_pause {
    uint64_t longest;
};

/* Puts a new differencing disk over the disk behind the port, which is open for writing; from then on that is read-only,
 * a point to go back to, and what is written goes to the child. The child has a name, and all is durable, before the
 * first request reaches it. Where this fails, the disk goes on as it was, and no child is left. Of the options
 * size, block_size and log are looked at; they and pause may be NULL. */
int vdisk_snapshot(struct vdisk_port *port, const char *child, const struct vdisk_create_options *options,
                   struct vdisk_pause *pause);

/* What changes a disk takes their parent from its children. -EBUSY, said: among the images beside it is one. */
int vdisk_childless(struct vdisk *disk);

/* Back to the point: the differencing disk at path, which nobody may have open (-EBUSY), holds nothing any more and shows its
 * parent. All at once, durably, under the same name; it keeps its block size. It must not be a parent itself: images beside
 * it are looked at. */
int vdisk_revert(const char *path, const struct vdisk_open_options *options);

struct vdisk_merge_options {
    const char *link;            /* the file of the chain that is merged; NULL: the top */
    const char *into;            /* the file of the chain that all from link down to it go into; NULL: link's parent */
    const char *const *children; /* files whose parent is link, NULL-terminated; beside it they are found; NULL: none */
    const struct vdisk_open_options *search; /* where the parents of a link are that is not in the chain; NULL: beside it */
    bool last;                   /* the port is closed next; nobody writes to it meanwhile or afterwards */
};

struct vdisk_merge_result {
    uint64_t bytes_moved;  /* written into the parents, or shared with them by the storage */
    unsigned links;        /* merged, and their files removed */
    struct vdisk_pause pause;
};

/* Puts what a link of the chain holds into its parent, of which no other child may be known unless the parent shows all of
 * it already: then nothing is written to the parent, and if the link is the top, last must be set. (So a link that a power
 * cut left over, whose child has got its parent, is removed too: link may name it although it is not in the chain.) The chain shows the same
 * before, meanwhile and afterwards, to others too, and after a power cut at any moment: then merge again. A link that is
 * the parent of others becomes superfluous: they become children of its parent. A parent that is smaller is made larger.
 * At last the link's file is removed, and if it was the top the port goes on in its parent. Bytes moved are the link's own.
 * On failure, -ECANCELED included, the chain is as it was, but for what a power cut could have left too: where the
 * top's removal cannot be made durable, the port is in the parent, to which nothing is written any more. Options, progress
 * and result may be NULL. */
int vdisk_merge(struct vdisk_port *port, const struct vdisk_merge_options *options,
                const struct vdisk_progress *progress, struct vdisk_merge_result *result);

/* Not on a port: the disk at child is not in use. Makes it record parent as its parent, whose path or name has changed.
 * Options (may be NULL): how the child is opened; of the parent its own chain. */
#define VDISK_RELINK_FORCE 0x1u /* also a parent that is another disk than the child's: what the child shows is changed */
int vdisk_relink(const char *child, const char *parent, unsigned flags, const struct vdisk_open_options *options);

/* The same for a link of the chain behind a port (its path; NULL: the disk itself), beside the requests of others. Nothing that
 * the disk shows may change by it: the new parent is the old one's file by another path, or a copy of it, which is compared
 * (progress is for that), and whose chain is found. The disk goes on over it, and the old one, with its chain, is not in use
 * any more. Where this fails, the disk goes on over the old one. A link that is not the disk itself must be open nowhere
 * else. progress and pause may be NULL. */
int vdisk_port_relink(struct vdisk_port *port, const char *link, const char *parent,
                      const struct vdisk_progress *progress, struct vdisk_pause *pause);

#define VDISK_MOVE_CHAIN 0x1u   /* the destination is a directory: every file of the chain goes there under its own name */
#define VDISK_MOVE_FLATTEN 0x2u /* of a differencing disk: one that needs no parent */

struct vdisk_move_options {
    unsigned flags;
    const char *format; /* NULL: by the destination's suffix, or the source's; a disk that keeps its parent keeps it too */
    uint64_t rate;      /* bytes a second that are copied at most; 0: as fast as it goes */
    struct vdisk_log log; /* print NULL: the disk's own */
};

struct vdisk_move_result {
    uint64_t moved;    /* bytes that were copied */
    uint64_t shared;   /* bytes that the storage shared instead */
    uint64_t mirrored; /* bytes that were written to both meanwhile */
    uint64_t pause;    /* how long requests had to wait, in nanoseconds */
};

/* Moves the disk behind the port, which is open for writing and no parent (vdisk_childless), to another file, which must not
 * exist, beside the requests of others. When this succeeds the destination is durable and in use, and the source's file is gone, not a symbolic link to it
 * (parents' files stay: other disks may need them; so does a block device, which is said). Where it fails or is cancelled,
 * the disk goes on where it was, complete, and the destination is gone. After a power cut it is the source if that stands
 * there, and the destination if not. result may be NULL. */
int vdisk_move(struct vdisk_port *port, const char *destination, const struct vdisk_move_options *options,
               const struct vdisk_progress *progress, struct vdisk_move_result *result);

/* ---- What a disk holds --------------------------------------------------------------------------------------- */

enum vdisk_extent_kind { VDISK_EXTENT_DATA, VDISK_EXTENT_ZERO, VDISK_EXTENT_BELOW };

struct vdisk_extent {
    enum vdisk_extent_kind kind;
    uint64_t offset, length; /* of the guest's view */
    struct vdisk *owner;     /* DATA: the link whose file holds it. ZERO: the link that says so */
    unsigned depth;          /* of owner in the chain: 0 is the disk itself */
    uint64_t position;       /* DATA: offset in the owner's file */
    const char *state;       /* the format's word for it ("fully-present", "zero", ...); never NULL */
};

#define VDISK_MAP_ALONE 0x1u /* this link only: what a parent answers is BELOW */
#define VDISK_MAP_HOLES 0x2u /* DATA that lies in a hole of the file is reported as ZERO */

/* The first extent of [offset, offset + length): where the bytes live. Neighbours of one kind may come in several
 * extents. offset is a multiple of the sector size, length is rounded up to one. May block. */
int vdisk_map(struct vdisk *disk, uint64_t offset, uint64_t length, unsigned flags, struct vdisk_extent *extent);

/* ---- Information and check ----------------------------------------------------------------------------------- */

enum vdisk_field_type { VDISK_FIELD_TEXT, VDISK_FIELD_NUMBER, VDISK_FIELD_BYTES, VDISK_FIELD_FLAG };

/* One fact of the image's headers. group and name are stable, lower case, with dashes ("footer", "creator-version"). */
struct vdisk_field {
    const char *group, *name;
    enum vdisk_field_type type;
    const char *text; /* TEXT */
    uint64_t number;  /* NUMBER, BYTES (a size), FLAG (0 or 1) */
};

typedef void vdisk_field_fn(void *arg, const struct vdisk_field *field);
int vdisk_info(struct vdisk *disk, vdisk_field_fn *field, void *arg); /* this link only; also while io goes on */

enum vdisk_severity {
    VDISK_FAULT, /* costs data or trust */
    VDISK_LEAK,  /* costs space */
    VDISK_MEND,  /* of vdisk_repair: what it does */
    VDISK_REFUSE /* and what it leaves as it is: why, and what a person can do */
};

struct vdisk_fault {
    enum vdisk_severity severity;
    const char *code; /* stable: "bat-overlap", "header-checksum", ... */
    uint64_t offset;  /* in the file */
    const char *text; /* one sentence: field, offset, found, expected */
    uint64_t length;  /* LEAK: of the space */
};

typedef void vdisk_fault_fn(void *arg, const struct vdisk_fault *fault);

/* Reads all metadata of the file at path (not its parents) and reports each fault. 0: no FAULT found (there may be
 * leaks), 1: faults, negative: cannot read (said in the log). Changes nothing. */
int vdisk_check(const char *path, const struct vdisk_open_options *options, const struct vdisk_progress *progress,
                vdisk_fault_fn *fault, void *arg);

#define VDISK_REPAIR_DRY 0x1u /* tell, and change nothing */

/* Mends what the file itself proves, and nothing that a guest reads changes by it. First the plan is told to step, a
 * MEND or REFUSE each; then, if there is something to mend, the file is opened for writing, looked through again, and
 * mended. A power cut in the middle is no harm: the next repair goes on. 0 or -errno (said in the log); whether the file
 * is clean now vdisk_check tells. */
int vdisk_repair(const char *path, const struct vdisk_open_options *options, unsigned flags,
                 const struct vdisk_progress *progress, vdisk_fault_fn *step, void *arg);

/* ---- Resize -------------------------------------------------------------------------------------------------- */

#define VDISK_RESIZE_SHRINK_DATA 0x1u /* what is behind the new end may be lost; otherwise it must be zeros: -ENOTEMPTY */

/* Gives the disk behind the port another size, beside the requests of others, which wait for the short while that it takes.
 * What the disk gains reads as zeros, whatever a parent holds; what it loses is gone, and its space with it. Requests that
 * reach behind the end then fail with -ERANGE. A power cut leaves a disk of the old size or the new one. cancel and step
 * are for the search for data behind the new end. */
int vdisk_resize(struct vdisk_port *port, uint64_t size, unsigned flags, const struct vdisk_progress *progress);

/* ---- Points and changes -------------------------------------------------------------------------------------- */

/* A named moment of a disk. What changes since is kept in a file beside the image, "<image>.points", by every program
 * that opens the image for writing through this library, and survives crashes: more may count as changed than did
 * change, never less. An image that something else has changed meanwhile counts as changed wholly; see docs/points.md for
 * what of that can be noticed. */
struct vdisk_point {
    const char *name;  /* UTF-8, up to 63 bytes */
    uint64_t created;  /* seconds since 1970 */
    bool whole;        /* all of the disk counts as changed since */
    struct vdisk *link; /* of the chain, whose point it is */
};

/* The disk as it is now becomes a point; a point goes. The image is a file and open for writing. Called as the operations
 * are: by one thread, with no io of its own in flight on the port; others may go on, and wait for some milliseconds: pause,
 * which may be NULL, tells. */
int vdisk_point_create(struct vdisk_port *port, const char *name, struct vdisk_pause *pause);
int vdisk_point_delete(struct vdisk_port *port, const char *name, struct vdisk_pause *pause);

/* The points of each link of the chain, from the disk on, oldest first. Anything but 0 from point ends it. */
typedef int vdisk_point_fn(void *arg, const struct vdisk_point *point);
int vdisk_points(struct vdisk *disk, vdisk_point_fn *point, void *arg);

/* The ranges of the disk that have changed since a point (until a later one of the same link; NULL: until now), in order
 * and apart from each other. A point may be a parent's: then what the links above it hold has changed too. By the thread
 * that operates on the disk; io may be in flight. Anything but 0 from change ends it. -ENOENT: no such point. */
typedef int vdisk_change_fn(void *arg, uint64_t offset, uint64_t length);
int vdisk_changes(struct vdisk *disk, const char *since, const char *until, vdisk_change_fn *change, void *arg);

/* ---- Compact ------------------------------------------------------------------------------------------------- */

struct vdisk_compact_options {
    uint64_t rate; /* bytes a second that are read and moved at most; 0: no limit */
};

struct vdisk_compact_result {
    uint64_t bytes_moved;             /* of blocks that went to another place in the file */
    uint64_t bytes_dropped;           /* of blocks that held nothing but zeros */
    uint64_t used_before, used_after; /* what the file takes of its file system */
    uint64_t size_before, size_after; /* of the file */
};

/* Makes the file of the disk behind the port, not those of its parents, as small as what it holds, beside the requests of
 * others: blocks of zeros are dropped, runs of zeros become holes, the last blocks move to free places before them, and the
 * file is cut. What is read stays the same at any time, and after a power cut; cancelled, it keeps what was reached, and the
 * next run goes on. options, progress and result may be NULL; result is filled in after an error too. */
int vdisk_compact(struct vdisk_port *port, const struct vdisk_compact_options *options,
                  const struct vdisk_progress *progress, struct vdisk_compact_result *result);

/* ---- Copy and compare ---------------------------------------------------------------------------------------- */

#define VDISK_COPY_ALONE 0x1u /* copy only what this link itself holds: the target has the same parent */

struct vdisk_copy_result {
    uint64_t bytes_read;   /* moved from the source's files */
    uint64_t bytes_written;
    uint64_t bytes_skipped; /* known to be zero from the map, or found to be */
    uint64_t bytes_shared;  /* given by the storage without being moved (reflink) */
};

/* Copies what source shows to target, which reads as zeros (or as its parent, with ALONE) and is at least as large.
 * By extents: what the map knows to be zero is not read, what is found to be zero is not written. result may be NULL. */
int vdisk_copy(struct vdisk *source, struct vdisk *target, unsigned flags, const struct vdisk_progress *progress,
               struct vdisk_copy_result *result);

/* 0: equal; 1: different, *where is the first differing byte; negative: cannot tell. A longer disk is equal when the
 * rest of it is zero. */
int vdisk_compare(struct vdisk *a, struct vdisk *b, const struct vdisk_progress *progress, uint64_t *where);

const char *vdisk_version(void); /* such as "0.1.0" */

#ifdef __cplusplus
}
#endif

#endif
