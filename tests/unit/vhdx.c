/* SPDX-License-Identifier: BSD-2-Clause */
/* VHDX: the arithmetic of blocks, chunks and BAT entries, [MS-VHDX] 2.5, against the formulas written out; whose
 * identity a write changes, and over what damage nothing is written. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support.h"
#include "vhdx/vhdx.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static struct vhdx_shape shape(uint64_t size, uint32_t block, uint32_t sector, bool parent)
{
    struct vhdx_metadata metadata = {
        .size = size, .block_size = block, .logical_sector = sector, .physical_sector = 4096, .has_parent = parent};

    return vhdx_shape_of(&metadata);
}

static void formulas(uint64_t size, uint32_t block, uint32_t sector, bool parent)
{
    struct vhdx_shape s = shape(size, block, sector, parent);
    uint64_t ratio = (1ull << 23) * sector / block, blocks = (size + block - 1) / block;
    uint64_t chunks = (blocks + ratio - 1) / ratio;

    assert_true(1ull << s.ratio_shift == ratio);
    assert_true(s.blocks == blocks);
    assert_true(s.entries == (parent ? chunks * (ratio + 1) : blocks + (blocks - 1) / ratio));
    for (uint64_t i = 0; i<blocks; i += blocks> 10000 ? ratio / 3 + 1 : 1) {
        uint64_t index = vhdx_shape_index(&s, i);

        assert_true(index == i + i / ratio);
        assert_true(vhdx_shape_block(&s, index) == i);
        assert_false(vhdx_shape_is_bitmap(&s, index));
        assert_true(vhdx_shape_chunk(&s, i) == i / ratio);
        assert_true(vhdx_shape_used(&s, i) == (i + 1 == blocks ? size - i * block : block));
    }
    for (uint64_t c = 0; c < chunks; c += chunks / 50 + 1) {
        uint64_t index = vhdx_shape_bitmap_index(&s, c);

        assert_true(index == c * (ratio + 1) + ratio);
        assert_true(vhdx_shape_is_bitmap(&s, index));
    }
}

static void arithmetic(void **state)
{
    static const uint64_t sizes[] = {4096,           MIB,           MIB + 4096,      4 * GIB - MIB,  4 * GIB,
                                     4 * GIB + 4096, 8 * GIB + MIB, 32 * GIB + 4096, 64 * GIB + MIB, 64ull << 40};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (uint32_t block = MIB; block <= 256 * MIB; block *= 2)
            for (unsigned k = 0; k < 4; k++)
                formulas(sizes[i], block, k & 1 ? 4096 : 512, k & 2);
}

/* Numbers from the specification's text and from Windows' own images, not from the formulas. */
static void known(void **state)
{
    struct vhdx_shape s = shape(10 * GIB, 32 * MIB, 512, false);

    (void)state;
    assert_int_equal(s.ratio_shift, 7);
    assert_true(s.blocks == 320 && s.entries == 322);
    s = shape(64ull << 40, MIB, 512, false);
    assert_true(s.blocks == 1ull << 26 && s.entries == (1ull << 26) + (1 << 14) - 1);
    s = shape(4 * MIB, 2 * MIB, 512, true);
    assert_true(s.blocks == 2 && s.entries == 2049);
    assert_true(vhdx_shape_bitmap_index(&s, 0) == 2048);
}

/* ---- Files ---- */

static struct messages messages = MESSAGES_INIT;

static struct vdisk *made(const char *path, const char *parent)
{
    struct vdisk_create_options create = {
        .size = parent ? 0 : 16 * MIB, .block_size = MIB, .parent = parent, .log = messages_log(&messages)};
    struct vdisk_open_options open = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    struct vdisk *disk;

    test_ok(vdisk_create(path, &create, &disk));
    test_ok(vdisk_commit(disk));
    test_ok(vdisk_open(path, &open, &disk));
    return disk;
}

static int put(struct vdisk *disk, uint64_t offset)
{
    static uint8_t data[4096];
    struct vdisk_ring *ring;
    int err;

    memset(data, 0x5a, sizeof(data));
    test_ok(vdisk_ring_open(4, VDISK_BACKEND_AUTO, &ring));
    err = vdisk_transfer(disk, ring, VDISK_WRITE, data, offset, sizeof(data));
    vdisk_ring_close(ring);
    return err;
}

