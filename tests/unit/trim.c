/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's TRIM (DISCARD) and WRITE ZEROES (ZERO) do to files of the kernel: what is read afterwards, what the
 * map calls it, how much of the host's space is given back, and that it is used again. A parent's bytes never reappear.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/support.h"

#define MIB (1u << 20)
#define BLOCK MIB
#define BLOCKS 16u
#define USED 8u /* of them are filled by the disk itself; all by its parent */
#define SIZE (BLOCKS * BLOCK)
#define SLACK (128u << 10) /* metadata that may come and go */

#define MINE 0x11
#define PARENTS 0x77
#define AGAIN 0x22

struct kind {
    const char *format, *type;
};

static struct kind vhdx_dynamic = {"vhdx", "dynamic"}, vhdx_child = {"vhdx", "differencing"},
                   vhdx_fixed = {"vhdx", "fixed"}, vhd_dynamic = {"vhd", "dynamic"},
                   vhd_child = {"vhd", "differencing"}, vhd_fixed = {"vhd", "fixed"};

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;

struct scene {
    const struct kind *kind;
    bool child, fixed, by_metadata; /* by_metadata: the format has a word for whole blocks that are gone */
    char path[TEST_PATH], parent[TEST_PATH];
    struct vdisk *disk;
    struct vdisk_ring *ring;
    uint8_t *bytes;
};

/* ---- The disk ---- */

static void put(struct scene *s, struct vdisk *disk, uint8_t byte, uint64_t offset, uint64_t length)
{
    memset(s->bytes, byte, length);
    test_ok(vdisk_transfer(disk, s->ring, VDISK_WRITE, s->bytes, offset, length));
}

static void change(struct scene *s, enum vdisk_op op, uint64_t offset, uint64_t length)
{
    test_ok(vdisk_transfer(s->disk, s->ring, op, NULL, offset, length));
    test_ok(vdisk_transfer(s->disk, s->ring, VDISK_FLUSH, NULL, 0, 0));
}

static void reopen(struct scene *s)
{
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};

    test_ok(vdisk_close(s->disk));
    test_ok(vdisk_open(s->path, &how, &s->disk));
}

static void make(const struct scene *s, const char *path, const char *type, const char *parent, struct vdisk **disk)
{
    struct vdisk_create_options create = {.format = s->kind->format,
                                          .type = type,
                                          .size = SIZE,
                                          .block_size = strcmp(type, "fixed") == 0 ? 0 : BLOCK,
                                          .parent = parent,
                                          .flags = VDISK_CREATE_OVERWRITE,
                                          .log = messages_log(&messages)};
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};

    test_ok(vdisk_create(path, &create, disk));
    test_ok(vdisk_commit(*disk));
    test_ok(vdisk_open(path, &how, disk));
}

static void begin(struct scene *s, void **state)
{
    const struct kind *kind = *state;
    struct vdisk *parent;
    char name[24];

    *s = (struct scene){
        .kind = kind, .child = strcmp(kind->type, "differencing") == 0, .fixed = strcmp(kind->type, "fixed") == 0};
    s->by_metadata = !s->fixed && (strcmp(kind->format, "vhdx") == 0 || !s->child);
    snprintf(name, sizeof(name), "disk.%s", kind->format);
    snprintf(s->path, sizeof(s->path), "%s", scratch_path(dir, name));
    snprintf(name, sizeof(name), "parent.%s", kind->format);
    snprintf(s->parent, sizeof(s->parent), "%s", scratch_path(dir, name));
    s->bytes = aligned_alloc(4096, SIZE);
    test_true(s->bytes);
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &s->ring));
    if (s->child) {
        make(s, s->parent, "dynamic", NULL, &parent);
        put(s, parent, PARENTS, 0, SIZE);
        test_ok(vdisk_close(parent));
    }
    make(s, s->path, kind->type, s->child ? s->parent : NULL, &s->disk);
    put(s, s->disk, MINE, 0, USED * BLOCK);
    test_ok(vdisk_transfer(s->disk, s->ring, VDISK_FLUSH, NULL, 0, 0));
}

static void end(struct scene *s)
{
    struct vdisk_open_options how = {.log = messages_log(&messages)};

    test_ok(vdisk_close(s->disk));
    if (vdisk_check(s->path, &how, NULL, messages_fault, &messages) != 0)
        test_fail("%s is not clean: %s", s->path, messages.fault);
    vdisk_ring_close(s->ring);
    free(s->bytes);
}

/* ---- What is there ---- */

/* How much of the host's storage the file has. */
static uint64_t used(const struct scene *s)
{
    struct stat st;

    test_ok(stat(s->path, &st));
    return (uint64_t)st.st_blocks * 512;
}

