/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbdkit-vdisk-plugin: a disk over NBD.
 *
 * The disk is opened once, before nbdkit goes to the background (so that its errors reach the terminal), and shared by
 * all connections: a flush on one is a flush for all, which is what multi-conn promises. nbdkit calls from many threads
 * at once; each request borrows a ring from a pool, the one used last first, and moves its bytes itself. A thread has nothing in
 * flight but the request it waits for, so it may block on locks and on the disk's metadata.
 *
 * Requests that cover parts of sectors read, change and write them. They exclude all other changes meanwhile; aligned
 * ones, which is what file systems and virtual machines send, share.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "control/server.h"
#include "disk/mutant.h"
#include "disk/vdisk.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define PARENTS_MAX 255
#define MAP_MAX 64
#define EXTENTS_MAX 65536 /* an answer's; the client asks again */
#define BLOCK_PREFERRED 4096u
#define BLOCK_MAX (32u << 20)

static struct {
    char *file, *parent_dir;
    const char *format;
    char *parents[PARENTS_MAX + 1];
    const char *parent_map[MAP_MAX + 1];
    unsigned parent_count, map_count;
    bool read_only;
} given;

static struct vdisk_port *port;
static uint64_t sector;
static pthread_rwlock_t changes; /* read: whole sectors; write: parts of them */

/* ---- Rings ---- */

struct pooled {
    struct pooled *next;
    struct vdisk_ring *ring;
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pooled *pool; /* under pool_lock: those that nobody uses */

static struct pooled *ring_take(void)
{
    struct pooled *pooled;
    int err;

    pthread_mutex_lock(&pool_lock);
    pooled = pool;
    if (pooled)
        pool = pooled->next;
    pthread_mutex_unlock(&pool_lock);
    if (pooled)
        return pooled;
    pooled = calloc(1, sizeof(*pooled));
    err = pooled ? vdisk_ring_open(0, VDISK_BACKEND_INLINE, &pooled->ring) : -ENOMEM;
    if (err == 0)
        return pooled;
    free(pooled);
    nbdkit_error("cannot begin I/O: %s", strerror(-err));
    nbdkit_set_error(-err);
    return NULL;
}

static void ring_give(struct pooled *pooled)
{
    pthread_mutex_lock(&pool_lock);
    pooled->next = pool;
    pool = pooled;
    pthread_mutex_unlock(&pool_lock);
}

/* ---- Requests ---- */

struct request {
    struct vdisk_io io; /* first: done finds the request by it */
    bool done;
    int error;
};

static void request_done(struct vdisk_io *io, int error)
{
    struct request *request = (struct request *)io;

    request->done = true;
    request->error = error;
}

/* Whole sectors, as the engine takes them. */
static int run_aligned(struct vdisk_ring *ring, enum vdisk_op op, unsigned flags, void *buffer, uint64_t offset,
                       uint64_t length)
{
    struct iovec iov = {buffer, length};
    struct request request = {.io = {
                                  .op = op,
                                  .flags = flags,
                                  .offset = offset,
                                  .length = length,
                                  .iov = &iov,
                                  .iovcnt = 1,
                                  .done = request_done,
                              }};

    vdisk_port_submit(port, ring, &request.io);
    while (!request.done)
        vdisk_ring_poll(ring, true);
    return request.error;
}

/* A zeroing that begins or ends inside a sector: its edges are written. */
static int run_zero(struct vdisk_ring *ring, uint64_t offset, uint64_t length)
{
    static const uint8_t zeros[4096];
    uint64_t end = offset + length, head = (sector - offset % sector) % sector, tail = end % sector;
    int err = 0;

    if (head + tail > length)
        return vdisk_port_transfer(port, ring, VDISK_WRITE, (void *)zeros, offset, length);
    if (head > 0)
        err = vdisk_port_transfer(port, ring, VDISK_WRITE, (void *)zeros, offset, head);
    if (err == 0 && tail > 0)
        err = vdisk_port_transfer(port, ring, VDISK_WRITE, (void *)zeros, end - tail, tail);
    if (err == 0 && length > head + tail)
        err = run_aligned(ring, VDISK_ZERO, 0, NULL, offset + head, length - head - tail);
    return err;
}

static int run(struct vdisk_ring *ring, enum vdisk_op op, bool durable, void *buffer, uint64_t offset, uint64_t length)
{
    bool whole = offset % sector == 0 && length % sector == 0, fua = op == VDISK_WRITE && durable && whole;
    int err;

    if (op == VDISK_READ)
        return whole ? run_aligned(ring, op, 0, buffer, offset, length)
                     : vdisk_port_transfer(port, ring, op, buffer, offset, length);
    if (op == VDISK_FLUSH)
        return run_aligned(ring, op, 0, NULL, 0, 0);
    if (whole || MUTANT("nbd-parts-not-locked"))
        pthread_rwlock_rdlock(&changes);
    else
        pthread_rwlock_wrlock(&changes);
    if (whole)
        err = run_aligned(ring, op, fua ? VDISK_FUA : 0, buffer, offset, length);
    else
        err = op == VDISK_ZERO ? run_zero(ring, offset, length)
                               : vdisk_port_transfer(port, ring, op, buffer, offset, length);
    pthread_rwlock_unlock(&changes);
    if (err == 0 && durable && !fua)
        err = run_aligned(ring, VDISK_FLUSH, 0, NULL, 0, 0);
    return err;
}

/* As nbdkit wants it: 0 or -1, with the error set; what the library said is in the log. */
static int request(enum vdisk_op op, bool durable, void *buffer, uint64_t offset, uint64_t length)
{
    static const char *const words[] = {"read", "write", "zero", "trim", "flush"};
    struct pooled *pooled = ring_take();
    int err;

    if (!pooled)
        return -1;
    err = run(pooled->ring, op, durable, buffer, offset, length);
    ring_give(pooled);
    if (err == 0)
        return 0;
    nbdkit_debug("%s of %llu bytes at 0x%llx: %s", words[op], (unsigned long long)length, (unsigned long long)offset,
                 strerror(-err));
    nbdkit_set_error(-err);
    return -1;
}

static int vdisk_plugin_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    (void)flags;
    return request(VDISK_READ, false, buffer, offset, count);
}

