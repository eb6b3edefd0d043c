/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random requests (writes, zeros, discards) through a port, from several threads with a ring each, while one more
 * thread takes snapshots, merges them, has copies take the place of parents, makes the disk larger and compacts it,
 * again and again. Every read is compared with a model, and so is the disk when it was opened again; the files are
 * clean.
 *
 * Each slot of each thread has units of the disk to itself, so that it knows what they hold: of every other MiB all, of
 * those between the units lie side by side with the others' in the same blocks.
 *
 * LIVE_SEED, LIVE_SECONDS (of each configuration).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "tests/support.h"

#define UNIT 4096u
#define SECTOR 512u
#define MIB (1u << 20)
#define AREA_UNITS (MIB / UNIT)
#define SIZE (40u * MIB)
#define UNITS (SIZE / UNIT)
#define THREADS 3u
#define SLOTS 6u
#define LINKS 3 /* at most */
#define OPERATIONS 5u

struct config {
    const char *format;
    uint32_t block;
    enum vdisk_backend backend;
};

static const struct config configs[] = {
    {"vhdx", MIB, VDISK_BACKEND_URING},
    {"vhdx", 2 * MIB, VDISK_BACKEND_THREADS},
    {"vhd", MIB / 2, VDISK_BACKEND_AIO},
    {"vhd", 2 * MIB, VDISK_BACKEND_URING},
};

struct slot {
    struct vdisk_io io; /* first: on_done gets it */
    struct thread *thread;
    uint32_t unit, count, value; /* value: of a WRITE and ZERO */
    struct iovec iov;
    uint64_t *buffer; /* MIB */
    bool busy;
};

struct thread {
    struct vdisk_ring *ring;
    struct rng rng;
    unsigned index, busy;
    struct slot slot[SLOTS];
};

static struct {
    const struct config *config;
    char dir[TEST_PATH], name[32];
    struct vdisk_port *port;
    uint32_t value[UNITS]; /* by the unit's own slot only, and so the next two: */
    uint8_t maybe[UNITS];  /* of its sectors, those that were discarded since: they have their bytes or are zeros */
    uint8_t zero[UNITS];   /* and those that were seen to be zeros by that: they stay so */
    _Atomic bool stop;
    _Atomic uint64_t requests;
    unsigned done[OPERATIONS]; /* of each */
    struct messages messages;
    struct thread thread[THREADS];
} run;

/* ---- Requests ---- */

static void fill(uint64_t *words, uint32_t unit, uint32_t value)
{
    for (uint32_t i = 0; i < UNIT / 8; i++)
        words[i] = value ? (uint64_t)value << 32 | unit : 0;
}

/* A sector that was discarded is from now on what it is seen to be. */
static void compare(const uint64_t *words, uint32_t unit)
{
    for (uint32_t sector = 0; sector < UNIT / SECTOR; sector++, words += SECTOR / 8) {
        uint8_t bit = (uint8_t)(1u << sector);
        uint64_t want = run.value[unit] ? (uint64_t)run.value[unit] << 32 | unit : 0;

        if (run.maybe[unit] & bit && words[0] == 0)
            run.zero[unit] |= bit;
        if (run.zero[unit] & bit)
            want = 0;
        for (uint32_t i = 0; i < SECTOR / 8; i++)
            if (words[i] != want)
                test_fail("%s: unit %u sector %u: %#llx is there, %#llx was written", run.name, unit, sector,
                          (unsigned long long)words[i], (unsigned long long)want);
        run.maybe[unit] &= (uint8_t)~bit;
    }
}

static void changed(uint32_t unit, enum vdisk_op op, uint32_t value)
{
    if (op == VDISK_DISCARD) {
        run.maybe[unit] = (uint8_t)~run.zero[unit];
        return;
    }
    run.value[unit] = value;
    run.maybe[unit] = run.zero[unit] = 0;
}

static bool own(const struct slot *slot, uint32_t unit)
{
    uint32_t area = unit / AREA_UNITS, index = slot->thread->index * SLOTS + (uint32_t)(slot - slot->thread->slot);

    return (area % 2 ? area / 2 : unit) % (THREADS * SLOTS) == index;
}

static void on_done(struct vdisk_io *io, int error)
{
    struct slot *slot = (struct slot *)io;

    if (error)
        test_fail("%s: op %d at unit %u: %s", run.name, (int)io->op, slot->unit, strerror(-error));
    for (uint32_t i = 0; i < slot->count; i++)
        if (io->op == VDISK_READ)
            compare(slot->buffer + i * (UNIT / 8), slot->unit + i);
        else
            changed(slot->unit + i, io->op, slot->value);
    slot->busy = false;
    slot->thread->busy--;
    atomic_fetch_add(&run.requests, 1);
}

