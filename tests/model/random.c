/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random requests against a flat model: reads, writes, zeroes, discards and flushes from several threads at once, each
 * with a ring of its own, meeting inside the same blocks, on every format, kind, block size, sector size and backend,
 * on chains one to five deep, with crash copies, checks and reopenings in between.
 *
 * What may be in flight together (slots_conflict): anything on different sectors; reads with reads; a watching read with
 * writes and clears (zero, discard) of the same sectors, which may give each word old, new or zero, and never anything
 * else; and writes inside a clear, which leave what was written or zeros, and never hit another block's new home.
 *
 * A crash copy is the file as it stands while the disk is open and still: what a killed process leaves. Opened, it must
 * hold all that was flushed, and of what came after for each sector either of the two.
 *
 * Now and then a point is made: what changed since is exactly what was touched, grain by grain, and of a crash copy of a
 * VHDX not less.
 *
 * MODEL_SEED, MODEL_OPS (in all), MODEL_ONLY (part of a configuration's name), MODEL_THREADS.
 */
#include <time.h>
#include <unistd.h>

#include "tests/content.h"

#define KIB 1024u
#define MIB (1u << 20)
#define GIB (1ull << 30)

#define THREADS_MAX 8
#define SLOTS 10
#define OP_MAX (4 * MIB + 64 * KIB)
#define CYCLES 3
#define HISTORY 65536
#define WINDOW (3ull * MIB)
#define GRAIN (64 * KIB)

struct config {
    const char *format, *type; /* type of the first link; the others are differencing */
    uint32_t block, child_block, sector;
    unsigned depth;
    uint64_t size;
    bool far; /* too large for requests everywhere: windows at the start, around 4 GiB and at the end */
    unsigned weight;
};

static const struct config configs[] = {
    {"raw", "fixed", 0, 0, 512, 1, 9 * MIB + 512, false, 2},
    {"vhd", "fixed", 0, 0, 512, 1, 11 * MIB + 1536, false, 2},
    {"vhd", "dynamic", 64 * KIB, 0, 512, 1, 70 * MIB + 512, false, 4},
    {"vhd", "dynamic", 512 * KIB, 0, 512, 1, 21 * MIB + 512, false, 4},
    {"vhd", "dynamic", 2 * MIB, 0, 512, 1, 23 * MIB + 4608, false, 4},
    {"vhd", "fixed", 0, 512 * KIB, 512, 2, 17 * MIB + 512, false, 4},
    {"vhd", "dynamic", 2 * MIB, 2 * MIB, 512, 2, 17 * MIB, false, 4},
    {"vhd", "dynamic", 512 * KIB, 64 * KIB, 512, 3, 19 * MIB + 512, false, 4},
    {"vhd", "dynamic", 2 * MIB, 512 * KIB, 512, 4, 13 * MIB + 512, false, 4},
    {"vhd", "dynamic", 64 * KIB, 2 * MIB, 512, 5, 13 * MIB + 512, false, 4},
    {"vhdx", "fixed", 1 * MIB, 0, 512, 1, 11 * MIB + 512, false, 2},
    {"vhdx", "fixed", 32 * MIB, 0, 4096, 1, 35 * MIB + 4096, false, 2},
    {"vhdx", "dynamic", 1 * MIB, 0, 512, 1, 21 * MIB + 512, false, 6},
    {"vhdx", "dynamic", 1 * MIB, 0, 4096, 1, 21 * MIB + 4096, false, 4},
    {"vhdx", "dynamic", 2 * MIB, 0, 512, 1, 23 * MIB + 4608, false, 4},
    {"vhdx", "dynamic", 32 * MIB, 0, 512, 1, 70 * MIB + 512, false, 3},
    {"vhdx", "dynamic", 1 * MIB, 0, 512, 1, 4 * GIB + 37 * MIB + 512, true, 4},
    {"vhdx", "fixed", 2 * MIB, 1 * MIB, 512, 2, 17 * MIB + 512, false, 4},
    {"vhdx", "dynamic", 1 * MIB, 1 * MIB, 512, 2, 17 * MIB, false, 6},
    {"vhdx", "dynamic", 2 * MIB, 2 * MIB, 4096, 2, 17 * MIB + 4096, false, 4},
    {"vhdx", "dynamic", 1 * MIB, 32 * MIB, 512, 2, 35 * MIB + 512, false, 3},
    {"vhdx", "dynamic", 2 * MIB, 1 * MIB, 512, 3, 19 * MIB + 512, false, 4},
    {"vhdx", "dynamic", 1 * MIB, 2 * MIB, 4096, 4, 13 * MIB + 4096, false, 4},
    {"vhdx", "dynamic", 32 * MIB, 1 * MIB, 512, 5, 13 * MIB + 512, false, 4},
    {"vhdx", "dynamic", 1 * MIB, 1 * MIB, 512, 2, 4 * GIB + 37 * MIB + 512, true, 4},
    {"vhdx", "dynamic", 2 * MIB, 32 * MIB, 512, 2, 4 * GIB + 70 * MIB + 512, true, 3},
};

#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

enum kind { KIND_READ, KIND_WATCH, KIND_WRITE, KIND_CLEAR, KIND_FLUSH };

struct thread;

struct slot {
    struct vdisk_io io; /* first: done() gets it */
    struct thread *thread;
    enum kind kind;
    bool busy;
    bool odd; /* its buffers may end inside a word: a read that meets it may see half of one */
    _Atomic bool crossed; /* WRITE, WATCH: a clear of the same sectors was in flight too */
    uint32_t generation; /* of a write */
    uint32_t newer;      /* WATCH, CLEAR: writes newer than this were in flight too */
    uint32_t *old;       /* WATCH: what each sector was at submission */
    struct iovec iov[6];
    uint8_t *buffer;
};

struct run;

struct thread {
    struct run *run;
    struct vdisk_ring *ring;
    struct rng rng;
    unsigned index, busy;
    uint64_t left;
    struct slot slot[SLOTS];
};

struct past {
    uint64_t offset, length;
    uint32_t generation;
    uint8_t op, thread, flags, done;
};

struct run {
    const struct config *config;
    char name[96], dir[TEST_PATH];
    struct rng rng;
    struct messages messages;
    struct vdisk *disk;
    uint32_t block;
    unsigned level, threads;
    enum vdisk_backend backend;
    struct content content; /* what the disk holds; values change under lock, but for pinning */
    _Atomic uint64_t hot;
    uint64_t ops; /* done in all */

    /* What the last flush made durable: its values, the newest generation then, and what was zeroed since. */
    uint32_t *floor;
    uint8_t *cleared;
    uint32_t floor_newest;

    uint8_t *touched; /* grains, since the point; NULL: there is none. Under lock */

    pthread_mutex_t lock; /* the in-flight slots' ranges, history */
    struct thread thread[THREADS_MAX];
    struct past history[HISTORY];
    uint64_t past;
};

static struct run run;

/* ---- Saying what went wrong ---------------------------------------------------------------------------------- */

static void explain(uint64_t sector)
{
    static const char *const names[] = {"read", "write", "zero", "discard", "flush"};
    uint64_t at = sector * run.content.sector_size;
    unsigned shown = 0;

    fprintf(stderr, "%s: link %u, seed above; the last requests there, newest first:\n", run.name, run.level);
    for (uint64_t i = run.past; i-- > 0 && run.past - i < HISTORY && shown < 24;) {
        const struct past *past = &run.history[i % HISTORY];

        if (past->op == VDISK_FLUSH || at < past->offset || at >= past->offset + past->length)
            continue;
        fprintf(stderr, "  #%llu %s %s [%#llx +%#llx) thread %u%s", (unsigned long long)i,
                past->done ? "done" : "start", names[past->op], (unsigned long long)past->offset,
                (unsigned long long)past->length, past->thread, past->flags & VDISK_FUA ? " fua" : "");
        fprintf(stderr, past->op == VDISK_WRITE ? " generation %u\n" : "\n", past->generation);
        shown++;
    }
}

/* Under lock. */
static void remember(const struct slot *slot, bool done)
{
    run.history[run.past++ % HISTORY] = (struct past){
        .offset = slot->io.offset,
        .length = slot->io.length,
        .generation = slot->generation,
        .op = (uint8_t)slot->io.op,
        .flags = (uint8_t)slot->io.flags,
        .thread = (uint8_t)slot->thread->index,
        .done = done,
    };
}

/* ---- What may be in flight together -------------------------------------------------------------------------- */

static bool contains(const struct vdisk_io *a, const struct vdisk_io *b)
{
    return b->offset >= a->offset && b->offset + b->length <= a->offset + a->length;
}

static bool slots_conflict(const struct slot *a, const struct slot *b)
{
    if (a->kind == KIND_CLEAR)
        return b->kind != KIND_WATCH && !(b->kind == KIND_WRITE && contains(&a->io, &b->io));
    if (b->kind == KIND_CLEAR)
        return slots_conflict(b, a);
    if (a->kind == KIND_WRITE)
        return b->kind != KIND_WATCH || a->odd;
    if (b->kind == KIND_WRITE)
        return a->kind != KIND_WATCH || b->odd;
    return false;
}

/* Under lock. The next slot in flight that overlaps the range of io, from *at on; NULL: there is none. */
static struct slot *range_next(const struct vdisk_io *io, unsigned *at)
{
    while (*at < run.threads * SLOTS) {
        struct slot *other = &run.thread[*at / SLOTS].slot[*at % SLOTS];

        ++*at;
        if (other->busy && other->kind != KIND_FLUSH && other->io.offset < io->offset + io->length &&
            io->offset < other->io.offset + other->io.length)
            return other;
    }
    return NULL;
}

/* Under lock. Takes the range for the slot, or says that something in flight forbids it. */
static bool range_take(struct slot *slot)
{
    struct vdisk_io *io = &slot->io;
    uint64_t first = io->offset / run.content.sector_size, count = io->length / run.content.sector_size;
    struct slot *other;

    slot->newer = run.content.generation;
    slot->crossed = false;
    for (unsigned at = 0; slot->kind != KIND_FLUSH && (other = range_next(io, &at));) {
        if (slots_conflict(slot, other))
            return false;
        if (other->kind == KIND_CLEAR)
            slot->crossed = true;
        if (other->kind == KIND_WRITE && other->generation <= slot->newer)
            slot->newer = other->generation - 1;
    }
    for (unsigned at = 0; slot->kind == KIND_CLEAR && (other = range_next(io, &at));)
        other->crossed = true;
    slot->busy = true;
    if (slot->kind == KIND_WRITE)
        slot->generation = ++run.content.generation;
    for (uint64_t i = 0; slot->kind == KIND_WATCH && i < count; i++)
        slot->old[i] = run.content.value[first + i];
    remember(slot, false);
    return true;
}

/* ---- One request --------------------------------------------------------------------------------------------- */

static void read_check(struct slot *slot)
{
    uint32_t sector_size = run.content.sector_size;
    uint64_t first = slot->io.offset / sector_size;

    for (uint64_t i = 0; i < slot->io.length / sector_size; i++) {
        const uint8_t *bytes = slot->buffer + i * sector_size;
        uint32_t old = slot->kind == KIND_WATCH ? slot->old[i] : 0;
        bool maybe = old & CONTENT_MAYBE;
        bool right = slot->kind == KIND_READ
                         ? content_match(&run.content, bytes, first + i)
                         : content_mixed(&run.content, bytes, first + i, maybe || !old || slot->crossed,
                                         old & ~CONTENT_MAYBE, slot->newer);

        if (right)
            continue;
        pthread_mutex_lock(&run.lock);
        content_explain(&run.content, bytes, first + i);
        if (slot->kind == KIND_WATCH)
            fprintf(stderr, "read while written: was generation %u, or any newer than %u\n", old, slot->newer);
        explain(first + i);
        test_fail("%s: a read gave wrong bytes", run.name);
    }
}

/* Under lock: the model after the request. */
static void model_change(const struct slot *slot)
{
    uint64_t first = slot->io.offset / run.content.sector_size, count = slot->io.length / run.content.sector_size;

    for (uint64_t s = first; s < first + count; s++) {
        if (run.touched)
            run.touched[s * run.content.sector_size / GRAIN] = 1;
        if (slot->kind == KIND_WRITE) {
            run.content.value[s] = slot->generation | (slot->crossed ? CONTENT_MAYBE : 0);
            continue;
        }
        run.cleared[s] = 1;
        if (slot->io.op == VDISK_ZERO && (run.content.value[s] & ~CONTENT_MAYBE) <= slot->newer)
            run.content.value[s] = 0;
        else if (run.content.value[s])
            run.content.value[s] |= CONTENT_MAYBE;
    }
}

static void op_done(struct vdisk_io *io, int error)
{
    struct slot *slot = (struct slot *)io;

    if (error) {
        explain(io->offset / run.content.sector_size);
        test_fail("%s: op %d at %#llx +%#llx: %s", run.name, (int)io->op, (unsigned long long)io->offset,
                  (unsigned long long)io->length, strerror(-error));
    }
    if (io->op == VDISK_READ)
        read_check(slot);
    pthread_mutex_lock(&run.lock);
    if (slot->kind == KIND_WRITE || slot->kind == KIND_CLEAR)
        model_change(slot);
    remember(slot, true);
    slot->busy = false;
    pthread_mutex_unlock(&run.lock);
    slot->thread->busy--;
}

static uint64_t pick_length(struct thread *thread, enum kind kind)
{
    uint64_t dice = rng_below(&thread->rng, 1000), sector = run.content.sector_size;
    uint64_t limit = dice < 880 ? 8 * KIB : dice < 994 ? 64 * KIB : OP_MAX;

    if (kind == KIND_CLEAR && dice % 4 == 0)
        limit = 3ull * (run.block ? run.block : MIB);
    return (1 + rng_below(&thread->rng, limit / sector)) * sector;
}

static uint64_t pick_offset(struct thread *thread)
{
    uint64_t size = run.content.size, block = run.block ? run.block : MIB;
    uint64_t dice = rng_below(&thread->rng, 100);

    if (dice < 60)
        return run.hot + rng_below(&thread->rng, 128 * KIB);
    if (dice < 70) /* around the edge of a block: "- 16 KiB + (0 .. 32 KiB)" */
        return (run.hot / block + 1) * block + rng_below(&thread->rng, 32 * KIB) - 16 * KIB;
    if (!run.config->far)
        return rng_below(&thread->rng, size);
    dice = rng_below(&thread->rng, WINDOW);
    switch (rng_below(&thread->rng, 3)) {
    case 0: return dice;
    case 1: return 4 * GIB - WINDOW / 2 + dice;
    default: return size - 1 - dice;
    }
}

static void pick_range(struct thread *thread, struct slot *slot)
{
    uint64_t size = run.content.size, sector = run.content.sector_size;
    uint64_t offset = pick_offset(thread) % size, length = pick_length(thread, slot->kind);
    uint64_t grain = rng_below(&thread->rng, 3) == 0 ? 4 * KIB : sector;

    if (slot->kind == KIND_CLEAR && run.block && rng_below(&thread->rng, 3) == 0) {
        grain = run.block;
        length = (1 + rng_below(&thread->rng, 2)) * run.block;
    }
    offset -= offset % grain;
    slot->io.offset = offset;
    slot->io.length = length < size - offset ? length : size - offset;
}

static void pick_iov(struct thread *thread, struct slot *slot)
{
    uint64_t at = 0, length = slot->io.length;
    int n = 0;

    if (rng_below(&thread->rng, 4) == 0)
        for (; n < 5 && at < length; n++) {
            uint64_t part = rng_below(&thread->rng, length - at + 1);

            if (!slot->odd)
                part -= part % 8;
            slot->iov[n] = (struct iovec){slot->buffer + at, part};
            at += part;
        }
    if (at < length)
        slot->iov[n++] = (struct iovec){slot->buffer + at, length - at};
    slot->io.iov = slot->iov;
    slot->io.iovcnt = n;
}

static void pick_op(struct thread *thread, struct slot *slot)
{
    uint64_t dice = rng_below(&thread->rng, 1000);
    struct vdisk_io *io = &slot->io;

    memset(io, 0, sizeof(*io));
    io->done = op_done;
    slot->odd = dice % 4 == 0;
    if (dice < 3) {
        slot->kind = KIND_FLUSH;
        io->op = VDISK_FLUSH;
        return;
    }
    slot->odd = slot->odd && (dice < 330 || dice >= 450); /* watching, it could see half a word itself */
    slot->kind = dice < 330 ? KIND_READ : dice < 450 ? KIND_WATCH : dice < 880 ? KIND_WRITE : KIND_CLEAR;
    io->op = dice < 450 ? VDISK_READ : dice < 880 ? VDISK_WRITE : dice < 945 ? VDISK_ZERO : VDISK_DISCARD;
    io->flags = io->op == VDISK_WRITE && rng_below(&thread->rng, 200) == 0 ? VDISK_FUA : 0;
    pick_range(thread, slot);
}

/* False: everything tried meets something in flight. */
static bool op_start(struct thread *thread, struct slot *slot)
{
    bool taken = false;

    for (int i = 0; i < 4 && !taken; i++) {
        pick_op(thread, slot);
        pthread_mutex_lock(&run.lock);
        taken = range_take(slot);
        pthread_mutex_unlock(&run.lock);
    }
    if (!taken)
        return false;
    if (slot->kind == KIND_WRITE)
        content_fill(&run.content, slot->buffer, slot->io.offset / run.content.sector_size,
                     slot->io.length / run.content.sector_size, slot->generation);
    else if (slot->io.op == VDISK_READ)
        memset(slot->buffer, 0xa5, slot->io.length);
    if (slot->io.op == VDISK_READ || slot->io.op == VDISK_WRITE)
        pick_iov(thread, slot);
    thread->busy++;
    thread->left--;
    vdisk_submit(run.disk, thread->ring, &slot->io);
    return true;
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;

    while (thread->left || thread->busy) {
        for (unsigned i = 0; i < SLOTS && thread->left; i++)
            if (!thread->slot[i].busy && !op_start(thread, &thread->slot[i]))
                break;
        if (thread->index == 0 && thread->left % 64 == 0) {
            uint64_t hot = pick_offset(thread) % run.content.size;

            run.hot = hot - hot % run.content.sector_size;
        }
        vdisk_ring_poll(thread->ring, thread->busy > 0 && rng_below(&thread->rng, 8) != 0);
    }
    return NULL;
}

/* ---- Between the storms -------------------------------------------------------------------------------------- */

static void floor_set(void)
{
    for (uint64_t i = 0; i < run.content.sectors; i++)
        run.floor[i] = run.content.value[i];
    memset(run.cleared, 0, run.content.sectors);
    run.floor_newest = run.content.generation;
}

/* A sector of a crash copy: as it was at the last flush, or as anything since made it. */
static bool crash_accept(void *arg, uint64_t sector, const void *bytes)
{
    uint32_t found = content_decode(&run.content, bytes, sector), was = run.floor[sector];

    (void)arg;
    if (found == CONTENT_BAD)
        return false;
    if (found == 0)
        return was == 0 || was & CONTENT_MAYBE || run.cleared[sector];
    if (found == (was & ~CONTENT_MAYBE) || found > run.floor_newest)
        return true;
    fprintf(stderr, "after the crash: generation %u was durable, %u is there\n", was, found);
    return false;
}

static struct vdisk *disk_open(const char *path, unsigned flags)
{
    const char *parents[8] = {NULL};
    struct vdisk_open_options options = {
        .flags = flags, .format = run.config->format, .parents = parents, .log = messages_log(&run.messages)};
    char names[8][16];
    struct vdisk *disk;

    for (unsigned i = 0; i < run.level; i++) {
        snprintf(names[i], sizeof(names[i]), "%u.disk", i);
        parents[i] = scratch_path(run.dir, names[i]);
    }
    test_ok(vdisk_open(path, &options, &disk));
    return disk;
}

static const char *level_path(unsigned level)
{
    char name[16];

    snprintf(name, sizeof(name), "%u.disk", level);
    return scratch_path(run.dir, name);
}

static void disk_check(const char *path)
{
    struct vdisk_open_options options = {.log = messages_log(&run.messages),
                                         .format = strcmp(run.config->format, "raw") ? NULL : "raw"};

    if (vdisk_check(path, &options, NULL, messages_fault, &run.messages) != 0)
        test_fail("%s: check of %s: %s%s", run.name, path, run.messages.first, run.messages.fault);
}

/* ---- Points ---- */

static const char *points_path(const char *path)
{
    static char points[TEST_PATH];

    snprintf(points, sizeof(points), "%s.points", path);
    return points;
}

/* Of the link, which is closed. */
static void point_make(void)
{
    struct vdisk_port *port;

    unlink(points_path(level_path(run.level)));
    test_ok(vdisk_port_of(disk_open(level_path(run.level), VDISK_OPEN_WRITE), &port));
    test_ok(vdisk_point_create(port, "point", NULL));
    test_ok(vdisk_port_close(port));
    free(run.touched);
    run.touched = calloc(run.content.size / GRAIN + 1, 1);
    test_true(run.touched);
}

static int on_change(void *arg, uint64_t offset, uint64_t length)
{
    uint8_t *told = arg;

    for (uint64_t at = offset; at < offset + length; at += GRAIN)
        told[at / GRAIN] = 1;
    return 0;
}

static void changes_verify(struct vdisk *disk, bool exact)
{
    uint8_t *told = calloc(run.content.size / GRAIN + 1, 1);

    test_true(told);
    test_ok(vdisk_changes(disk, "point", NULL, on_change, told));
    for (uint64_t grain = 0; grain <= run.content.size / GRAIN; grain++)
        if (told[grain] != run.touched[grain] && (exact || run.touched[grain]))
            test_fail("%s: grain %llu was %stouched since the point, and is %stold", run.name, (unsigned long long)grain,
                      run.touched[grain] ? "" : "not ", told[grain] ? "" : "not ");
    free(told);
}

/* Copies the file as it stands; what opens must be what a killed process may leave. */
static void crash_copy(bool write)
{
    const char *copy = scratch_path(run.dir, "crash.disk");
    struct vdisk_ring *ring = run.thread[0].ring;
    bool raw = !strcmp(run.config->format, "raw"), vhdx = !strcmp(run.config->format, "vhdx");
    struct vdisk *disk;

    file_copy(scratch_standing(vdisk_path(run.disk)), copy);
    if (run.touched && vhdx) {
        char from[TEST_PATH];

        snprintf(from, sizeof(from), "%s", points_path(vdisk_path(run.disk)));
        file_copy(from, points_path(copy));
    }
    disk = disk_open(copy, write && !raw ? VDISK_OPEN_WRITE : 0);
    if (run.touched && vhdx)
        changes_verify(disk, false);
    content_walk(&run.content, disk, ring, run.config->far, crash_accept, NULL);
    if (write && !raw) { /* repairs itself when written to */
        static uint8_t sector[4096];

        test_ok(vdisk_transfer(disk, ring, VDISK_READ, sector, 0, run.content.sector_size));
        test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, sector, 0, run.content.sector_size));
    }
    test_ok(vdisk_close(disk));
    if (write && !raw) {
        disk_check(copy);
        disk = disk_open(copy, 0);
        content_walk(&run.content, disk, ring, run.config->far, crash_accept, NULL);
        test_ok(vdisk_close(disk));
    }
    unlink(copy);
    unlink(points_path(copy));
}