static int vdisk_plugin_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    return request(VDISK_WRITE, flags & NBDKIT_FLAG_FUA, (void *)buffer, offset, count);
}

static int vdisk_plugin_flush(void *handle, uint32_t flags)
{
    (void)handle;
    (void)flags;
    return request(VDISK_FLUSH, false, NULL, 0, 0);
}

static int vdisk_plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)handle;
    return count == 0 ? 0 : request(VDISK_ZERO, flags & NBDKIT_FLAG_FUA, NULL, offset, count);
}

/* Advice: parts of sectors are left as they are. */
static int vdisk_plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
    uint64_t begin = (offset + sector - 1) / sector * sector, end = (offset + count) / sector * sector;

    (void)handle;
    if (begin < end)
        return request(VDISK_DISCARD, flags & NBDKIT_FLAG_FUA, NULL, begin, end - begin);
    return flags & NBDKIT_FLAG_FUA ? request(VDISK_FLUSH, false, NULL, 0, 0) : 0;
}

static int vdisk_plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                                struct nbdkit_extents *extents)
{
    uint64_t at = offset - offset % sector, end = offset + count;

    (void)handle;
    for (unsigned i = 0; at < end && i < EXTENTS_MAX; i++) {
        struct vdisk_extent extent;
        int err = vdisk_port_map(port, at, (end - at + sector - 1) / sector * sector, VDISK_MAP_HOLES, &extent);
        uint32_t type = extent.kind == VDISK_EXTENT_DATA ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;

        if (err < 0) {
            nbdkit_error("where 0x%llx lives: %s", (unsigned long long)at, strerror(-err));
            nbdkit_set_error(-err);
            return -1;
        }
        /* Not beyond what was asked: nbdkit 1.32 asserts where an unaligned request is answered with more. */
        if (extent.length > end - at)
            extent.length = end - at;
        if (nbdkit_add_extent(extents, at, extent.length, type) < 0)
            return -1;
        at += extent.length;
        if (flags & NBDKIT_FLAG_REQ_ONE && at > offset)
            break;
    }
    return 0;
}

/* ---- What a connection may do ---- */

static void *vdisk_plugin_open(int readonly)
{
    (void)readonly; /* nbdkit itself refuses writes then */
    return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t vdisk_plugin_get_size(void *handle)
{
    (void)handle;
    return (int64_t)vdisk_port_size(port);
}

static int vdisk_plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    (void)handle;
    *minimum = 1; /* any is taken, and some clients do not heed another */
    *preferred = BLOCK_PREFERRED;
    *maximum = BLOCK_MAX;
    return 0;
}

static int yes(void *handle)
{
    (void)handle;
    return 1;
}

static int no(void *handle)
{
    (void)handle;
    return 0;
}

static int vdisk_plugin_can_write(void *handle)
{
    (void)handle;
    return !given.read_only;
}

static int vdisk_plugin_can_fua(void *handle)
{
    (void)handle;
    return NBDKIT_FUA_NATIVE;
}

/* The bytes go through the page cache: to read them is to cache them. */
static int vdisk_plugin_can_cache(void *handle)
{
    (void)handle;
    return NBDKIT_CACHE_EMULATE;
}

/* ---- Configuration ---- */

static int flag_parse(const char *key, const char *value, bool *flag)
{
    int parsed = nbdkit_parse_bool(value);

    (void)key;
    if (parsed < 0)
        return -1;
    *flag = parsed;
    return 0;
}

static int path_parse(const char *value, char **path)
{
    free(*path);
    *path = nbdkit_absolute_path(value);
    return *path ? 0 : -1;
}

