/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The public interface at its edges: transfers of any alignment against a plain array, requests that are refused, rings
 * that are shallow, what is created and never committed, children without their parent, and work that is cancelled.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support.h"

#define MIB (1u << 20)
#define SIZE (5 * MIB + 512)

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;
static struct vdisk_ring *ring;

static struct vdisk *create(const char *name, const char *type, const char *parent, uint64_t size)
{
    struct vdisk_create_options options = {.flags = VDISK_CREATE_OVERWRITE, .type = type, .size = size,
                                           .parent = parent, .log = messages_log(&messages)};
    struct vdisk *disk;

    messages_clear(&messages);
    test_ok(vdisk_create(scratch_path(dir, name), &options, &disk));
    return disk;
}

static struct vdisk *open_disk(const char *name, unsigned flags)
{
    struct vdisk_open_options options = {.flags = flags, .log = messages_log(&messages)};
    struct vdisk *disk;

    test_ok(vdisk_open(scratch_path(dir, name), &options, &disk));
    return disk;
}

/* ---- Transfers of any alignment ------------------------------------------------------------------------------ */

static void transfers(struct vdisk *disk, uint8_t *want, uint64_t size, uint64_t seed)
{
    static uint8_t buffer[3 * MIB];
    struct rng rng;

    rng_seed(&rng, seed);
    for (unsigned i = 0; i < 400; i++) {
        uint64_t offset = rng_below(&rng, size);
        uint64_t length = rng_below(&rng, i % 10 ? 9000 : sizeof(buffer));

        if (length > size - offset)
            length = size - offset;
        if (i % 2) {
            for (uint64_t j = 0; j < length; j++)
                want[offset + j] = buffer[j] = (uint8_t)(rng.state >> j % 56) ^ (uint8_t)j;
            test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, buffer, offset, length));
        } else {
            test_ok(vdisk_transfer(disk, ring, VDISK_READ, buffer, offset, length));
            assert_memory_equal(buffer, want + offset, length);
        }
    }
    for (uint64_t at = 0; at < size; at += sizeof(buffer)) {
        uint64_t length = size - at < sizeof(buffer) ? size - at : sizeof(buffer);

        test_ok(vdisk_transfer(disk, ring, VDISK_READ, buffer, at, length));
        assert_memory_equal(buffer, want + at, length);
    }
}

static void any_alignment(void **state)
{
    static const char *const names[] = {"a.raw", "a.vhd", "a.vhdx"};
    uint8_t *want = malloc(SIZE);
    char kid[16];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct vdisk *disk = create(names[i], NULL, NULL, SIZE);

        memset(want, 0, SIZE);
        transfers(disk, want, SIZE, i);
        test_ok(vdisk_commit(disk));
        disk = open_disk(names[i], VDISK_OPEN_WRITE);
        transfers(disk, want, SIZE, i + 10);
        test_ok(vdisk_close(disk));
        if (i == 0)
            continue;
        snprintf(kid, sizeof(kid), "kid-%s", names[i]);
        disk = create(kid, NULL, scratch_path(dir, names[i]), 0);
        transfers(disk, want, SIZE, i + 20);
        test_ok(vdisk_commit(disk));
    }
    free(want);
}

/* ---- Requests that are refused, and the edges of those that are not ------------------------------------------ */

struct answer {
    struct vdisk_io io;
    int error, calls;
};

static void answered(struct vdisk_io *io, int error)
{
    struct answer *answer = (struct answer *)io;

    answer->error = error;
    answer->calls++;
}

static int ask(struct vdisk *disk, enum vdisk_op op, uint64_t offset, uint64_t length, uint64_t buffers)
{
    static uint8_t bytes[8192];
    struct iovec iov = {bytes, buffers};
    struct answer answer = {
        .io = {.op = op, .offset = offset, .length = length, .iov = &iov, .iovcnt = 1, .done = answered}};

    vdisk_submit(disk, ring, &answer.io);
    assert_int_equal(answer.calls, 0); /* never by submit itself */
    while (!answer.calls)
        vdisk_ring_poll(ring, true);
    assert_int_equal(answer.calls, 1);
    return answer.error;
}

