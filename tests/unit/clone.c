/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranges that the storage gives: the way of a file server (copy_file_range), which works on every file system but is not
 * chosen on a local one; refusals leave the bytes to be moved.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "disk/clone.h"
#include "tests/support.h"

#define SIZE (5u << 20)

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;
static struct vdisk_ring *ring;

static struct vdisk *create(const char *name)
{
    struct vdisk_create_options options = {.size = SIZE, .flags = VDISK_CREATE_OVERWRITE, .log = messages_log(&messages)};
    struct vdisk *disk;

    test_ok(vdisk_create(scratch_path(dir, name), &options, &disk));
    return disk;
}

static struct vdisk *open_disk(const char *name)
{
    struct vdisk_open_options options = {.log = messages_log(&messages)};
    struct vdisk *disk;

    test_ok(vdisk_open(scratch_path(dir, name), &options, &disk));
    return disk;
}

/* From a raw file into each format, range by range, unaligned ones too. */
static void by_server(void **state)
{
    static const char *const names[] = {"t.raw", "t.vhd", "t.vhdx"};
    uint8_t *bytes = malloc(SIZE), *got = malloc(SIZE);
    struct vdisk *source = create("s.raw"), *target;
    struct clone *clone;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    for (unsigned i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    test_ok(vdisk_transfer(source, ring, VDISK_WRITE, bytes, 0, SIZE));
    test_ok(vdisk_commit(source));
    for (unsigned i = 0; i < 3; i++) {
        source = open_disk("s.raw");
        target = create(names[i]);
        test_ok(clone_open(source, target, false, &clone));
        clone->way = CLONE_SERVER;
        for (uint64_t at = 0; at < SIZE;) {
            uint64_t length = 512 * (1 + rng_below(&rng, 3000));
            int64_t n = clone_range(clone, at, length < SIZE - at ? length : SIZE - at, source->file, at);

            test_true(n > 0);
            at += (uint64_t)n;
        }
        clone_close(clone);
        test_ok(vdisk_commit(target));
        vdisk_close(source);
        target = open_disk(names[i]);
        test_ok(vdisk_transfer(target, ring, VDISK_READ, got, 0, SIZE));
        assert_memory_equal(got, bytes, SIZE);
        vdisk_close(target);
    }
    free(bytes);
    free(got);
}

/* A source that may change, positions that are not congruent: nothing is given, and nothing has a home for it. */
static void refused(void **state)
{
    struct vdisk_open_options options = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    struct vdisk *source, *target = create("r.vhdx");
    struct clone *clone;
    uint64_t size = target->file->size;

    (void)state;
    test_ok(vdisk_open(scratch_path(dir, "s.raw"), &options, &source));
    test_ok(clone_open(source, target, false, &clone));
    test_equal(clone->way, CLONE_NOT);
    test_equal(clone_range(clone, 0, SIZE, source->file, 0), 0);
    clone->way = CLONE_SHARE;
    clone->unit = 4096;
    test_equal(clone_range(clone, 0, SIZE, source->file, 512), 0);
    test_equal(clone_range(clone, 0, 512, source->file, 0), 0);
    test_equal(target->file->size, size);
    clone_close(clone);
    vdisk_close(source);
    vdisk_close(target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_server),
        cmocka_unit_test(refused),
    };
    int failed;

    scratch_make(dir, false);
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    vdisk_ring_close(ring);
    return failed;
}