static int vdisk_plugin_config(const char *key, const char *value)
{
    if (strcmp(key, "file") == 0)
        return path_parse(value, &given.file);
    if (strcmp(key, "parent-dir") == 0)
        return path_parse(value, &given.parent_dir);
    if (strcmp(key, "readonly") == 0)
        return flag_parse(key, value, &given.read_only);
    if (strcmp(key, "format") == 0) {
        given.format = value; /* nbdkit keeps it */
        return 0;
    }
    if (strcmp(key, "parent-map") == 0 && given.map_count < MAP_MAX) {
        given.parent_map[given.map_count++] = value; /* as above */
        return 0;
    }
    if (strcmp(key, "parent") != 0) {
        nbdkit_error("there is no parameter '%s'", key);
        return -1;
    }
    if (given.parent_count == PARENTS_MAX) {
        nbdkit_error("parent: given too often");
        return -1;
    }
    return path_parse(value, &given.parents[given.parent_count++]);
}

static int vdisk_plugin_config_complete(void)
{
    if (given.file)
        return 0;
    nbdkit_error("file=IMAGE is needed");
    return -1;
}

#define CONFIG_HELP \
    "file=<IMAGE>        (required) the disk: VHD, VHDX or raw\n" \
    "format=<FORMAT>     vhd, vhdx or raw, instead of what its signature says\n" \
    "parent=<FILE>       a file that may be a parent in the chain; may be repeated\n" \
    "parent-dir=<DIR>    a directory beneath which parents are looked for\n" \
    "parent-map=<OLD=NEW> where recorded paths of parents are now\n" \
    "readonly=true       the disk is opened for reading"

/* ---- The disk ---- */

static void say(void *arg, enum vdisk_level level, const char *text)
{
    (void)arg;
    if (level == VDISK_NOTE)
        nbdkit_debug("%s", text);
    else
        nbdkit_error("%s", text);
}

static struct control_log control_words = CONTROL_LOG_INIT({.print = say});
static struct control_server *control;

static int vdisk_plugin_get_ready(void)
{
    struct vdisk_open_options how = {
        .flags = given.read_only ? 0 : VDISK_OPEN_WRITE,
        .format = given.format,
        .parents = given.parent_count > 0 ? (const char *const *)given.parents : NULL,
        .parent_map = given.map_count > 0 ? given.parent_map : NULL,
        .parent_dir = given.parent_dir,
        .log = control_log(&control_words),
    };
    pthread_rwlockattr_t attributes;
    int err = vdisk_port_open(given.file, &how, &port);

    if (err < 0) {
        nbdkit_error("%s: cannot be opened: %s", given.file, strerror(-err));
        return -1;
    }
    sector = vdisk_sector_size(vdisk_port_disk(port));
    /* Whoever writes parts of sectors must not wait for ever. */
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&changes, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    return 0;
}

/* In the process that serves: threads do not live through the fork. Without a control socket it serves too. */
static int vdisk_plugin_after_fork(void)
{
    static const struct control_holder holder = {.program = "vdisk serve"};

    control_server_open(port, &holder, &control_words, &control);
    return 0;
}

/* After the last connection: everything is made durable and the image closed. */
static void vdisk_plugin_cleanup(void)
{
    struct pooled *next;
    int err;

    control_server_close(control);
    control = NULL;
    for (struct pooled *each = pool; each; each = next) {
        next = each->next;
        vdisk_ring_close(each->ring);
        free(each);
    }
    pool = NULL;
    err = vdisk_port_close(port);
    if (err < 0)
        nbdkit_error("%s: cannot be closed in good order: %s", given.file, strerror(-err));
    port = NULL;
}

static void vdisk_plugin_unload(void)
{
    vdisk_port_close(port); /* only where cleanup was not called: an error before the server ran */
    for (unsigned i = 0; i < given.parent_count; i++)
        free(given.parents[i]);
    free(given.parent_dir);
    free(given.file);
}

static struct nbdkit_plugin plugin = {
    .name = "vdisk",
    .longname = "virtual disks (VHD, VHDX)",
    .version = VDISK_VERSION,
    .description = "Serves fixed, dynamic and differencing VHD and VHDX images.",
    .magic_config_key = "file",
    .config_help = CONFIG_HELP,
    .config = vdisk_plugin_config,
    .config_complete = vdisk_plugin_config_complete,
    .get_ready = vdisk_plugin_get_ready,
    .after_fork = vdisk_plugin_after_fork,
    .cleanup = vdisk_plugin_cleanup,
    .unload = vdisk_plugin_unload,
    .open = vdisk_plugin_open,
    .get_size = vdisk_plugin_get_size,
    .block_size = vdisk_plugin_block_size,
    .can_write = vdisk_plugin_can_write,
    .can_flush = yes,
    .can_trim = yes,
    .can_zero = yes,
    .can_fast_zero = no, /* where space must be written with zeros it is no faster than a write */
    .can_extents = yes,
    .can_fua = vdisk_plugin_can_fua,
    .can_cache = vdisk_plugin_can_cache,
    .can_multi_conn = yes,
    .is_rotational = no,
    .pread = vdisk_plugin_pread,
    .pwrite = vdisk_plugin_pwrite,
    .flush = vdisk_plugin_flush,
    .zero = vdisk_plugin_zero,
    .trim = vdisk_plugin_trim,
    .extents = vdisk_plugin_extents,
    .errno_is_preserved = 0,
};

struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
