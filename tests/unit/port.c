/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an operation relies on while guests go on: a port that is paused is still, a range that is held is not changed and
 * everything else goes on, and a disk that is settled is a clean file that can be written to again.
 *
 * Writers own every third sector each and remember what they wrote last. Behind these are blocks that come and go whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "disk/chain.h"
#include "disk/port.h"
#include "tests/chaos.h"
#include "tests/storage.h"

#define SECTOR 512u
#define SIZE (4u << 20)
#define SECTORS (SIZE / SECTOR)
#define BLOCKS 8u /* behind SIZE */
#define BLOCK (1u << 20)
#define WRITERS 3u
#define DEPTH 8u
#define ROUNDS 60

struct writer;

struct flight {
    struct vdisk_io io; /* first */
    struct writer *writer;
    struct iovec iov;
    uint64_t words[SECTOR / 8];
    uint32_t sector, value;
    bool busy;
};

struct writer {
    struct world *world;
    pthread_t thread;
    struct vdisk_ring *ring;
    struct rng rng;
    unsigned number;
    struct flight flight[DEPTH];
    uint32_t value;
};

struct world {
    const struct disk_format *format;
    struct storage *storage;
    struct vdisk_port *port;
    struct vdisk_ring *ring;
    struct rng rng;
    struct writer writer[WRITERS];
    _Atomic uint64_t written;
    _Atomic bool stop;
    /* Of each sector: what its owner knows to be there, and what may be by now. */
    _Atomic uint32_t last[SECTORS], next[SECTORS];
    bool flying[SECTORS];
    uint8_t block[BLOCKS]; /* the byte that each is full of */
    pthread_t restless;
};

static struct messages messages = MESSAGES_INIT;

static void fill(struct flight *flight)
{
    for (size_t i = 0; i < SECTOR / 8; i++)
        flight->words[i] = (uint64_t)flight->value << 32 | flight->sector;
}

static uint64_t expected(uint32_t sector, uint32_t value)
{
    return value ? (uint64_t)value << 32 | sector : 0;
}

static void flight_done(struct vdisk_io *io, int error)
{
    struct flight *flight = (struct flight *)io;
    struct world *world = flight->writer->world;

    test_ok(error);
    if (io->op == VDISK_READ) {
        uint64_t want = expected(flight->sector, flight->value);

        for (unsigned i = 0; i < SECTOR / 8; i++)
            if (flight->words[i] != want)
                test_fail("sector %u is %#llx, must be %#llx", flight->sector, (unsigned long long)flight->words[i],
                          (unsigned long long)want);
    }
    if (io->op != VDISK_FLUSH) {
        world->last[flight->sector] = flight->value;
        world->flying[flight->sector] = false;
        atomic_fetch_add(&world->written, 1);
    }
    flight->busy = false;
}

/* A write, sometimes of zeros, or a read, seldom a flush, of a sector that none of the writer's is under way to. */
static void start(struct writer *writer, struct flight *flight)
{
    struct world *world = writer->world;
    uint64_t kind = rng_below(&writer->rng, 40);

    flight->io = (struct vdisk_io){.op = kind == 0 ? VDISK_FLUSH : kind < 8 ? VDISK_ZERO : kind < 16 ? VDISK_READ : VDISK_WRITE,
                                   .flags = kind == 39 ? VDISK_FUA : 0,
                                   .done = flight_done};
    flight->writer = writer;
    flight->busy = true;
    if (flight->io.op != VDISK_FLUSH) {
        do {
            flight->sector = (uint32_t)rng_below(&writer->rng, SECTORS / WRITERS) * WRITERS + writer->number;
        } while (world->flying[flight->sector]);
        world->flying[flight->sector] = true;
        flight->value = flight->io.op == VDISK_ZERO ? 0 : ++writer->value;
        if (flight->io.op == VDISK_READ)
            flight->value = atomic_load(&world->last[flight->sector]);
        atomic_store(&world->next[flight->sector], flight->value);
        fill(flight);
        flight->iov = (struct iovec){flight->words, SECTOR};
        flight->io.iov = &flight->iov;
        flight->io.iovcnt = 1;
        flight->io.offset = (uint64_t)flight->sector * SECTOR;
        flight->io.length = SECTOR;
    }
    vdisk_port_submit(world->port, writer->ring, &flight->io);
}