static void refused_requests(void **state)
{
    static const char *const names[] = {"r.raw", "r.vhd", "r.vhdx"};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct vdisk *disk = create(names[i], NULL, NULL, SIZE);

        for (enum vdisk_op op = VDISK_READ; op <= VDISK_DISCARD; op++) {
            assert_int_equal(ask(disk, op, SIZE - 512, 512, 512), 0);
            assert_true(ask(disk, op, SIZE, 512, 512) < 0);
            assert_true(ask(disk, op, SIZE - 512, 1024, 1024) < 0);
            assert_true(ask(disk, op, UINT64_MAX - 511, 512, 512) < 0);
            assert_true(ask(disk, op, 512, UINT64_MAX - 511, 512) < 0);
            assert_true(ask(disk, op, 100, 512, 512) < 0);
            assert_true(ask(disk, op, 512, 100, 100) < 0);
        }
        assert_int_equal(ask(disk, VDISK_FLUSH, 0, 0, 0), 0);
        assert_int_equal(ask(disk, (enum vdisk_op)77, 0, 512, 512), -EOPNOTSUPP);
        test_ok(vdisk_commit(disk));
        disk = open_disk(names[i], 0);
        assert_int_equal(ask(disk, VDISK_READ, 0, 512, 512), 0);
        for (enum vdisk_op op = VDISK_WRITE; op <= VDISK_DISCARD; op++)
            assert_true(ask(disk, op, 0, 512, 512) < 0);
        test_ok(vdisk_close(disk));
    }
}

/* ---- More requests than the ring is deep ---------------------------------------------------------------------- */

static void shallow_ring(void **state)
{
    enum { MANY = 500 };
    static const enum vdisk_backend backends[] = {VDISK_BACKEND_URING, VDISK_BACKEND_AIO, VDISK_BACKEND_THREADS,
                                                  VDISK_BACKEND_INLINE, VDISK_BACKEND_CACHED};
    struct vdisk *disk = create("shallow.vhdx", NULL, NULL, SIZE);
    struct answer *answers = calloc(MANY, sizeof(*answers));
    uint8_t *bytes = malloc(MANY * 512), *back = malloc(MANY * 512);
    struct iovec whole = {back, MANY * 512}, *iov = calloc(MANY, sizeof(*iov));

    (void)state;
    for (unsigned b = 0; b < 5; b++) {
        struct vdisk_ring *thin;
        unsigned done = 0;

        if (vdisk_ring_open(1, backends[b], &thin) < 0)
            continue;
        assert_non_null(vdisk_ring_backend(thin));
        assert_int_equal(vdisk_ring_poll(thin, true), 0); /* nothing in flight: does not wait */
        for (unsigned i = 0; i < MANY; i++) {
            memset(bytes + i * 512, (int)(i + b), 512);
            iov[i] = (struct iovec){bytes + i * 512, 512};
            answers[i] = (struct answer){.io = {.op = VDISK_WRITE, .offset = i * 512, .length = 512, .iov = &iov[i],
                                                .iovcnt = 1, .done = answered}};
            vdisk_submit(disk, thin, &answers[i].io);
        }
        while (done < MANY)
            done += (unsigned)vdisk_ring_poll(thin, true);
        for (unsigned i = 0; i < MANY; i++)
            assert_true(answers[i].calls == 1 && answers[i].error == 0);
        test_ok(vdisk_transfer(disk, thin, VDISK_READ, whole.iov_base, 0, whole.iov_len));
        assert_memory_equal(back, bytes, MANY * 512);
        vdisk_ring_close(thin);
    }
    free(answers);
    free(bytes);
    free(back);
    free(iov);
    test_ok(vdisk_close(disk));
}

/* ---- Created, not committed ----------------------------------------------------------------------------------- */