static void storm(uint64_t ops)
{
    pthread_t id[THREADS_MAX];

    run.hot = pick_offset(&run.thread[0]) % run.content.size;
    for (unsigned i = 0; i < run.threads; i++) {
        run.thread[i].left = ops / run.threads + 1;
        run.ops += run.thread[i].left;
        test_true(pthread_create(&id[i], NULL, thread_main, &run.thread[i]) == 0);
    }
    for (unsigned i = 0; i < run.threads; i++)
        pthread_join(id[i], NULL);
}

/* One life of an open disk. */
static void cycle(uint64_t ops)
{
    bool write = rng_below(&run.rng, 2);

    floor_set();
    storm(ops / 2 + 1);
    if (rng_below(&run.rng, 2)) {
        test_ok(vdisk_transfer(run.disk, run.thread[0].ring, VDISK_FLUSH, NULL, 0, 0));
        floor_set();
        if (rng_below(&run.rng, 2))
            crash_copy(write);
    }
    storm(ops / 2 + 1);
    crash_copy(!write);
    if (rng_below(&run.rng, 2))
        content_verify(&run.content, run.disk, run.thread[0].ring, run.config->far);
}

/* ---- Chains and configurations ------------------------------------------------------------------------------- */

static void link_create(struct content *below)
{
    const struct config *config = run.config;
    uint64_t sector = config->sector, size = config->size, fewer;
    struct vdisk_create_options options = {.format = config->format, .sector_size = config->sector,
                                           .log = messages_log(&run.messages)};

    options.type = run.level ? "differencing" : config->type;
    options.block_size = run.level ? config->child_block : config->block;
    if (run.level) {
        options.parent = level_path(run.level - 1);
        size = below->size;
        fewer = below->sectors / 2 < 2048 ? below->sectors / 2 : 2048; /* smaller again and again, there is still a disk */
        if (rng_below(&run.rng, 2))
            size += rng_below(&run.rng, 2) ? sector * (1 + rng_below(&run.rng, 4096))
                                           : -(sector * (1 + rng_below(&run.rng, fewer)));
        content_copy(&run.content, below, size);
    } else {
        content_open(&run.content, size, config->sector);
    }
    options.size = size;
    test_ok(vdisk_create(level_path(run.level), &options, &run.disk));
    test_equal(vdisk_size(run.disk), size);
    test_equal(vdisk_sector_size(run.disk), config->sector);
    run.block = vdisk_block_size(run.disk);
    if (options.block_size && run.block != options.block_size)
        test_fail("%s: block size %u, asked for %u", run.name, run.block, options.block_size);
    run.floor = calloc(run.content.sectors, sizeof(*run.floor));
    run.cleared = calloc(run.content.sectors, 1);
    test_true(run.floor && run.cleared);
}