/* Both identities change with the first write of an open, 2.2.2.1. */
static void identities(void **state)
{
    struct vhdx_header before, after;
    char dir[TEST_PATH];
    struct vdisk *disk;

    (void)state;
    scratch_make(dir, true);
    disk = made(scratch_path(dir, "a.vhdx"), NULL);
    before = ((struct vhdx *)disk)->header;
    test_ok(put(disk, 0));
    after = ((struct vhdx *)disk)->header;
    test_ok(vdisk_close(disk));
    assert_memory_not_equal(&before.file_write_guid, &after.file_write_guid, sizeof(before.file_write_guid));
    assert_memory_not_equal(&before.data_write_guid, &after.data_write_guid, sizeof(before.data_write_guid));
}

static void read_header(const char *path, struct vhdx_header *header)
{
    struct vhdx_report report = {0};
    struct file *file;
    unsigned slot;

    test_ok(file_open(AT_FDCWD, path, 0, NULL, &file));
    report.file = file;
    test_ok(vhdx_header_read(&report, file, header, &slot));
    file_close(file);
}

/* A replay changes the file, and not what the guest sees, 2.2.2.1. */
static void replayed(void **state)
{
    struct vdisk_open_options open = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    char dir[TEST_PATH], path[TEST_PATH], copy[TEST_PATH];
    struct vhdx_header before, after;
    struct vdisk_ring *ring;
    struct vdisk *disk;

    (void)state;
    scratch_make(dir, true);
    snprintf(path, sizeof(path), "%s", scratch_path(dir, "a.vhdx"));
    snprintf(copy, sizeof(copy), "%s", scratch_path(dir, "b.vhdx"));
    disk = made(path, NULL);
    test_ok(put(disk, 0));
    test_ok(vdisk_ring_open(4, VDISK_BACKEND_AUTO, &ring));
    test_ok(vdisk_transfer(disk, ring, VDISK_FLUSH, NULL, 0, 0));
    vdisk_ring_close(ring);
    file_copy(path, copy);
    test_ok(vdisk_close(disk));
    read_header(copy, &before);
    assert_false(vhdx_guid_is_zero(&before.log_guid));
    test_ok(vdisk_open(copy, &open, &disk));
    test_ok(vdisk_close(disk));
    read_header(copy, &after);
    assert_true(vhdx_guid_is_zero(&after.log_guid));
    assert_memory_not_equal(&before.file_write_guid, &after.file_write_guid, sizeof(before.file_write_guid));
    assert_memory_equal(&before.data_write_guid, &after.data_write_guid, sizeof(before.data_write_guid));
}

/* Of two valid headers the one with the higher sequence number counts, wherever it stands, 2.2.2. */
static void newer_header(void **state)
{
    char dir[TEST_PATH], path[TEST_PATH];
    struct vhdx_report report = {0};
    struct vhdx_header header, found;
    struct file *file;
    unsigned slot;

    (void)state;
    scratch_make(dir, true);
    snprintf(path, sizeof(path), "%s", scratch_path(dir, "a.vhdx"));
    test_ok(vdisk_close(made(path, NULL)));
    test_ok(file_open(AT_FDCWD, path, FILE_WRITE, NULL, &file));
    report.file = file;
    test_ok(vhdx_header_read(&report, file, &header, &slot));
    for (unsigned i = 0; i < 4; i++) {
        header.sequence = le64_of(le64_get(header.sequence) + 1);
        header.data_write_guid = vhdx_guid_random();
        header.checksum = le32_of(vhdx_checksum(&header, sizeof(header)));
        test_ok(file_write(file, &header, sizeof(header), VHDX_HEADER_AT(i / 2)));
        test_ok(vhdx_header_read(&report, file, &found, &slot));
        test_equal(slot, i / 2);
        assert_memory_equal(&found, &header, sizeof(header));
    }
    file_close(file);
}

struct told {
    const char *code;
    bool found;
};

