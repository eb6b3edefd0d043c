/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * While a disk moves: writers that meet each other in the same sectors, and the copying, and at the end the two disks must
 * read alike. Then whole moves under writers that know what they wrote; and moves that fail, after which the disk is where
 * it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "disk/chain.h"
#include "disk/mirror.h"
#include "disk/move.h"
#include "tests/chaos.h"
#include "tests/storage.h"

#define SECTOR 512u
#define SIZE (2u << 20)
#define REGION (64u << 10)
#define HOT (192u << 10) /* where they meet: three regions */
#define LONGEST (80u << 10) /* of a request: more than a region */
#define WRITERS 3u
#define DEPTH 6u

static struct messages messages = MESSAGES_INIT;
static char dir[TEST_PATH];

struct writer;

struct flight {
    struct vdisk_io io; /* first */
    struct writer *writer;
    struct iovec iov;
    uint8_t *bytes;
    bool busy;
};

struct writer {
    struct vdisk_port *port;
    _Atomic bool *stop;
    pthread_t thread;
    struct vdisk_ring *ring;
    struct rng rng;
    struct flight flight[DEPTH];
    uint64_t written;
};

struct crowd {
    _Atomic bool stop;
    struct writer writer[WRITERS];
};

static void flight_done(struct vdisk_io *io, int error)
{
    struct flight *flight = (struct flight *)io;

    test_ok(error);
    flight->writer->written++;
    flight->busy = false;
}

static void start(struct writer *writer, struct flight *flight)
{
    uint64_t kind = rng_below(&writer->rng, 20), sectors, at;

    sectors = 1 + rng_below(&writer->rng, rng_below(&writer->rng, 8) ? 16 : LONGEST / SECTOR);
    at = rng_below(&writer->rng, (rng_below(&writer->rng, 4) ? HOT : SIZE) / SECTOR - sectors);
    if (rng_below(&writer->rng, 3) == 0) { /* a part of each of two regions */
        sectors = 2 + rng_below(&writer->rng, 8);
        at = (1 + rng_below(&writer->rng, SIZE / REGION - 1)) * (REGION / SECTOR) - 1;
    }
    flight->io = (struct vdisk_io){
        .op = kind == 0 ? VDISK_FLUSH : kind == 1 ? VDISK_DISCARD : kind < 5 ? VDISK_ZERO : VDISK_WRITE,
        .flags = kind == 19 ? VDISK_FUA : 0,
        .offset = at * SECTOR,
        .length = sectors * SECTOR,
        .iov = &flight->iov,
        .iovcnt = 1,
        .done = flight_done,
    };
    flight->writer = writer;
    flight->busy = true;
    memset(flight->bytes, (int)rng_below(&writer->rng, 250) + 1, LONGEST);
    flight->iov = (struct iovec){flight->bytes, flight->io.length};
    vdisk_port_submit(writer->port, writer->ring, &flight->io);
}

static void *write_on(void *arg)
{
    struct writer *writer = arg;
    bool busy = true;

    while (!atomic_load(writer->stop) || busy) {
        busy = false;
        for (unsigned i = 0; i < DEPTH; i++) {
            if (!writer->flight[i].busy && !atomic_load(writer->stop))
                start(writer, &writer->flight[i]);
            busy |= writer->flight[i].busy;
        }
        if (busy)
            vdisk_ring_poll(writer->ring, true);
    }
    return NULL;
}

static void crowd_start(struct crowd *crowd, struct vdisk_port *port, uint64_t seed, bool chaos)
{
    memset(crowd, 0, sizeof(*crowd));
    for (unsigned i = 0; i < WRITERS; i++) {
        struct writer *writer = &crowd->writer[i];

        writer->port = port;
        writer->stop = &crowd->stop;
        rng_seed(&writer->rng, seed * WRITERS + i);
        test_ok(vdisk_ring_open(16, VDISK_BACKEND_THREADS, &writer->ring));
        if (chaos)
            chaos_install(writer->ring, seed * WRITERS + i);
        for (unsigned f = 0; f < DEPTH; f++)
            writer->flight[f].bytes = malloc(LONGEST);
        test_equal(pthread_create(&writer->thread, NULL, write_on, writer), 0);
    }
}

static uint64_t crowd_stop(struct crowd *crowd)
{
    uint64_t written = 0;

    atomic_store(&crowd->stop, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(crowd->writer[i].thread, NULL);
        vdisk_ring_close(crowd->writer[i].ring);
        for (unsigned f = 0; f < DEPTH; f++)
            free(crowd->writer[i].flight[f].bytes);
        written += crowd->writer[i].written;
    }
    return written;
}