/* The link's lives: the first on the disk as created (not yet named) or reopened, the others reopened. */
static void link_run(struct content *below, uint64_t ops)
{
    bool fresh = rng_below(&run.rng, 2);

    link_create(below);
    if (fresh)
        cycle(ops / CYCLES);
    test_ok(vdisk_commit(run.disk));
    disk_check(level_path(run.level));
    for (int i = fresh; i < CYCLES; i++) {
        if (rng_below(&run.rng, 2))
            point_make();
        run.disk = disk_open(level_path(run.level), VDISK_OPEN_WRITE);
        content_verify(&run.content, run.disk, run.thread[0].ring, run.config->far);
        cycle(ops / CYCLES);
        test_ok(vdisk_close(run.disk));
        disk_check(level_path(run.level));
        if (run.touched) {
            run.disk = disk_open(level_path(run.level), 0);
            changes_verify(run.disk, true);
            test_ok(vdisk_close(run.disk));
        }
    }
    unlink(points_path(level_path(run.level)));
    free(run.touched);
    run.touched = NULL;
    free(run.floor);
    free(run.cleared);
}

/* Reads every link of the finished chain: no child changed its parents. */
static void chain_verify(struct content *contents)
{
    for (run.level = 0; run.level < run.config->depth; run.level++) {
        struct vdisk *disk = disk_open(level_path(run.level), 0);

        content_verify(&contents[run.level], disk, run.thread[0].ring, run.config->far);
        test_ok(vdisk_close(disk));
        content_close(&contents[run.level]);
    }
    for (run.level = 0; run.level < run.config->depth; run.level++)
        unlink(level_path(run.level));
}

