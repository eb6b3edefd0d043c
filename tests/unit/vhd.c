/* SPDX-License-Identifier: BSD-2-Clause */
/* VHD: the geometry by the specification's algorithm (its appendix), and the checksum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(geometry), cmocka_unit_test(checksum)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