static void not_committed(void **state)
{
    struct vdisk *disk = create("new.vhdx", NULL, NULL, SIZE);
    char old[8] = "old";
    int fd;

    (void)state;
    assert_int_equal(access(scratch_path(dir, "new.vhdx"), F_OK), -1);
    test_ok(vdisk_close(disk));
    assert_int_equal(access(scratch_path(dir, "new.vhdx"), F_OK), -1);
    assert_string_equal(scratch_standing(scratch_path(dir, "new.vhdx")), scratch_path(dir, "new.vhdx"));

    /* what stands there already stays until the commit */
    fd = open(scratch_path(dir, "new.vhdx"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    test_equal(write(fd, old, 4), 4);
    close(fd);
    test_ok(vdisk_close(create("new.vhdx", NULL, NULL, SIZE)));
    fd = open(scratch_path(dir, "new.vhdx"), O_RDONLY | O_CLOEXEC);
    memset(old, 0, sizeof(old));
    test_equal(read(fd, old, sizeof(old)), 4);
    close(fd);
    assert_string_equal(old, "old");
    test_ok(vdisk_commit(create("new.vhdx", NULL, NULL, SIZE)));
    test_ok(vdisk_close(open_disk("new.vhdx", 0)));
    test_ok(vdisk_close(NULL));
}

/* What is never to have a name has none from the start. */
static void unnamed(void **state)
{
    struct vdisk_create_options options = {
        .flags = VDISK_CREATE_UNNAMED, .size = SIZE, .log = messages_log(&messages)};
    const char *path = scratch_path(dir, "none/none.vhdx");
    uint8_t bytes[4096] = {1, 2, 3}, back[4096];
    struct vdisk *disk;

    (void)state;
    test_ok(mkdir(scratch_path(dir, "none"), 0700));
    test_ok(vdisk_create(path, &options, &disk));
    test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, bytes, 4096, sizeof(bytes)));
    test_ok(vdisk_transfer(disk, ring, VDISK_READ, back, 4096, sizeof(back)));
    assert_memory_equal(back, bytes, sizeof(bytes));
    test_ok(rmdir(scratch_path(dir, "none"))); /* nothing is in it */
    test_ok(vdisk_close(disk));
    test_ok(mkdir(scratch_path(dir, "none"), 0700));
    test_ok(vdisk_create(path, &options, &disk));
    assert_int_equal(vdisk_commit(disk), -EINVAL);
    test_ok(rmdir(scratch_path(dir, "none")));
}

/* ---- Without the parent ---------------------------------------------------------------------------------------- */

static void alone(void **state)
{
    static const char *const names[][2] = {{"p.vhd", "k.vhd"}, {"p.vhdx", "k.vhdx"}};
    uint8_t bytes[4096] = {1, 2, 3}, back[4096];
    struct vdisk_extent extent;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct vdisk *disk = create(names[i][0], NULL, NULL, SIZE);

        test_ok(vdisk_commit(disk));
        disk = create(names[i][1], NULL, scratch_path(dir, names[i][0]), 0);
        assert_string_equal(vdisk_type(disk), "differencing");
        assert_non_null(vdisk_parent(disk));
        test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, bytes, 8192, 4096));
        test_ok(vdisk_commit(disk));
        test_ok(unlink(scratch_path(dir, names[i][0])));
        disk = open_disk(names[i][1], VDISK_OPEN_ALONE | VDISK_OPEN_WRITE);
        assert_null(vdisk_parent(disk));
        test_ok(vdisk_transfer(disk, ring, VDISK_READ, back, 8192, 4096));
        assert_memory_equal(back, bytes, 4096);
        assert_int_equal(vdisk_transfer(disk, ring, VDISK_READ, back, 4096, 4096), -ENXIO);
        test_ok(vdisk_map(disk, 0, SIZE, VDISK_MAP_ALONE, &extent));
        assert_int_equal(extent.kind, VDISK_EXTENT_BELOW);
        assert_true(extent.length <= 8192);
        test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, bytes, 0, 4096)); /* needs no parent */
        test_ok(vdisk_transfer(disk, ring, VDISK_READ, back, 0, 4096));
        assert_memory_equal(back, bytes, 4096);
        test_ok(vdisk_close(disk));
    }
}

/* A child zeroed over its parent stays zero; a larger child has zeros behind its parent, a smaller middle hides. */
static void nothing_shines_through(void **state)
{
    static const char *const suffixes[] = {"vhd", "vhdx"};
    static uint8_t ones[4 * MIB], back[6 * MIB], zeros[6 * MIB];
    char names[3][16];

    (void)state;
    memset(ones, 1, sizeof(ones));
    for (unsigned i = 0; i < 2; i++) {
        struct vdisk *disk;

        for (unsigned j = 0; j < 3; j++)
            snprintf(names[j], sizeof(names[j]), "s%u.%s", j, suffixes[i]);
        disk = create(names[0], NULL, NULL, 4 * MIB);
        test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, ones, 0, 4 * MIB));
        test_ok(vdisk_commit(disk));
        disk = create(names[1], NULL, scratch_path(dir, names[0]), 3 * MIB);
        test_ok(vdisk_transfer(disk, ring, VDISK_ZERO, NULL, 0, MIB + 512));
        test_ok(vdisk_transfer(disk, ring, VDISK_READ, back, 0, 3 * MIB));
        assert_memory_equal(back, zeros, MIB + 512);
        assert_memory_equal(back + MIB + 512, ones, 2 * MIB - 512);
        test_ok(vdisk_commit(disk));
        disk = create(names[2], NULL, scratch_path(dir, names[1]), 6 * MIB);
        test_ok(vdisk_transfer(disk, ring, VDISK_READ, back, 0, 6 * MIB));
        assert_memory_equal(back, zeros, MIB + 512);
        assert_memory_equal(back + MIB + 512, ones, 2 * MIB - 512);
        assert_memory_equal(back + 3 * MIB, zeros, 3 * MIB); /* not the first link's */
        test_ok(vdisk_commit(disk));
    }
}

