/* SPDX-License-Identifier: BSD-2-Clause */
/* VHD: the geometry by the specification's algorithm (its appendix), the checksum, what looking for a footer costs and
 * finds, and what is not written to. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support.h"
#include "vhd/vhd.h"

#define MIB (1ull << 20)

static void geometry(void **state)
{
    /* Down to the blank line: what Windows and others wrote into images of these sizes. */
    static const struct {
        uint64_t size;
        unsigned cylinders, heads, sectors;
    } rows[] = {
        {4194304, 120, 4, 17},
        {10485760, 301, 4, 17},
        {41943040, 963, 5, 17},
        {1020055040, 1976, 16, 63},
        {1073741824, 2080, 16, 63},
        {2147483648, 4161, 16, 63},
        {136365211648, 65278, 16, 255},

        {512, 0, 4, 17},
        {17 * 4 * 512, 1, 4, 17},
        {100 * MIB, 1003, 12, 17},
        {504 * MIB, 1024, 16, 63},
        {136899993600, 65535, 16, 255}, /* the largest that is told exactly */
        {136899993600 + 512, 65535, 16, 255},
        {2040ull * 1024 * MIB, 65535, 16, 255},
    };
    unsigned c, h, s;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vhd_geometry(rows[i].size, &c, &h, &s);
        assert_int_equal(s, rows[i].sectors);
        assert_int_equal(h, rows[i].heads);
        assert_int_equal(c, rows[i].cylinders);
    }
    /* Never more than the disk has, never a field too large. */
    for (uint64_t size = 512; size < 300ull << 30; size += size / 7 / 512 * 512 + 512) {
        vhd_geometry(size, &c, &h, &s);
        assert_true((uint64_t)c * h * s * 512 <= size);
        assert_true(c <= 65535 && h <= 16 && s <= 255);
    }
}

static void checksum(void **state)
{
    uint8_t bytes[512];

    (void)state;
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(vhd_checksum(bytes, 512, 64), 0xffffffff);
    bytes[0] = 1;
    bytes[511] = 2;
    memset(bytes + 64, 0xff, 4); /* the field itself does not count */
    assert_int_equal(vhd_checksum(bytes, 512, 64), 0xffffffff - 3);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(vhd_checksum(bytes, 512, 64), ~(508u * 255));
}

/* ---- What is no VHD is told so soon ---- */

static struct file_ops counted;
static const struct file_ops *uncounted;
static unsigned seeks;
static uint64_t bytes_read;

static ssize_t count_read(struct file *file, const struct iovec *iov, int iovcnt, uint64_t position)
{
    ssize_t n = uncounted->preadv(file, iov, iovcnt, position);

    bytes_read += n > 0 ? (uint64_t)n : 0;
    return n;
}

static int count_seek(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole)
{
    assert_null(hole); /* for which all data behind it would be walked through */
    seeks++;
    return uncounted->seek_data(file, position, data, hole);
}

/* A raw disk of zeros: holes, allocated, or written. Looked at twice: the first time leaves pages in the cache. */
static void no_footer(void **state)
{
    enum { HOLES, ALLOCATED, WRITTEN };
    char dir[TEST_PATH];

    (void)state;
    scratch_make(dir, false);
    for (int kind = HOLES; kind <= WRITTEN; kind++) {
        struct vhd_footers footers;
        struct file *file;

        test_ok(file_open(AT_FDCWD, scratch_path(dir, "zeros"), FILE_WRITE | (kind == HOLES ? FILE_CREATE : 0), NULL,
                          &file));
        if (kind == HOLES)
            test_ok(file_resize(file, 64 * MIB));
        else if (kind == ALLOCATED)
            test_ok(file_allocate(file, 0, 64 * MIB));
        for (uint64_t at = 0; at < 64 && kind == WRITTEN; at++) {
            static const uint8_t zeros[MIB];

            test_ok(file_write(file, zeros, sizeof(zeros), at * MIB));
        }
        counted = *(uncounted = file->ops);
        counted.preadv = count_read;
        counted.seek_data = count_seek;
        file->ops = &counted;
        for (int round = 0; round < 2; round++) {
            seeks = 0;
            bytes_read = 0;
            test_ok(vhd_footers_read(file, &footers));
            assert_false(footers.end_there || footers.copy_there);
            if (seeks > 40 || bytes_read > 2 * MIB)
                test_fail("kind %d, round %d: %u searches for data, %llu bytes read", kind, round, seeks,
                          (unsigned long long)bytes_read);
        }
        file->ops = uncounted;
        file_close(file);
    }
}