static void rings_open(unsigned index)
{
    static const enum vdisk_backend backends[] = {VDISK_BACKEND_URING, VDISK_BACKEND_AIO, VDISK_BACKEND_THREADS,
                                                  VDISK_BACKEND_INLINE, VDISK_BACKEND_CACHED};

    run.backend = backends[index % 5];
    for (unsigned i = 0; i < run.threads; i++) {
        struct thread *thread = &run.thread[i];
        unsigned depth = i == 1 ? 3 : 0; /* one ring is too shallow for its requests */

        rng_seed(&thread->rng, rng_next(&run.rng) + i);
        if (vdisk_ring_open(depth, run.backend, &thread->ring) < 0) /* this kernel or sandbox refuses it */
            test_ok(vdisk_ring_open(depth, VDISK_BACKEND_AUTO, &thread->ring));
    }
}

static void config_run(const struct config *config, unsigned index, uint64_t seed, uint64_t ops)
{
    struct content contents[8];

    run.config = config;
    rng_seed(&run.rng, seed * 1000 + index);
    rings_open(index + (unsigned)seed);
    for (run.level = 0; run.level < config->depth; run.level++) {
        link_run(run.level ? &contents[run.level - 1] : NULL, ops / config->depth);
        contents[run.level] = run.content;
    }
    chain_verify(contents);
    if (run.messages.count[VDISK_ERROR])
        test_fail("%s: an error was said: %s", run.name, run.messages.first);
    for (unsigned i = 0; i < run.threads; i++)
        vdisk_ring_close(run.thread[i].ring);
}

