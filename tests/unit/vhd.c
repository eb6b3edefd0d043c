/* SPDX-License-Identifier: BSD-2-Clause */
/* VHD: the geometry by the specification's algorithm (its appendix), the checksum, and what looking for a footer costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(geometry), cmocka_unit_test(checksum),
                                       cmocka_unit_test(no_footer)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