static void find_code(void *arg, const struct vdisk_fault *fault)
{
    struct told *told = arg;

    told->found = told->found || strcmp(fault->code, told->code) == 0;
}

static void expect_told(const char *path, const char *code)
{
    struct told told = {.code = code};

    vdisk_check(path, NULL, NULL, find_code, &told);
    if (!told.found)
        test_fail("check does not tell %s", code);
}

static void overwrite(const char *path, uint64_t position, const void *bytes, size_t length)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    test_equal(pwrite(fd, bytes, length, (off_t)position), length);
    close(fd);
}

/* What is refused for another reason too, if not for this one. */
static void told_by_name(void **state)
{
    static const uint8_t zeros[VHDX_PAGE];
    char dir[TEST_PATH], path[TEST_PATH];
    struct vhdx_header header;

    (void)state;
    scratch_make(dir, true);
    snprintf(path, sizeof(path), "%s", scratch_path(dir, "a.vhdx"));
    test_ok(vdisk_close(made(path, NULL)));
    read_header(path, &header);
    for (unsigned slot = 0; slot < 2; slot++) {
        header.data_write_guid = vhdx_guid_random();
        header.checksum = le32_of(vhdx_checksum(&header, sizeof(header)));
        overwrite(path, VHDX_HEADER_AT(slot), &header, sizeof(header));
    }
    expect_told(path, "header-sequence");
    overwrite(path, VHDX_HEADER_AT(0), zeros, sizeof(zeros));
    for (unsigned slot = 0; slot < 2; slot++)
        overwrite(path, VHDX_REGION_TABLE_AT(slot), zeros, sizeof(zeros));
    expect_told(path, "region-none");
    overwrite(path, VHDX_HEADER_AT(1), zeros, sizeof(zeros));
    expect_told(path, "header-none");
}

/* A disk without a parent has no sector bitmaps, 2.5.1.2. */
static void bitmap_without_parent(void **state)
{
    struct vhdx_shape s = shape(8 * GIB, MIB, 512, false);
    const struct vhdx_regions regions = {0};
    char text[VHDX_ENTRY_TEXT];
    const char *code;

    (void)state;
    code = vhdx_entry_fault(&s, &regions, 64 * MIB, vhdx_shape_bitmap_index(&s, 0), 5 * MIB | VHDX_FULLY_PRESENT, text);
    assert_non_null(code);
    assert_string_equal(code, "bat-bitmap");
}

/* A block is partially present and its chunk's bitmap is not to be found: who gave the chunk a new one would say that
 * the parent has what the block holds. */
static void bitmap_lost(void **state)
{
    struct vdisk_open_options open_options = {.flags = VDISK_OPEN_WRITE, .log = messages_log(&messages)};
    char dir[TEST_PATH], path[TEST_PATH], parent[TEST_PATH];
    uint64_t entry = 0, at;
    struct vdisk *disk;
    int fd;

    (void)state;
    scratch_make(dir, true);
    snprintf(parent, sizeof(parent), "%s", scratch_path(dir, "p.vhdx"));
    snprintf(path, sizeof(path), "%s", scratch_path(dir, "c.vhdx"));
    test_ok(vdisk_close(made(parent, NULL)));
    disk = made(path, parent);
    test_ok(put(disk, 0));
    at = table_position(((struct vhdx *)disk)->bat) + 8 * vhdx_shape_bitmap_index(&((struct vhdx *)disk)->shape, 0);
    test_ok(vdisk_close(disk));
    fd = open(path, O_RDWR | O_CLOEXEC);
    test_equal(pwrite(fd, &entry, sizeof(entry), (off_t)at), sizeof(entry));
    close(fd);
    test_ok(vdisk_open(path, &open_options, &disk));
    test_equal(put(disk, MIB), -EIO);
    vdisk_close(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(arithmetic),
                                       cmocka_unit_test(known),
                                       cmocka_unit_test(identities),
                                       cmocka_unit_test(replayed),
                                       cmocka_unit_test(newer_header),
                                       cmocka_unit_test(told_by_name),
                                       cmocka_unit_test(bitmap_without_parent),
                                       cmocka_unit_test(bitmap_lost)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