static uint64_t length_of_file(const struct scene *s)
{
    struct stat st;

    test_ok(stat(s->path, &st));
    return (uint64_t)st.st_size;
}

static void expect(struct scene *s, uint8_t byte, uint64_t offset, uint64_t length)
{
    test_ok(vdisk_transfer(s->disk, s->ring, VDISK_READ, s->bytes, offset, length));
    for (uint64_t i = 0; i < length; i++)
        if (s->bytes[i] != byte)
            test_fail("%s %s: %#x at %llu, not %#x", s->kind->format, s->kind->type, s->bytes[i],
                      (unsigned long long)(offset + i), byte);
}

/* What the disk alone says of the range. */
static void expect_state(struct scene *s, uint64_t offset, uint64_t length, enum vdisk_extent_kind kind,
                         const char *state)
{
    struct vdisk_extent extent;

    test_ok(vdisk_map(s->disk, offset, length, VDISK_MAP_ALONE, &extent));
    assert_int_equal(extent.kind, kind);
    assert_string_equal(extent.state, state);
}

/* So many bytes less than before, but for metadata. */
static void expect_returned(const struct scene *s, uint64_t before, uint64_t length)
{
    int64_t returned = (int64_t)before - (int64_t)used(s);

    if (llabs(returned - (int64_t)length) > SLACK)
        test_fail("%s %s: of %llu bytes in use %lld were given back, not %llu", s->kind->format, s->kind->type,
                  (unsigned long long)before, (long long)returned, (unsigned long long)length);
}

/* ---- Whole blocks ---- */

static void whole_blocks(struct scene *s, enum vdisk_op op)
{
    const uint64_t gone = 4 * BLOCK, first = 2 * BLOCK;
    uint64_t before = used(s);

    change(s, op, first, gone);
    if (!s->fixed)
        expect(s, 0, first, gone);
    if (s->by_metadata) {
        expect_returned(s, before, gone);
        expect_state(s, first, gone, VDISK_EXTENT_ZERO, strcmp(s->kind->format, "vhdx") == 0 ? "zero" : "unallocated");
    } else if (op == VDISK_DISCARD && !s->fixed) { /* the block stays, as a hole: a child's VHD has no word for zeros */
        expect_returned(s, before, gone);
        expect_state(s, first, gone, VDISK_EXTENT_DATA, "allocated");
    } else if (op == VDISK_ZERO) { /* the space is kept for what will be written */
        expect(s, 0, first, gone);
        expect_returned(s, before, 0);
    } else { /* a fixed disk keeps its bytes: a discard is advice */
        expect(s, MINE, first, gone);
        expect_returned(s, before, 0);
    }
    reopen(s);
    expect(s, s->fixed && op == VDISK_DISCARD ? MINE : 0, first, gone);
    expect(s, MINE, 0, first);
    expect(s, MINE, first + gone, USED * BLOCK - first - gone);
    expect(s, s->child ? PARENTS : 0, USED * BLOCK, SIZE - USED * BLOCK);
}

static void trimmed_blocks(void **state)
{
    struct scene s;

    begin(&s, state);
    whole_blocks(&s, VDISK_DISCARD);
    end(&s);
}

static void zeroed_blocks(void **state)
{
    struct scene s;

    begin(&s, state);
    whole_blocks(&s, VDISK_ZERO);
    end(&s);
}

/* The space that was given back is taken by other blocks, and the file does not grow; what is left of a block of which
 * a part is written anew is zeros, neither what was there nor what the parent has. */
static void used_again(void **state)
{
    struct scene s;
    uint64_t length, before;

    begin(&s, state);
    length = length_of_file(&s);
    before = used(&s);
    for (int round = 0; round < 3; round++) {
        change(&s, VDISK_DISCARD, 0, 4 * BLOCK);
        put(&s, s.disk, AGAIN, USED * BLOCK, 4 * BLOCK);
        change(&s, VDISK_DISCARD, USED * BLOCK, 4 * BLOCK);
        put(&s, s.disk, AGAIN, 0, 4 * BLOCK);
        test_ok(vdisk_transfer(s.disk, s.ring, VDISK_FLUSH, NULL, 0, 0));
    }
    if (s.by_metadata)
        test_equal(length_of_file(&s), length);
    expect_returned(&s, before, 0);
    expect(&s, AGAIN, 0, 4 * BLOCK);

    change(&s, VDISK_DISCARD, 0, 2 * BLOCK);
    put(&s, s.disk, AGAIN, BLOCK / 2, 4096);
    put(&s, s.disk, AGAIN, 2 * BLOCK - 512, 512);
    for (int again = 0; again < 2; again++, reopen(&s)) {
        expect(&s, 0, 0, BLOCK / 2);
        expect(&s, AGAIN, BLOCK / 2, 4096);
        expect(&s, 0, BLOCK / 2 + 4096, BLOCK + BLOCK / 2 - 4096 - 512);
        expect(&s, AGAIN, 2 * BLOCK - 512, 512);
    }
    end(&s);
}