static void submit(struct slot *slot)
{
    struct thread *thread = slot->thread;
    uint64_t dice = rng_below(&thread->rng, 100);

    do
        slot->unit = (uint32_t)rng_below(&thread->rng, UNITS);
    while (!own(slot, slot->unit));
    slot->count = 1;
    if (slot->unit / AREA_UNITS % 2 && rng_below(&thread->rng, 8) == 0) {
        slot->unit -= slot->unit % AREA_UNITS;
        slot->count = AREA_UNITS;
    }
    slot->value = 0;
    slot->io = (struct vdisk_io){.op = dice < 50   ? VDISK_WRITE
                                       : dice < 85 ? VDISK_READ
                                       : dice < 92 ? VDISK_ZERO
                                       : dice < 98 ? VDISK_DISCARD
                                                   : VDISK_FLUSH,
                                 .iov = &slot->iov,
                                 .iovcnt = 1,
                                 .done = on_done};
    if (slot->io.op == VDISK_FLUSH)
        slot->count = 0;
    slot->io.offset = slot->count ? (uint64_t)slot->unit * UNIT : 0;
    slot->io.length = (uint64_t)slot->count * UNIT;
    slot->iov = (struct iovec){slot->buffer, slot->io.length};
    if (slot->io.op == VDISK_WRITE) {
        slot->value = 1 + (uint32_t)rng_below(&thread->rng, UINT32_MAX - 1);
        for (uint32_t i = 0; i < slot->count; i++)
            fill(slot->buffer + i * (UNIT / 8), slot->unit + i, slot->value);
    }
    slot->busy = true;
    thread->busy++;
    vdisk_port_submit(run.port, thread->ring, &slot->io);
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;

    while (!atomic_load(&run.stop)) {
        struct slot *slot = &thread->slot[rng_below(&thread->rng, SLOTS)];

        if (!slot->busy)
            submit(slot);
        vdisk_ring_poll(thread->ring, thread->busy > 3);
    }
    while (thread->busy)
        vdisk_ring_poll(thread->ring, true);
    return NULL;
}

/* ---- Operations ---- */

static const char *link_path(unsigned link)
{
    char name[24];

    snprintf(name, sizeof(name), "%u.%s", link, run.config->format);
    return scratch_path(run.dir, name);
}

static void must(const char *what, int err)
{
    if (err)
        test_fail("%s: %s: %s: %s", run.name, what, strerror(-err), run.messages.first);
}

/* A copy takes the place of some link's parent, which goes, and then its name. */
static void relink(struct rng *rng, unsigned top)
{
    unsigned number = 1 + (unsigned)rng_below(rng, top);
    const char *link = number == top ? NULL : link_path(number);
    char parent[TEST_PATH], copy[TEST_PATH];

    snprintf(parent, sizeof(parent), "%s", link_path(number - 1));
    snprintf(copy, sizeof(copy), "%s", scratch_path(run.dir, "copy"));
    file_copy(parent, copy);
    must("relink to a copy", vdisk_port_relink(run.port, link, copy, NULL, NULL));
    test_ok(rename(copy, parent));
    must("relink to another name", vdisk_port_relink(run.port, link, parent, NULL, NULL));
}

/* For so many seconds: each operation in turn, but that some chains grow first. Returns the top's number.
 */
