/* SPDX-License-Identifier: BSD-2-Clause */
/* VHDX: the arithmetic of blocks, chunks and BAT entries, [MS-VHDX] 2.5, against the formulas written out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vhdx/bat.h"

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
    for (uint64_t i = 0; i < blocks; i += blocks > 10000 ? ratio / 3 + 1 : 1) {
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
    static const uint64_t sizes[] = {4096,           MIB,           MIB + 4096,      4 * GIB - MIB,   4 * GIB,
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(arithmetic), cmocka_unit_test(known)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
