/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Past the page cache: buffers of any alignment, short files, chains, on every backend; what is written so is what the
 * page cache shows.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support.h"

#define SIZE ((4u << 20) + 512)
#define DEPTH 8

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;

struct request {
    struct vdisk_io io;
    struct iovec iov[2];
    unsigned *pending;
    int error;
};

static void request_done(struct vdisk_io *io, int error)
{
    struct request *request = (struct request *)io;

    request->error = error;
    --*request->pending;
}

/* The disk, or NULL where the storage has no direct I/O. */
static struct vdisk *open_direct(const char *name)
{
    struct vdisk_open_options options = {.flags = VDISK_OPEN_WRITE | VDISK_OPEN_DIRECT, .log = messages_log(&messages)};
    struct vdisk *disk;
    int err;

    messages_clear(&messages);
    err = vdisk_open(scratch_path(dir, name), &options, &disk);
    if (err == -EINVAL)
        return NULL;
    test_ok(err);
    return disk;
}

static void create(const char *name, const char *parent)
{
    struct vdisk_create_options options = {.size = SIZE, .parent = parent, .log = messages_log(&messages)};
    struct vdisk *disk;

    test_ok(vdisk_create(scratch_path(dir, name), &options, &disk));
    test_ok(vdisk_commit(disk));
}

/* Requests of whole sectors, in two buffers of any alignment, several at once; then all of it read. */
static void exercise(struct vdisk *disk, uint8_t *want, enum vdisk_backend backend, uint64_t seed)
{
    static uint8_t memory[DEPTH][(128 << 10) + 64];
    static struct request request[DEPTH];
    struct vdisk_ring *ring;
    struct rng rng;

    rng_seed(&rng, seed);
    test_ok(vdisk_ring_open(4, backend, &ring));
    for (unsigned i = 0; i < 60; i++) {
        uint64_t part = SIZE / 512 / DEPTH;
        unsigned pending = DEPTH;

        for (unsigned n = 0; n < DEPTH; n++) { /* each in its own part of the disk */
            struct request *r = &request[n];
            uint64_t offset = n * part + rng_below(&rng, part), length = 1 + rng_below(&rng, 256), cut;
            uint8_t *at = memory[n] + (rng_below(&rng, 2) ? rng_below(&rng, 64) : 0);

            if (length > (n + 1) * part - offset)
                length = (n + 1) * part - offset;
            offset *= 512, length *= 512;
            cut = rng_below(&rng, 2) ? rng_below(&rng, length) : length;
            r->pending = &pending;
            r->iov[0] = (struct iovec){at, cut};
            r->iov[1] = (struct iovec){at + cut, length - cut};
            r->io = (struct vdisk_io){.op = rng_below(&rng, 2) ? VDISK_WRITE : VDISK_READ, .offset = offset,
                                      .length = length, .iov = r->iov, .iovcnt = 2, .done = request_done};
            for (uint64_t j = 0; j < length && r->io.op == VDISK_WRITE; j++)
                want[offset + j] = at[j] = (uint8_t)(rng.state >> j % 48) + (uint8_t)j;
            vdisk_submit(disk, ring, &r->io);
        }
        while (pending > 0)
            vdisk_ring_poll(ring, true);
        for (unsigned n = 0; n < DEPTH; n++) {
            test_ok(request[n].error);
            if (request[n].io.op == VDISK_READ)
                assert_memory_equal(request[n].iov[0].iov_base, want + request[n].io.offset, request[n].io.length);
        }
        if (i % 20 == 0)
            test_ok(vdisk_transfer(disk, ring, VDISK_FLUSH, NULL, 0, 0));
    }
    vdisk_ring_close(ring);
}

/* What another opening, through the cache, shows. */
static void cached(const char *name, const uint8_t *want)
{
    struct vdisk_open_options options = {.log = messages_log(&messages)};
    uint8_t *got = malloc(SIZE);
    struct vdisk_ring *ring;
    struct vdisk *disk;

    test_ok(vdisk_open(scratch_path(dir, name), &options, &disk));
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring));
    test_ok(vdisk_transfer(disk, ring, VDISK_READ, got, 0, SIZE));
    assert_memory_equal(got, want, SIZE);
    vdisk_ring_close(ring);
    vdisk_close(disk);
    free(got);
}

static void every_kind(void **state)
{
    static const char *const names[] = {"a.raw", "a.vhd", "a.vhdx", "kid.vhd", "kid.vhdx"};
    uint8_t *want[5];

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        want[i] = calloc(1, SIZE);
        if (i >= 3)
            memcpy(want[i], want[i - 2], SIZE);
        create(names[i], i >= 3 ? scratch_path(dir, names[i - 2]) : NULL);
        for (enum vdisk_backend backend = VDISK_BACKEND_AUTO; backend <= VDISK_BACKEND_CACHED; backend++) {
            struct vdisk *disk = open_direct(names[i]);

            if (!disk) {
                print_message("no direct I/O here: %s\n", messages.first);
                skip();
            }
            exercise(disk, want[i], backend, 10 * i + backend);
            test_ok(vdisk_close(disk));
            cached(names[i], want[i]);
        }
    }
    for (unsigned i = 0; i < 5; i++)
        free(want[i]);
}

/* A raw file that ends inside a sector. */
static void short_raw(void **state)
{
    const char *path = scratch_path(dir, "short.raw");
    uint8_t bytes[1500], got[1536 + 1];
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    struct vdisk_ring *ring;
    struct vdisk *disk;

    (void)state;
    memset(bytes, 0x5a, sizeof(bytes));
    test_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    test_ok(close(fd));
    disk = open_direct("short.raw");
    if (!disk)
        skip();
    test_equal(vdisk_size(disk), 1536);
    for (enum vdisk_backend backend = VDISK_BACKEND_AUTO; backend <= VDISK_BACKEND_CACHED; backend++) {
        test_ok(vdisk_ring_open(0, backend, &ring));
        memset(got, 1, sizeof(got));
        test_ok(vdisk_transfer(disk, ring, VDISK_READ, got + 1, 0, 1536));
        assert_memory_equal(got + 1, bytes, 1500);
        for (unsigned i = 1500; i < 1536; i++)
            test_equal(got[1 + i], 0);
        vdisk_ring_close(ring);
    }
    test_ok(vdisk_close(disk));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(short_raw),
    };

    scratch_make(dir, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