/* ---- The mirror itself ---- */

static struct vdisk *make(const char *format, struct storage **storage)
{
    struct vdisk_log log = messages_log(&messages);
    struct disk_geometry g = {.type = DISK_DYNAMIC, .size = SIZE, .block_size = format[3] == 'x' ? 1 << 20 : 0,
                              .sector_size = SECTOR, .physical_sector_size = 4096};
    const struct disk_format *f = chain_format_named(format, &log);
    struct vdisk *disk;
    struct file *file;

    *storage = storage_new();
    test_ok(storage_open(*storage, format, true, &log, &file));
    test_ok(f->create(file, &g));
    test_ok(link_open(file, f, false, &disk));
    chaos_route(disk->file);
    return disk;
}

static void copy_all(struct mirror *mirror, struct move_copy *copy, uint64_t enough, bool quiet)
{
    uint64_t at = 0, offset, length;

    /* Writers may make more dirty than is copied. */
    for (int i = 0; (quiet || enough == 0 || i < 40) && mirror_dirty(mirror) > enough && mirror_next(mirror, &at, 128 << 10, &offset, &length);
         i++) {
        bool written = mirror_copy_begin(mirror, offset, length, quiet);
        int err = move_copy_range(copy, offset, length, written);

        mirror_copy_end(mirror, offset, length, err);
        test_ok(err);
    }
}

static void alike(const char *from, const char *to, uint64_t seed)
{
    static struct crowd crowd;
    struct storage *storage[2];
    struct vdisk *source = make(from, &storage[0]), *target = make(to, &storage[1]);
    struct vdisk_port *port;
    struct mirror *mirror;
    struct move_copy *copy;
    uint64_t where;

    test_ok(vdisk_port_of(source, &port));
    crowd_start(&crowd, port, seed, true);
    usleep(1000);
    test_ok(move_copy_open(source, target, false, &copy));
    chaos_install(move_copy_ring(copy), seed + 1000);
    test_ok(mirror_open(port, source, target, &mirror));
    /* Hot regions are copied again and again, until something was written to both. */
    for (int i = 0; i < 6 || (mirror_written(mirror) == 0 && i < 100000); i++) {
        copy_all(mirror, copy, 64 << 10, false);
        usleep(50);
    }
    crowd_stop(&crowd);
    copy_all(mirror, copy, 0, true);
    test_ok(mirror_failure(mirror));
    test_true(mirror_written(mirror) > 0);
    mirror_close(mirror);
    move_copy_close(copy);
    source->file->fd = target->file->fd = -1; /* from here on by rings like any other */
    if (vdisk_compare(source, target, NULL, &where) != 0)
        test_fail("seed %llu: %s and %s differ at %#llx", (unsigned long long)seed, from, to, (unsigned long long)where);
    test_ok(vdisk_close(target));
    test_ok(vdisk_port_close(port));
    storage_free(storage[0]);
    storage_free(storage[1]);
}

static void both_read_alike(void **state)
{
    uint64_t rounds = test_number("MIRROR_ROUNDS", 20), seed = test_number("MIRROR_SEED", 1);

    (void)state;
    for (uint64_t i = 0; i < rounds; i++)
        alike(i % 2 ? "vhd" : "vhdx", i / 2 % 2 ? "vhd" : "vhdx", seed + i);
}

/* One change is slow on its way to the target, and a later one of the same sector through at the source. The copying must
 * wait for the first, or that comes last. */

static _Thread_local bool slow;
static _Atomic bool reached, let_through;
static const struct file_ops *real_ops;

static ssize_t slow_pwritev(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    if (slow && iov->iov_len == SECTOR) {
        atomic_store(&reached, true);
        while (!atomic_load(&let_through))
            usleep(100);
    }
    return real_ops->pwritev(file, iov, iovcnt, position);
}

static void write_one(struct vdisk_port *port, uint8_t byte)
{
    struct vdisk_ring *ring;
    uint8_t bytes[SECTOR];

    memset(bytes, byte, SECTOR);
    test_ok(vdisk_ring_open(4, VDISK_BACKEND_THREADS, &ring));
    test_ok(vdisk_port_transfer(port, ring, VDISK_WRITE, bytes, 8 * SECTOR, SECTOR));
    vdisk_ring_close(ring);
}

static void *write_slowly(void *arg)
{
    slow = true;
    write_one(arg, 1);
    return NULL;
}

struct copying {
    struct mirror *mirror;
    struct move_copy *copy;
};