static void *write_on(void *arg)
{
    struct writer *writer = arg;
    bool busy = true;

    while (!atomic_load(&writer->world->stop) || busy) {
        busy = false;
        for (unsigned i = 0; i < DEPTH; i++) {
            if (!writer->flight[i].busy && !atomic_load(&writer->world->stop))
                start(writer, &writer->flight[i]);
            busy |= writer->flight[i].busy;
        }
        if (busy)
            vdisk_ring_poll(writer->ring, true);
    }
    return NULL;
}

static struct vdisk *open_disk(struct world *world, struct storage *storage, bool writable)
{
    struct vdisk_log log = messages_log(&messages);
    struct vdisk *disk;
    struct file *file;

    test_ok(storage_open(storage, "disk", writable, &log, &file));
    test_ok(link_open(file, world->format, false, &disk));
    return disk;
}

static void world_open(struct world *world, const char *format)
{
    static const struct vdisk_log silent;
    struct disk_geometry g = {
        .type = DISK_DYNAMIC, .size = SIZE + BLOCKS * BLOCK, .block_size = BLOCK, .sector_size = SECTOR, .physical_sector_size = 4096};
    struct vdisk *disk;
    struct file *file;

    memset(world, 0, sizeof(*world));
    world->format = chain_format_named(format, &silent);
    world->storage = storage_new();
    rng_seed(&world->rng, 1);
    test_ok(storage_open(world->storage, "disk", true, &silent, &file));
    test_ok(world->format->create(file, &g));
    file_close(file);
    disk = open_disk(world, world->storage, true);
    chaos_route(disk->file);
    test_ok(vdisk_port_of(disk, &world->port));
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_THREADS, &world->ring));
    chaos_install(world->ring, 99);
    for (unsigned i = 0; i < WRITERS; i++) {
        struct writer *writer = &world->writer[i];

        writer->world = world;
        writer->number = i;
        rng_seed(&writer->rng, i + 10);
        test_ok(vdisk_ring_open(16, VDISK_BACKEND_THREADS, &writer->ring));
        chaos_install(writer->ring, i + 1);
        test_equal(pthread_create(&writer->thread, NULL, write_on, writer), 0);
    }
}

static void verify(struct world *world, struct vdisk *disk)
{
    static uint64_t words[SIZE / 8];

    static uint8_t bytes[BLOCK];

    for (unsigned i = 0; i < BLOCKS; i++) {
        test_ok(vdisk_transfer(disk, world->ring, VDISK_READ, bytes, SIZE + i * BLOCK, BLOCK));
        for (size_t at = 0; at < BLOCK; at++)
            if (bytes[at] != world->block[i])
                test_fail("byte %zu of block %u is %u, must be %u", at, i, bytes[at], world->block[i]);
    }
    test_ok(vdisk_transfer(disk, world->ring, VDISK_READ, words, 0, SIZE));
    for (uint32_t sector = 0; sector < SECTORS; sector++) {
        uint64_t *word = &words[sector * (SECTOR / 8)];
        uint64_t want = expected(sector, atomic_load(&world->last[sector]));

        if (*word != want)
            want = expected(sector, atomic_load(&world->next[sector]));
        for (uint32_t i = 0; i < SECTOR / 8; i++)
            if (word[i] != want)
                test_fail("sector %u is %#llx, must be %#llx", sector, (unsigned long long)word[i],
                          (unsigned long long)want);
    }
}

static void expect_clean(struct world *world, struct storage *storage)
{
    struct vdisk_log log = messages_log(&messages);
    struct file *file;

    test_ok(storage_open(storage, "settled", false, &log, &file));
    test_equal(world->format->check(file, NULL, messages_fault, &messages), 0);
    file_close(file);
}

static void world_close(struct world *world)
{
    struct vdisk *disk;

    atomic_store(&world->stop, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(world->writer[i].thread, NULL);
        vdisk_ring_close(world->writer[i].ring);
    }
    if (world->restless)
        pthread_join(world->restless, NULL);
    test_ok(vdisk_port_close(world->port));
    expect_clean(world, world->storage);
    disk = open_disk(world, world->storage, false);
    chaos_route(disk->file);
    verify(world, disk);
    test_ok(vdisk_close(disk));
    vdisk_ring_close(world->ring);
    storage_free(world->storage);
}

