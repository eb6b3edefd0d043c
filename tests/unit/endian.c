/* SPDX-License-Identifier: BSD-2-Clause */
/* On-disk integers: byte order, width, no alignment, round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "disk/endian.h"

static void order(void **state)
{
    static const uint8_t little[8] = {8, 7, 6, 5, 4, 3, 2, 1}, big[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct le64 l = le64_of(0x0102030405060708);
    struct be64 b = be64_of(0x0102030405060708);

    (void)state;
    assert_memory_equal(&l, little, 8);
    assert_memory_equal(&b, big, 8);
    assert_int_equal(le32_get(le32_of(0xdeadbeef)), 0xdeadbeef);
    assert_int_equal(be32_get(be32_of(0xdeadbeef)), 0xdeadbeef);
    assert_int_equal(le16_of(0x1234).byte[0], 0x34);
    assert_int_equal(be16_of(0x1234).byte[0], 0x12);
    assert_int_equal(be16_get(be16_of(0xffff)), 0xffff);
    assert_int_equal(le16_get(le16_of(0)), 0);
    assert_true(le64_get(le64_of(UINT64_MAX)) == UINT64_MAX);
}

static void packing(void **state)
{
    struct {
        uint8_t one;
        struct le64 eight;
        struct be16 two;
        struct be32 four;
    } mixed;

    (void)state;
    assert_int_equal(sizeof(mixed), 15);
    mixed.eight = le64_of(0x1122334455667788);
    assert_true(le64_get(mixed.eight) == 0x1122334455667788);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(order), cmocka_unit_test(packing)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
