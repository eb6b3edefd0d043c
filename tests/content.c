/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See content.h. A word of a sector is (generation << 32 | sector) times an odd constant, plus its index in the sector;
 * the product is undone by the constant's inverse.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/content.h"

#define STAMP_FACTOR 0x9E3779B97F4A7C15u
#define STAMP_INVERSE 0xF1DE83E19937733Du
#define WALK_CHUNK (1u << 20)

_Static_assert(STAMP_FACTOR *STAMP_INVERSE == 1, "the inverse is one");

void content_open(struct content *content, uint64_t size, uint32_t sector_size)
{
    memset(content, 0, sizeof(*content));
    content->size = size;
    content->sector_size = sector_size;
    content->sectors = size / sector_size;
    content->value = calloc(content->sectors, sizeof(*content->value));
    test_true(content->value);
}

void content_close(struct content *content)
{
    free(content->value);
    content->value = NULL;
}

void content_copy(struct content *to, const struct content *from, uint64_t size)
{
    content_open(to, size, from->sector_size);
    to->generation = from->generation;
    for (uint64_t i = 0; i < to->sectors && i < from->sectors; i++)
        to->value[i] = from->value[i];
}

static uint64_t stamp(uint64_t sector, uint32_t generation)
{
    return ((uint64_t)generation << 32 | (sector & 0xffffffffu)) * STAMP_FACTOR;
}

void content_fill(const struct content *content, void *buffer, uint64_t sector, uint64_t count, uint32_t generation)
{
    size_t words = content->sector_size / 8;
    uint64_t *word = buffer;

    for (uint64_t s = sector; s < sector + count; s++, word += words) {
        uint64_t base = stamp(s, generation);

        for (size_t i = 0; i < words; i++)
            word[i] = base + i;
    }
}

/* 0: each word is the one before plus step. Four at a time: much of a test's time is spent here. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
__attribute__((target_clones("avx2", "default"), noinline))
#endif
static uint64_t
differs(const uint64_t *word, size_t words, uint64_t step)
{
    typedef uint64_t four __attribute__((vector_size(32), aligned(8)));
    four want = {word[0], word[0] + step, word[0] + 2 * step, word[0] + 3 * step}, differ = {0};

    for (size_t i = 0; i < words; i += 4, want += 4 * step)
        differ |= *(const four *)(word + i) ^ want;
    return differ[0] | differ[1] | differ[2] | differ[3];
}

uint32_t content_decode(const struct content *content, const void *bytes, uint64_t sector)
{
    const uint64_t *word = bytes;
    uint64_t base, plain;

    if (!bytes)
        return 0;
    base = word[0];
    plain = base * STAMP_INVERSE;
    if (differs(word, content->sector_size / 8, base != 0))
        return CONTENT_BAD;
    if (!base)
        return 0;
    if ((uint32_t)plain != (uint32_t)sector || plain >> 32 > content->generation)
        return CONTENT_BAD;
    return (uint32_t)(plain >> 32);
}

bool content_mixed(const struct content *content, const void *bytes, uint64_t sector, bool zero, uint32_t old,
                   uint32_t newer)
{
    const uint64_t *word = bytes;

    for (size_t i = 0; i < content->sector_size / 8; i++) {
        uint64_t plain = (word[i] - i) * STAMP_INVERSE;
        uint32_t generation = (uint32_t)(plain >> 32);

        if (zero && word[i] == 0)
            continue;
        if ((uint32_t)plain != (uint32_t)sector || generation > content->generation)
            return false;
        if (!(old && generation == old) && generation <= newer)
            return false;
    }
    return true;
}

bool content_match(struct content *content, const void *bytes, uint64_t sector)
{
    uint32_t found = content_decode(content, bytes, sector), want = content->value[sector];

    while (want & CONTENT_MAYBE) {
        if (found != 0 && found != (want & ~CONTENT_MAYBE))
            return false;
        if (atomic_compare_exchange_strong(&content->value[sector], &want, found))
            return true;
    }
    return found == want;
}

void content_explain(const struct content *content, const void *bytes, uint64_t sector)
{
    uint32_t want = content->value[sector];
    const uint64_t *word = bytes;
    size_t words = content->sector_size / 8;

    if (!bytes) {
        fprintf(stderr, "sector %llu: expected generation %u, the map says zeros\n", (unsigned long long)sector, want);
        return;
    }
    fprintf(stderr, "sector %llu (offset %#llx): expected generation %u%s, found:\n", (unsigned long long)sector,
            (unsigned long long)sector * content->sector_size, want & ~CONTENT_MAYBE,
            want & CONTENT_MAYBE ? " or zeros (discarded)" : want ? "" : " (zeros)");
    for (size_t i = 0, from = 0; i < words; i = from) {
        uint64_t plain = (word[i] - i) * STAMP_INVERSE;

        for (from = i + 1; from < words && (word[i] ? word[from] - from == word[i] - i : !word[from]);)
            from++;
        if (!word[i])
            fprintf(stderr, "  bytes %zu..%zu: zeros\n", i * 8, from * 8);
        else if (plain >> 32 <= content->generation)
            fprintf(stderr, "  bytes %zu..%zu: generation %llu of sector %llu\n", i * 8, from * 8,
                    (unsigned long long)plain >> 32, (unsigned long long)(uint32_t)plain);
        else {
            fprintf(stderr, "  bytes %zu..: never written: %#018llx\n", i * 8, (unsigned long long)word[i]);
            break;
        }
    }
}

/* DATA is where the map says; ZERO is zeros. bytes is what the disk gave; direct has room for as much. */
static void walk_check_map(const struct vdisk_extent *extent, const void *bytes, unsigned char *direct)
{
    int fd;

    if (extent->kind == VDISK_EXTENT_BELOW)
        test_fail("map of the whole chain says BELOW at %#llx", (unsigned long long)extent->offset);
    if (extent->kind == VDISK_EXTENT_ZERO) {
        memset(direct, 0, extent->length);
    } else {
        fd = open(scratch_standing(vdisk_path(extent->owner)), O_RDONLY | O_CLOEXEC);
        if (fd < 0 || pread(fd, direct, extent->length, (off_t)extent->position) != (ssize_t)extent->length)
            test_fail("map at %#llx: %s at %#llx cannot be read", (unsigned long long)extent->offset,
                      vdisk_path(extent->owner), (unsigned long long)extent->position);
        close(fd);
    }
    if (memcmp(direct, bytes, extent->length))
        test_fail("map at %#llx (%s, depth %u, position %#llx) is not what the disk reads",
                  (unsigned long long)extent->offset, extent->state, extent->depth,
                  (unsigned long long)extent->position);
}