/* Reads a range twice, some time between: nobody has changed it. */
static void expect_still(struct world *world, uint64_t offset, uint64_t length)
{
    static uint8_t first[SIZE], second[SIZE];
    struct vdisk *disk = vdisk_port_disk(world->port);

    test_ok(vdisk_transfer(disk, world->ring, VDISK_READ, first, offset, length));
    usleep(300);
    test_ok(vdisk_transfer(disk, world->ring, VDISK_READ, second, offset, length));
    if (memcmp(first, second, length) != 0)
        test_fail("what must be still was changed");
}

/* Writers elsewhere go on. */
static void expect_progress(struct world *world)
{
    uint64_t before = atomic_load(&world->written);

    for (int i = 0; atomic_load(&world->written) == before; i++) {
        if (i > 20000)
            test_fail("nobody writes any more");
        usleep(500);
    }
}

/* As it stands in the storage now: whole, clean, and what the writers know to have written. */
static void expect_settled(struct world *world)
{
    struct storage *copy = storage_copy(world->storage);
    struct vdisk *disk;

    expect_clean(world, copy);
    disk = open_disk(world, copy, false);
    test_true(!disk->file->beneath); /* no log to look through */
    chaos_route(disk->file);
    verify(world, disk);
    test_ok(vdisk_close(disk));
    storage_free(copy);
}

static void live(const char *format, void (*round)(struct world *world))
{
    static struct world world;

    world_open(&world, format);
    for (int i = 0; i < ROUNDS; i++) {
        expect_progress(&world);
        round(&world);
    }
    world_close(&world);
}

static void pause_round(struct world *world)
{
    test_ok(port_begin(world->port));
    assert_int_equal(port_begin(world->port), -EBUSY);
    port_pause(world->port);
    expect_still(world, 0, SIZE);
    test_true(port_resume(world->port) > 300000);
    port_end(world->port);
}

static void hold_round(struct world *world)
{
    struct vdisk *disk = vdisk_port_disk(world->port);
    uint64_t start = rng_below(&world->rng, SECTORS - 1) * SECTOR;

    for (int again = 0; again < 3; again++) {
        uint64_t length = 64 * SECTOR < SIZE - start ? 64 * SECTOR : SIZE - start;

        disk_hold(disk, start, length);
        expect_still(world, start, length);
        if (again == 0 && rng_below(&world->rng, 8) == 0)
            expect_progress(world);
        disk_release(disk);
        start = start > SIZE / 2 ? start - SIZE / 4 : start + SIZE / 4;
    }
}

/* Zeroes and fills the blocks for ever, in requests that take a while. */
static void *rest_never(void *arg)
{
    struct world *world = arg;
    uint8_t *bytes = calloc(BLOCKS, BLOCK);
    struct vdisk_ring *ring;

    test_ok(vdisk_ring_open(16, VDISK_BACKEND_THREADS, &ring));
    for (uint8_t byte = 1; !atomic_load(&world->stop); byte = byte % 200 + 1) {
        memset(bytes, byte, BLOCKS * BLOCK);
        test_ok(vdisk_port_transfer(world->port, ring, VDISK_WRITE, bytes, SIZE, BLOCKS * BLOCK));
        test_ok(vdisk_port_transfer(world->port, ring, VDISK_ZERO, NULL, SIZE + SECTOR, BLOCKS * BLOCK - SECTOR));
    }
    test_ok(vdisk_port_transfer(world->port, ring, VDISK_ZERO, NULL, SIZE, BLOCKS * BLOCK));
    vdisk_ring_close(ring);
    free(bytes);
    return NULL;
}

/* Time between the engine's question whether a range is held and the change. */
static int64_t slow_drop(struct vdisk *disk, uint64_t offset, uint64_t length)
{
    static const struct vdisk_log silent;

    usleep(400);
    return chain_format_named(disk->format->name, &silent)->drop(disk, offset, length);
}

static void restless_round(struct world *world)
{
    static struct disk_format slow;
    struct vdisk *disk = vdisk_port_disk(world->port);

    if (!world->restless) {
        port_pause(world->port);
        slow = *disk->format;
        slow.drop = slow_drop;
        disk->format = &slow;
        port_resume(world->port);
        test_equal(pthread_create(&world->restless, NULL, rest_never, world), 0);
    }
    disk_hold(disk, SIZE, BLOCKS * BLOCK);
    expect_still(world, SIZE, SIZE);
    disk_release(disk);
    usleep((unsigned)rng_below(&world->rng, 2000));
}