static void threads_prepare(void)
{
    run.threads = (unsigned)test_number("MODEL_THREADS", 3);
    test_true(run.threads >= 1 && run.threads <= THREADS_MAX);
    pthread_mutex_init(&run.lock, NULL);
    pthread_mutex_init(&run.messages.lock, NULL);
    run.messages.echo = true;
    for (unsigned i = 0; i < run.threads; i++) {
        run.thread[i].run = &run;
        run.thread[i].index = i;
        for (unsigned j = 0; j < SLOTS; j++) {
            struct slot *slot = &run.thread[i].slot[j];

            slot->thread = &run.thread[i];
            slot->buffer = aligned_alloc(4096, OP_MAX);
            slot->old = malloc(OP_MAX / 512 * sizeof(*slot->old));
            test_true(slot->buffer && slot->old);
        }
    }
}

int main(void)
{
    uint64_t seed = test_number("MODEL_SEED", 1);
    uint64_t ops = test_number("MODEL_OPS", 3000000), total = 0;
    const char *only = getenv("MODEL_ONLY"), *without = getenv("MODEL_WITHOUT"); /* parts of names */
    time_t began = time(NULL);

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("MODEL_SEED=%llu MODEL_OPS=%llu\n", (unsigned long long)seed, (unsigned long long)ops);
    scratch_make(run.dir, true);
    threads_prepare();
    for (size_t i = 0; i < CONFIGS; i++)
        total += configs[i].weight;
    for (size_t i = 0; i < CONFIGS; i++) {
        const struct config *c = &configs[i];
        uint64_t before = run.ops;
        time_t start = time(NULL);

        snprintf(run.name, sizeof(run.name), "%s-%s-%uK-%uK-%u-depth%u%s", c->format, c->type, c->block / KIB,
                 c->child_block / KIB, c->sector, c->depth, c->far ? "-far" : "");
        if ((only && *only && !strstr(run.name, only)) || (without && *without && strstr(run.name, without)))
            continue;
        config_run(c, (unsigned)i, seed, ops * c->weight / total);
        printf("%-44s %8llu requests %4ld s\n", run.name, (unsigned long long)(run.ops - before),
               (long)(time(NULL) - start));
    }
    printf("%llu requests in %ld s, all as the model says\n", (unsigned long long)run.ops,
           (long)(time(NULL) - began));
    return 0;
}
