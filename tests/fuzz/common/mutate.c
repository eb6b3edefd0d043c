/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mutator: changes fields where they stand, and leaves the input's shape alone. Half of the changes are of kinds
 * that an engineer would think of (edges of ranges, values from elsewhere in the image, sizes in the format's units),
 * the rest is libFuzzer's, which knows what the code compared the bytes with.
 */
#include "tests/fuzz/common/scene.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t max_out, unsigned seed);

static uint64_t field_get(const uint8_t *at, unsigned width, bool big)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)at[big ? width - 1 - i : i] << 8 * i;
    return value;
}

static void field_put(uint8_t *at, unsigned width, uint64_t value, bool big)
{
    for (unsigned i = 0; i < width; i++)
        at[big ? width - 1 - i : i] = (uint8_t)(value >> 8 * i);
}

/* A number such as a hostile file would have. */
static uint64_t number(struct rng *rng, uint64_t old, uint64_t other, uint64_t file_size)
{
    static const uint64_t units[] = {1, 8, 512, 4096, 64 << 10, 1 << 20, 2 << 20};
    uint64_t unit = units[rng_below(rng, sizeof(units) / sizeof(units[0]))];

    switch (rng_below(rng, 14)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - rng_below(rng, 3);
    case 2:
        return UINT64_C(1) << rng_below(rng, 64);
    case 3:
        return (UINT64_C(1) << rng_below(rng, 64)) - 1;
    case 4:
        return old + 1 + rng_below(rng, 4);
    case 5:
        return old - 1 - rng_below(rng, 4);
    case 6:
        return old ^ UINT64_C(1) << rng_below(rng, 64);
    case 7:
        return old + unit;
    case 8:
        return old - unit;
    case 9:
        return other;
    case 10:
        return rng_below(rng, file_size / unit + 2) * unit;
    case 11:
        return rng_below(rng, file_size / unit + 2);
    case 12:
        return file_size - unit * rng_below(rng, 3);
    default:
        return rng_below(rng, 256);
    }
}

static void change_field(struct rng *rng, const struct scene *scene, uint8_t *window, size_t length, uint8_t *all,
                         size_t all_length)
{
    unsigned width = 1u << rng_below(rng, 4);
    bool big = strcmp(scene->format, "vhd") == 0;
    uint8_t *at, *other;

    while (width > length || width > all_length)
        width /= 2;
    at = window + rng_below(rng, length / width) * width;
    other = all + rng_below(rng, all_length / width) * width;
    field_put(at, width,
              number(rng, field_get(at, width, big), field_get(other, width, big), medium_size(scene->base[0])), big);
}

/* 16 bytes from elsewhere: identities, table entries. */
static void copy_bytes(struct rng *rng, uint8_t *window, size_t length, const uint8_t *all, size_t all_length)
{
    size_t part = (size_t)8 << rng_below(rng, 3);

    while (part > length || part > all_length)
        part /= 2;
    memmove(window + rng_below(rng, (length - part) / 4 + 1) * 4, all + rng_below(rng, (all_length - part) / 4 + 1) * 4,
            part);
}

static void change_head(struct rng *rng, uint8_t *input)
{
    struct scene_head *head = (struct scene_head *)input;

    switch (rng_below(rng, 4)) {
    case 0:
        head->flags ^= rng_below(rng, 4) ? SCENE_APART : SCENE_RAW;
        break;
    case 1:
        head->work[0] = (uint8_t)rng_next(rng);
        break;
    case 2:
        head->work[1] = (uint8_t)rng_next(rng);
        break;
    default:
        field_put(head->cut, 8, rng_below(rng, 4) ? number(rng, field_get(head->cut, 8, false), 0, 4 << 20) : 0, false);
        if (rng_below(rng, 2))
            field_put(head->cut, 8, -field_get(head->cut, 8, false), false);
    }
}

static void change_window(struct rng *rng, const struct scene *scene, uint8_t *windows)
{
    unsigned chosen = (unsigned)rng_below(rng, scene->windows);
    uint8_t *window = windows;
    size_t length = scene->window[chosen].length;

    for (unsigned i = 0; i < chosen; i++)
        window += scene->window[i].length;
    switch (rng_below(rng, 8)) {
    case 0:
    case 1:
    case 2:
    case 3:
        change_field(rng, scene, window, length, windows, scene->bytes);
        break;
    case 4:
        copy_bytes(rng, window, length, windows, scene->bytes);
        break;
    default:
        LLVMFuzzerMutate(window, length, length);
        break;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    const struct scene *scene;
    struct rng rng;

    if (fuzz_scene_count == 0) /* a target without images */
        return LLVMFuzzerMutate(data, size, max_size);
    rng_seed(&rng, seed);
    if (size < sizeof(struct scene_head) || data[0] >= fuzz_scene_count || size != scene_size(&fuzz_scene[data[0]]) ||
        rng_below(&rng, 200) == 0)
        size = scene_seed((unsigned)rng_below(&rng, fuzz_scene_count), data, max_size);
    scene = &fuzz_scene[data[0]];
    for (uint64_t n = 1 + rng_below(&rng, 4); n > 0; n--) {
        if (rng_below(&rng, 8) == 0)
            change_head(&rng, data);
        else
            change_window(&rng, scene, data + sizeof(struct scene_head));
    }
    return size;
}

/* Each window from one or the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t max_out, unsigned seed)
{
    const struct scene *scene;
    struct rng rng;
    size_t at = sizeof(struct scene_head);

    if (a_size != b_size || a_size > max_out || a_size < at || a[0] != b[0] || a[0] >= fuzz_scene_count ||
        a_size != scene_size(&fuzz_scene[a[0]]))
        return 0;
    scene = &fuzz_scene[a[0]];
    rng_seed(&rng, seed);
    memcpy(out, a, a_size);
    for (unsigned i = 0; i < scene->windows; i++) {
        if (rng_below(&rng, 2))
            memcpy(out + at, b + at, scene->window[i].length);
        at += scene->window[i].length;
    }
    return a_size;
}