/* ---- What is opened all the same, and what is not written to ---- */

static struct messages messages = MESSAGES_INIT;

static struct vdisk *disk_of(const char *path, const char *type, unsigned flags)
{
    struct vdisk_create_options create = {
        .flags = VDISK_CREATE_OVERWRITE, .type = type, .size = 16 * MIB, .log = messages_log(&messages)};
    struct vdisk_open_options open = {.flags = flags, .log = messages_log(&messages)};
    struct vdisk *disk;

    if (type) {
        test_ok(vdisk_create(path, &create, &disk));
        test_ok(vdisk_commit(disk));
    }
    test_ok(vdisk_open(path, &open, &disk));
    return disk;
}

/* A fixed disk was to grow, and the power went when the file had its new length and no footer there yet: the disk is as
 * it was. The file's last sector may hold anything. */
static void footer_behind(void **state)
{
    static const uint64_t longer[] = {512, 4096, MIB, 512 * MIB};
    char dir[TEST_PATH], path[TEST_PATH];

    (void)state;
    scratch_make(dir, false);
    snprintf(path, sizeof(path), "%s", scratch_path(dir, "fixed.vhd"));
    for (unsigned i = 0; i < 8; i++) {
        uint64_t size = 16 * MIB + 512 + longer[i / 2];
        int fd;

        test_ok(vdisk_close(disk_of(path, "fixed", 0)));
        fd = open(path, O_WRONLY | O_CLOEXEC);
        test_equal(ftruncate(fd, (off_t)size), 0);
        if (i % 2)
            test_equal(pwrite(fd, "junk", 4, (off_t)size - 512), 4);
        close(fd);
        messages_clear(&messages);
        test_equal(vdisk_check(path, NULL, NULL, messages_fault, &messages), 1);
        if (strncmp(messages.fault, "footer-behind:", 14) != 0)
            test_fail("check tells \"%s\"", messages.fault);
        for (int writable = 0; writable < 2; writable++) {
            struct vdisk *disk = disk_of(path, NULL, writable ? VDISK_OPEN_WRITE : 0);

            test_equal(vdisk_size(disk), 16 * MIB);
            test_ok(vdisk_close(disk));
        }
        messages_clear(&messages);
    }
}

/* Two blocks that share sectors: what is written to one would be in the other. */
static void overlap(void **state)
{
    char dir[TEST_PATH], path[TEST_PATH];
    static uint8_t before[16 << 20], after[16 << 20], data[4096];
    struct vdisk_ring *ring;
    struct vhd_header header;
    struct vdisk *disk;
    struct be32 entry;
    ssize_t length;
    int fd;

    (void)state;
    scratch_make(dir, false);
    snprintf(path, sizeof(path), "%s", scratch_path(dir, "dynamic.vhd"));
    test_ok(vdisk_ring_open(4, VDISK_BACKEND_AUTO, &ring));
    disk = disk_of(path, "dynamic", VDISK_OPEN_WRITE);
    memset(data, 0x5a, sizeof(data));
    for (unsigned block = 0; block < 2; block++)
        test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, data, block * 2 * MIB, sizeof(data)));
    test_ok(vdisk_close(disk));
    fd = open(path, O_RDWR | O_CLOEXEC);
    test_equal(pread(fd, &header, sizeof(header), 512), sizeof(header));
    test_equal(pread(fd, &entry, 4, (off_t)be64_get(header.table_offset)), 4);
    entry = be32_of(be32_get(entry) + 1);
    test_equal(pwrite(fd, &entry, 4, (off_t)be64_get(header.table_offset) + 4), 4);
    length = pread(fd, before, sizeof(before), 0);
    disk = disk_of(path, NULL, VDISK_OPEN_WRITE);
    test_equal(vdisk_transfer(disk, ring, VDISK_WRITE, data, 4 * MIB, sizeof(data)), -EINVAL);
    vdisk_close(disk);
    test_equal(pread(fd, after, sizeof(after), 0), length);
    assert_memory_equal(before, after, (size_t)length);
    close(fd);
    vdisk_ring_close(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(geometry), cmocka_unit_test(checksum),
                                       cmocka_unit_test(no_footer), cmocka_unit_test(footer_behind),
                                       cmocka_unit_test(overlap)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