void content_walk(const struct content *content, struct vdisk *disk, struct vdisk_ring *ring, bool far,
                  content_accept *accept, void *arg)
{
    unsigned char *buffer = aligned_alloc(4096, 2 * WALK_CHUNK);
    const unsigned char *bytes;
    struct vdisk_extent extent;

    test_true(buffer);
    test_equal(vdisk_size(disk), content->size);
    for (uint64_t at = 0; at < content->size; at += extent.length) {
        uint64_t left = content->size - at;

        test_ok(vdisk_map(disk, at, left < WALK_CHUNK ? left : WALK_CHUNK, 0, &extent));
        test_true(extent.offset == at && extent.length && extent.length <= (left < WALK_CHUNK ? left : WALK_CHUNK) &&
                  extent.length % content->sector_size == 0 && extent.state);
        bytes = far && extent.kind == VDISK_EXTENT_ZERO ? NULL : buffer;
        if (bytes) {
            test_ok(vdisk_transfer(disk, ring, VDISK_READ, buffer, at, extent.length));
            walk_check_map(&extent, buffer, buffer + WALK_CHUNK);
        }
        for (uint64_t i = 0; i < extent.length; i += content->sector_size)
            if (!accept(arg, (at + i) / content->sector_size, bytes ? bytes + i : NULL)) {
                content_explain(content, bytes ? bytes + i : NULL, (at + i) / content->sector_size);
                test_fail("wrong bytes (map: kind %d, %s, depth %u, position %#llx)", (int)extent.kind, extent.state,
                          extent.depth, (unsigned long long)(extent.position + i));
            }
    }
    free(buffer);
}

static bool verify_accept(void *arg, uint64_t sector, const void *bytes)
{
    return content_match(arg, bytes, sector);
}

void content_verify(struct content *content, struct vdisk *disk, struct vdisk_ring *ring, bool far)
{
    content_walk(content, disk, ring, far, verify_accept, content);
}