/* Metadata that is not durable yet: a block that was filled, one that went away, one with a home and nothing in it. */
static void disturb(struct world *world, struct vdisk *disk)
{
    static uint8_t bytes[BLOCK];
    unsigned at[3];

    for (int i = 0; i < 3; i++) {
        at[i] = (unsigned)rng_below(&world->rng, BLOCKS);
        world->block[at[i]] = i == 0 ? (uint8_t)rng_below(&world->rng, 200) : 0;
        memset(bytes, world->block[at[i]], BLOCK);
        test_ok(vdisk_transfer(disk, world->ring, i == 0 ? VDISK_WRITE : VDISK_ZERO, bytes, SIZE + at[i] * BLOCK, BLOCK));
    }
    test_ok(disk->format->reserve(disk, DISK_WRITE, SIZE + at[2] * BLOCK, BLOCK));
}

static void settle_round(struct world *world)
{
    struct vdisk *disk = vdisk_port_disk(world->port);

    disturb(world, disk);
    port_pause(world->port);
    test_ok(disk_freeze(disk));
    assert_int_equal(vdisk_transfer(disk, world->ring, VDISK_ZERO, NULL, 0, SECTOR), -EROFS);
    expect_settled(world);
    test_ok(disk_thaw(disk));
    port_resume(world->port);
}

struct identity {
    char now[64], before[64];
};

static void keep_identity(void *arg, const struct vdisk_field *field)
{
    struct identity *identity = arg;

    if (strcmp(field->name, "data-write-guid") == 0)
        snprintf(identity->now, sizeof(identity->now), "%s", field->text);
}

/* Larger and smaller, a little and by far, while what all sizes have is written to. */
static void resize_round(struct world *world)
{
    uint64_t size = SIZE + BLOCKS * BLOCK;
    struct identity identity = {.now = ""};

    disturb(world, vdisk_port_disk(world->port));
    test_ok(vdisk_info(vdisk_port_disk(world->port), keep_identity, &identity));
    memcpy(identity.before, identity.now, sizeof(identity.now));
    size += rng_below(&world->rng, 3000) * (rng_below(&world->rng, 2) ? SECTOR : BLOCK);
    test_ok(vdisk_resize(world->port, size, 0, NULL));
    test_equal(vdisk_port_size(world->port), size);
    test_equal(vdisk_size(vdisk_port_disk(world->port)), size);
    assert_int_equal(vdisk_transfer(vdisk_port_disk(world->port), world->ring, VDISK_ZERO, NULL, size, SECTOR), -ERANGE);
    assert_int_equal(vdisk_resize(world->port, size + 1, 0, NULL), -EINVAL);
    test_ok(vdisk_transfer(vdisk_port_disk(world->port), world->ring, VDISK_FLUSH, NULL, 0, 0));
    expect_progress(world);
    test_ok(vdisk_info(vdisk_port_disk(world->port), keep_identity, &identity));
    if (strcmp(vdisk_format(vdisk_port_disk(world->port)), "vhdx") == 0)
        test_true(strcmp(identity.before, identity.now) != 0);
    else
        test_equal(strlen(identity.now), 0);
}

/* Blocks come and go, and what is left moves to the front, while others are written to. */
static void compact_round(struct world *world)
{
    struct vdisk *disk = vdisk_port_disk(world->port);
    struct vdisk_compact_result result;

    disturb(world, disk);
    disturb(world, disk);
    test_ok(vdisk_compact(world->port, NULL, NULL, &result));
    test_true(result.size_after <= 2 * (SIZE + BLOCKS * BLOCK));
    test_equal(vdisk_port_disk(world->port) == disk, 1);
}

static void pauses(void **state)
{
    (void)state;
    live("vhdx", pause_round);
}

static void holds(void **state)
{
    (void)state;
    live("vhdx", hold_round);
    live("vhd", hold_round);
    live("vhdx", restless_round);
    live("vhd", restless_round);
}

static void settles(void **state)
{
    (void)state;
    live("vhdx", settle_round);
    live("vhd", settle_round);
}

static void resizes(void **state)
{
    (void)state;
    live("vhdx", resize_round);
    live("vhd", resize_round);
}

static void compacts(void **state)
{
    (void)state;
    live("vhdx", compact_round);
    live("vhd", compact_round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pauses), cmocka_unit_test(holds), cmocka_unit_test(settles),
                                       cmocka_unit_test(resizes), cmocka_unit_test(compacts)};

    messages.echo = getenv("TEST_ECHO") != NULL;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