static void *copy_beside(void *arg)
{
    struct copying *copying = arg;

    copy_all(copying->mirror, copying->copy, 0, false);
    return NULL;
}

static void late_arrival(void **state)
{
    struct storage *storage[2];
    struct vdisk *source = make("vhdx", &storage[0]), *target = make("vhdx", &storage[1]);
    struct copying copying = {NULL, NULL};
    struct file_ops slow_ops;
    struct vdisk_port *port;
    pthread_t writer, copier;
    uint64_t where;

    (void)state;
    source->file->fd = target->file->fd = -1; /* by the rings' own threads */
    real_ops = target->file->ops;
    slow_ops = *real_ops;
    slow_ops.pwritev = slow_pwritev;
    target->file->ops = &slow_ops;
    test_ok(vdisk_port_of(source, &port));
    write_one(port, 9);
    test_ok(move_copy_open(source, target, false, &copying.copy));
    test_ok(mirror_open(port, source, target, &copying.mirror));
    copy_all(copying.mirror, copying.copy, 0, false);
    test_equal(pthread_create(&writer, NULL, write_slowly, port), 0);
    while (!atomic_load(&reached))
        usleep(100);
    write_one(port, 2);
    test_true(mirror_dirty(copying.mirror) > 0);
    test_equal(pthread_create(&copier, NULL, copy_beside, &copying), 0);
    usleep(20000);
    atomic_store(&let_through, true);
    pthread_join(writer, NULL);
    pthread_join(copier, NULL);
    test_ok(mirror_failure(copying.mirror));
    mirror_close(copying.mirror);
    move_copy_close(copying.copy);
    test_equal(vdisk_compare(source, target, NULL, &where), 0);
    test_ok(vdisk_close(target));
    test_ok(vdisk_port_close(port));
    storage_free(storage[0]);
    storage_free(storage[1]);
}

/* ---- Whole moves ---- */

static struct vdisk_port *open_port(const char *name)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    struct vdisk_port *port;

    test_ok(vdisk_port_open(scratch_path(dir, name), &how, &port));
    return port;
}

static void create(const char *name, const char *parent)
{
    struct vdisk_create_options options = {.size = parent ? 0 : SIZE, .parent = parent, .log = messages_log(&messages)};
    struct vdisk *disk;

    test_ok(vdisk_create(scratch_path(dir, name), &options, &disk));
    test_ok(vdisk_commit(disk));
}

static bool exists(const char *name)
{
    return access(scratch_path(dir, name), F_OK) == 0;
}

static void expect_sound(const char *name)
{
    struct vdisk_open_options how = {.log = messages_log(&messages)};

    test_equal(vdisk_check(scratch_path(dir, name), &how, NULL, messages_fault, &messages), 0);
}

/* To and fro while the crowd writes. */
static void goes_on(void **state)
{
    static const char *const names[] = {"a.vhdx", "b.vhd", "c.raw", "d.vhdx"};
    static struct crowd crowd;
    struct vdisk_port *port;
    char path[TEST_PATH];

    (void)state;
    create("a.vhdx", NULL);
    port = open_port("a.vhdx");
    crowd_start(&crowd, port, 77, false);
    for (int i = 0; i < 12; i++) {
        struct vdisk_move_result result;

        snprintf(path, sizeof(path), "%s", scratch_path(dir, names[(i + 1) % 4]));
        test_ok(vdisk_move(port, path, NULL, NULL, &result));
        test_true(result.pause > 0);
        test_true(!exists(names[i % 4]) && exists(names[(i + 1) % 4]));
        assert_string_equal(vdisk_path(vdisk_port_disk(port)), path);
    }
    test_true(crowd_stop(&crowd) > 0);
    test_ok(vdisk_port_close(port));
    expect_sound("a.vhdx");
    unlink(scratch_path(dir, "a.vhdx"));
}

static void cancel_at(void *arg, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    *(volatile sig_atomic_t *)arg = 1;
}