/* ---- Parts ---- */

static void parts(void **state)
{
    const uint64_t trimmed = 3 * BLOCK + 256 * 1024, zeroed = 5 * BLOCK + 128 * 1024, part = 512 * 1024;
    struct scene s;
    uint64_t before;

    begin(&s, state);
    before = used(&s);
    change(&s, VDISK_DISCARD, trimmed, part);
    expect_returned(&s, before, s.fixed ? 0 : part);
    expect_state(&s, trimmed, part, VDISK_EXTENT_DATA,
                 s.fixed && strcmp(s.kind->format, "vhd") == 0 ? "fixed"
                 : strcmp(s.kind->format, "vhd") == 0          ? "allocated"
                 : s.child                                     ? "partially-present"
                                                               : "fully-present");
    before = used(&s);
    change(&s, VDISK_ZERO, zeroed, part);
    expect_returned(&s, before, 0);
    for (int again = 0; again < 2; again++, reopen(&s)) {
        expect(&s, MINE, 0, trimmed);
        expect(&s, s.fixed ? MINE : 0, trimmed, part);
        expect(&s, MINE, trimmed + part, zeroed - trimmed - part);
        expect(&s, 0, zeroed, part);
        expect(&s, MINE, zeroed + part, USED * BLOCK - zeroed - part);
    }
    end(&s);
}

/* ---- What is the parent's ---- */

/* Zeros over the parent's bytes, in blocks and in parts of them, hide these for good; a discard leaves them, for it has
 * nothing to give back. */
static void over_parent(void **state)
{
    const uint64_t blocks = USED * BLOCK, part = 11 * BLOCK + 4096, discarded = 13 * BLOCK;
    struct scene s;
    uint64_t before;

    begin(&s, state);
    before = used(&s);
    change(&s, VDISK_DISCARD, discarded, 2 * BLOCK);
    expect_returned(&s, before, 0);
    expect_state(&s, discarded, BLOCK, s.by_metadata ? VDISK_EXTENT_ZERO : VDISK_EXTENT_BELOW,
                 s.by_metadata ? "zero" : "unallocated");
    change(&s, VDISK_ZERO, blocks, 2 * BLOCK);
    if (s.by_metadata)
        expect_returned(&s, before, 0);
    change(&s, VDISK_ZERO, part, 64 * 1024);
    for (int again = 0; again < 2; again++, reopen(&s)) {
        expect(&s, 0, blocks, 2 * BLOCK);
        expect(&s, PARENTS, blocks + 2 * BLOCK, part - blocks - 2 * BLOCK);
        expect(&s, 0, part, 64 * 1024);
        expect(&s, PARENTS, part + 64 * 1024, 13 * BLOCK - part - 64 * 1024);
        expect(&s, s.by_metadata ? 0 : PARENTS, discarded, 2 * BLOCK);
        expect(&s, PARENTS, discarded + 2 * BLOCK, BLOCK);
        change(&s, VDISK_DISCARD, blocks, 2 * BLOCK); /* of zeros: they stay */
        change(&s, VDISK_DISCARD, part, 64 * 1024);
    }
    put(&s, s.disk, AGAIN, blocks + 8192, 4096);
    expect(&s, 0, blocks, 8192);
    expect(&s, AGAIN, blocks + 8192, 4096);
    expect(&s, 0, blocks + 12288, 2 * BLOCK - 12288);
    end(&s);
}

#define EACH(test, kind)                                                                                               \
    {                                                                                                                  \
#test " of " #kind, test, NULL, NULL, &kind                                                                    \
    }
#define ALL(kind) EACH(trimmed_blocks, kind), EACH(zeroed_blocks, kind), EACH(parts, kind)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALL(vhdx_dynamic),
        ALL(vhdx_child),
        ALL(vhdx_fixed),
        ALL(vhd_dynamic),
        ALL(vhd_child),
        ALL(vhd_fixed),
        EACH(used_again, vhdx_dynamic),
        EACH(used_again, vhdx_child),
        EACH(used_again, vhd_dynamic),
        EACH(used_again, vhd_child),
        EACH(over_parent, vhdx_child),
        EACH(over_parent, vhd_child),
    };

    scratch_make(dir, true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