static unsigned operate(struct rng *rng, uint64_t seconds)
{
    struct timespec now;
    uint64_t end;
    unsigned top = 0;

    clock_gettime(CLOCK_MONOTONIC, &now);
    end = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + seconds * 1000;
    for (unsigned i = 0; (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 < end || i < 3 * OPERATIONS;
         i++) {
        unsigned op = i % OPERATIONS;

        if (op == 0 && top < LINKS - 1)
            must("snapshot", vdisk_snapshot(run.port, link_path(++top), NULL, NULL));
        else if (op == 1)
            must("compact", vdisk_compact(run.port, NULL, NULL, NULL));
        else if (op == 2)
            must("resize",
                 vdisk_resize(run.port, vdisk_port_size(run.port) + UNIT * (1 + rng_below(rng, 64)), 0, NULL));
        else if (op == 3 && top > 0)
            relink(rng, top);
        else if (op == 4 && top > 0 && (i < OPERATIONS || rng_below(rng, 4)))
            must("merge", (top--, vdisk_merge(run.port, NULL, NULL, NULL)));
        else
            continue;
        run.done[op]++;
        usleep((useconds_t)rng_below(rng, 5000));
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
    return top;
}

/* ---- One configuration ---- */

static void prepare(uint64_t seed)
{
    struct vdisk_create_options options = {.format = run.config->format,
                                           .size = SIZE,
                                           .block_size = run.config->block,
                                           .log = messages_log(&run.messages)};
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&run.messages)};
    struct vdisk *disk;

    memset(run.value, 0, sizeof(run.value));
    memset(run.maybe, 0, sizeof(run.maybe));
    memset(run.zero, 0, sizeof(run.zero));
    memset(run.done, 0, sizeof(run.done));
    run.stop = false;
    run.requests = 0;
    test_ok(vdisk_create(link_path(0), &options, &disk));
    test_ok(vdisk_commit(disk));
    test_ok(vdisk_port_open(link_path(0), &how, &run.port));
    for (unsigned i = 0; i < THREADS; i++) {
        struct thread *thread = &run.thread[i];

        thread->index = i;
        rng_seed(&thread->rng, seed * 10 + i);
        if (vdisk_ring_open(0, run.config->backend, &thread->ring) < 0) /* this kernel or sandbox refuses it */
            test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &thread->ring));
        for (unsigned j = 0; j < SLOTS; j++) {
            thread->slot[j].thread = thread;
            thread->slot[j].buffer = aligned_alloc(UNIT, MIB);
            test_true(thread->slot[j].buffer);
        }
    }
}

/* The disk as it is on its files: the model's, and zeros where it was made larger. */
static void verify(unsigned top, uint64_t size)
{
    struct vdisk_open_options how = {.log = messages_log(&run.messages)};
    uint64_t *words = run.thread[0].slot[0].buffer;
    struct vdisk *disk;

    test_ok(vdisk_open(link_path(top), &how, &disk));
    test_equal(vdisk_size(disk), size);
    for (uint32_t unit = 0; unit < size / UNIT; unit++) {
        test_ok(vdisk_transfer(disk, run.thread[0].ring, VDISK_READ, words, (uint64_t)unit * UNIT, UNIT));
        if (unit < UNITS)
            compare(words, unit);
        for (uint32_t i = 0; unit >= UNITS && i < UNIT / 8; i++)
            test_equal(words[i], 0);
    }
    test_ok(vdisk_close(disk));
    for (unsigned link = 0; link <= top; link++) {
        if (vdisk_check(link_path(link), &how, NULL, messages_fault, &run.messages) != 0)
            test_fail("%s: link %u is not clean: %s", run.name, link, run.messages.fault);
        unlink(link_path(link));
    }
}

static void config_run(uint64_t seed, uint64_t seconds)
{
    pthread_t id[THREADS];
    struct rng rng;
    uint64_t size;
    unsigned top;

    snprintf(run.name, sizeof(run.name), "%s-%uK", run.config->format, run.config->block / 1024);
    rng_seed(&rng, seed);
    prepare(seed);
    for (unsigned i = 0; i < THREADS; i++)
        test_equal(pthread_create(&id[i], NULL, thread_main, &run.thread[i]), 0);
    top = operate(&rng, seconds);
    atomic_store(&run.stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(id[i], NULL);
    size = vdisk_port_size(run.port);
    test_ok(vdisk_port_close(run.port));
    verify(top, size);
    for (unsigned i = 0; i < THREADS; i++) {
        vdisk_ring_close(run.thread[i].ring);
        for (unsigned j = 0; j < SLOTS; j++)
            free(run.thread[i].slot[j].buffer);
    }
    printf("%-12s %7llu requests, %u snapshots, %u compacted, %u resized, %u relinked, %u merged\n", run.name,
           (unsigned long long)run.requests, run.done[0], run.done[1], run.done[2], run.done[3], run.done[4]);
    for (unsigned op = 0; op < OPERATIONS; op++)
        test_true(run.done[op] > 0);
}

int main(void)
{
    uint64_t seed = test_number("LIVE_SEED", 1), seconds = test_number("LIVE_SECONDS", 1);

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("LIVE_SEED=%llu LIVE_SECONDS=%llu\n", (unsigned long long)seed, (unsigned long long)seconds);
    scratch_make(run.dir, true);
    pthread_mutex_init(&run.messages.lock, NULL);
    run.messages.echo = true;
    for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
        run.config = &configs[i];
        config_run(seed + i, seconds);
    }
    return 0;
}