/* Refused, cancelled: the disk goes on where it was, and nothing is left. */
static void stays(void **state)
{
    static struct crowd crowd;
    volatile sig_atomic_t cancel = 0;
    struct vdisk_progress progress = {.step = cancel_at, .arg = (void *)&cancel, .cancel = &cancel};
    struct vdisk_port *port;
    char source[TEST_PATH], target[TEST_PATH];

    (void)state;
    create("a.vhdx", NULL);
    create("there.vhdx", NULL);
    port = open_port("a.vhdx");
    snprintf(source, sizeof(source), "%s", scratch_path(dir, "a.vhdx"));
    snprintf(target, sizeof(target), "%s", scratch_path(dir, "b.vhdx"));
    crowd_start(&crowd, port, 78, false);
    usleep(2000);
    messages_clear(&messages);
    test_equal(vdisk_move(port, source, NULL, NULL, NULL), -EINVAL);
    test_true(strstr(messages.first, "same file"));
    messages_clear(&messages);
    test_equal(vdisk_move(port, scratch_path(dir, "there.vhdx"), NULL, NULL, NULL), -EEXIST);
    test_true(strstr(messages.first, "exists"));
    test_equal(vdisk_move(port, scratch_path(dir, "none/b.vhdx"), NULL, NULL, NULL), -ENOENT);
    test_equal(vdisk_move(port, target, NULL, &progress, NULL), -ECANCELED);
    test_true(!exists("b.vhdx") && exists("a.vhdx"));
    assert_string_equal(vdisk_path(vdisk_port_disk(port)), source);
    test_true(crowd_stop(&crowd) > 0);
    test_ok(vdisk_port_close(port));
    expect_sound("a.vhdx");
    unlink(source);
    unlink(scratch_path(dir, "there.vhdx"));
}

/* A child with its parent, without it, and both. */
static void chains(void **state)
{
    struct vdisk_move_options chain = {.flags = VDISK_MOVE_CHAIN}, flat = {.flags = VDISK_MOVE_FLATTEN};
    struct vdisk_move_options wrong = {.format = "vhd"};
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    static uint8_t bytes[SIZE], back[SIZE];
    struct vdisk_port *port;
    struct vdisk_ring *ring;
    struct rng rng;
    char path[TEST_PATH];

    (void)state;
    rng_seed(&rng, 3);
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring));
    create("base.vhdx", NULL);
    port = open_port("base.vhdx");
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = i < SIZE / 2 ? (uint8_t)rng_next(&rng) : 0;
    test_ok(vdisk_port_transfer(port, ring, VDISK_WRITE, bytes, 0, SIZE));
    test_ok(vdisk_port_close(port));
    create("kid.vhdx", scratch_path(dir, "base.vhdx"));
    port = open_port("kid.vhdx");
    memset(bytes + 4096, 7, 65536);
    test_ok(vdisk_port_transfer(port, ring, VDISK_WRITE, bytes + 4096, 4096, 65536));
    memset(bytes + 300000 / SECTOR * SECTOR, 0, 8192);
    test_ok(vdisk_port_transfer(port, ring, VDISK_ZERO, NULL, 300000 / SECTOR * SECTOR, 8192));

    test_equal(vdisk_move(port, scratch_path(dir, "kid.vhd"), &wrong, NULL, NULL), -EINVAL);
    test_ok(vdisk_move(port, scratch_path(dir, "kid2.vhdx"), NULL, NULL, NULL));
    test_true(!exists("kid.vhdx") && exists("base.vhdx"));
    assert_string_equal(vdisk_type(vdisk_port_disk(port)), "differencing");
    test_ok(vdisk_port_transfer(port, ring, VDISK_READ, back, 0, SIZE));
    assert_memory_equal(back, bytes, SIZE);

    test_ok(mkdir(scratch_path(dir, "else"), 0700));
    test_ok(vdisk_move(port, scratch_path(dir, "else"), &chain, NULL, NULL));
    test_true(!exists("kid2.vhdx") && exists("base.vhdx") && exists("else/base.vhdx"));
    test_ok(vdisk_port_close(port));
    unlink(scratch_path(dir, "base.vhdx")); /* nobody needs it any more */
    snprintf(path, sizeof(path), "%s", scratch_path(dir, "else/kid2.vhdx"));
    test_ok(vdisk_port_open(path, &how, &port));
    test_ok(vdisk_port_transfer(port, ring, VDISK_READ, back, 0, SIZE));
    assert_memory_equal(back, bytes, SIZE);

    test_ok(vdisk_move(port, scratch_path(dir, "flat.vhd"), &flat, NULL, NULL));
    assert_string_equal(vdisk_type(vdisk_port_disk(port)), "dynamic");
    test_ok(vdisk_port_transfer(port, ring, VDISK_READ, back, 0, SIZE));
    assert_memory_equal(back, bytes, SIZE);
    test_ok(vdisk_port_close(port));
    expect_sound("flat.vhd");
    expect_sound("else/base.vhdx");
    vdisk_ring_close(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_read_alike),
        cmocka_unit_test(late_arrival),
        cmocka_unit_test(goes_on),
        cmocka_unit_test(stays),
        cmocka_unit_test(chains),
    };

    scratch_make(dir, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