/* ---- Copies --------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t cancel;

static void cancel_midway(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    if (done > total / 4)
        __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
}

static void copies(void **state)
{
    struct vdisk_progress progress = {.step = cancel_midway, .cancel = &cancel};
    struct vdisk_copy_result result;
    struct vdisk *from = create("from.vhdx", NULL, NULL, 64 * MIB), *to;
    static uint8_t bytes[MIB];
    uint64_t where = 0;

    (void)state;
    memset(bytes, 7, sizeof(bytes));
    for (unsigned at = 0; at < 64; at += 2)
        test_ok(vdisk_transfer(from, ring, VDISK_WRITE, bytes, at * MIB, MIB));
    memset(bytes, 0, sizeof(bytes));
    test_ok(vdisk_transfer(from, ring, VDISK_WRITE, bytes, MIB, MIB)); /* zeros, written out */
    to = create("to.vhd", NULL, NULL, 64 * MIB);
    assert_int_equal(vdisk_copy(from, to, 0, &progress, NULL), -ECANCELED);
    test_ok(vdisk_close(to));
    assert_int_equal(access(scratch_path(dir, "to.vhd"), F_OK), -1);

    to = create("to.vhd", NULL, NULL, 65 * MIB);
    test_ok(vdisk_copy(from, to, 0, NULL, &result));
    assert_true(result.bytes_written == 32 * MIB);
    assert_true(result.bytes_read >= 32 * MIB && result.bytes_read <= 33 * MIB);
    assert_true(result.bytes_skipped >= 31 * MIB);
    assert_int_equal(vdisk_compare(from, to, NULL, &where), 0);
    assert_int_equal(vdisk_compare(to, from, NULL, &where), 0);
    memset(bytes, 8, 512);
    test_ok(vdisk_transfer(to, ring, VDISK_WRITE, bytes, 3 * MIB + 1234, 1));
    assert_int_equal(vdisk_compare(from, to, NULL, &where), 1);
    assert_true(where == 3 * MIB + 1234);
    test_ok(vdisk_commit(to));
    test_ok(vdisk_close(from));
}

/* A disk whose end is zeros, written out, is looked at before it is cut off; who stops that has the disk as it was. */
static void resize_cancelled(void **state)
{
    static const char *const names[] = {"long.vhdx", "long.vhd"};
    struct vdisk_progress progress = {.step = cancel_midway, .cancel = &cancel};
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE};
    static uint8_t zeros[MIB];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct vdisk *disk = create(names[i], NULL, NULL, 16 * MIB);
        struct vdisk_port *port;

        for (unsigned at = 0; at < 16; at++)
            test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, zeros, at * MIB, MIB));
        test_ok(vdisk_commit(disk));
        test_ok(vdisk_port_open(scratch_path(dir, names[i]), &how, &port));
        cancel = 0;
        assert_int_equal(vdisk_resize(port, 2 * MIB, 0, &progress), -ECANCELED);
        assert_int_equal(vdisk_port_size(port), 16 * MIB);
        assert_int_equal(vdisk_size(vdisk_port_disk(port)), 16 * MIB);
        cancel = 0;
        progress.step = NULL;
        test_ok(vdisk_resize(port, 2 * MIB, 0, &progress));
        progress.step = cancel_midway;
        test_ok(vdisk_port_close(port));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_alignment), cmocka_unit_test(refused_requests),       cmocka_unit_test(shallow_ring),
        cmocka_unit_test(not_committed), cmocka_unit_test(unnamed), cmocka_unit_test(alone), cmocka_unit_test(nothing_shines_through),
        cmocka_unit_test(copies), cmocka_unit_test(resize_cancelled),
    };
    int failed;

    scratch_make(dir, true);
    messages.echo = getenv("TEST_ECHO") != NULL;
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    vdisk_ring_close(ring);
    return failed;
}
