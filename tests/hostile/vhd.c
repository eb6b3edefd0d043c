/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VHD files with one thing wrong, or one thing unusual. Field offsets are those of Microsoft's "Virtual Hard Disk Image
 * Format Specification"; footers and headers get a right checksum after a patch, unless the patch says _RAW.
 */
#include "tests/hostile.h"

#define KIB 1024ull
#define MIB (1ull << 20)
#define ALL_ONES UINT64_MAX
#define FOOTER 512u
#define HEADER 1024u
#define HEADER_AT 512u /* where the library puts it */
#define LOCATORS 576u  /* in the header */

enum base { DYNAMIC, FIXED, CHILD, BASES };

enum where {
    FILE_AT = 1, /* a byte of the file */
    SIZE,        /* the file gets this size */
    CUT,         /* this much is cut off */
    FOOTERS,     /* in the footer and its copy; FOOTER_END: only at the end; FOOTER_COPY: only at the start */
    FOOTER_END,
    FOOTER_COPY,
    FOOTERS_RAW,
    FOOTER_END_RAW,
    FOOTER_COPY_RAW,
    HEAD, /* in the dynamic disk header */
    HEAD_RAW,
    LOCATOR,  /* in every parent locator that is used */
    BAT,      /* entry at, whole */
    BAT_NEAR, /* entry at becomes the entry of block width, plus value */
    BAT_OVER  /* entry at becomes the BAT's own sector */
};

static uint64_t be_get(struct hostile_image *image, uint64_t at, unsigned width)
{
    return image_get(image, at, width, true);
}

static void be_put(struct hostile_image *image, uint64_t at, unsigned width, uint64_t value)
{
    image_put(image, at, width, value, true);
}

/* The one's complement of the sum of the bytes. */
static void mend(struct hostile_image *image, uint64_t at, size_t length, size_t checksum)
{
    uint8_t bytes[HEADER];
    uint32_t sum = 0;

    image_read(image, bytes, length, at);
    memset(bytes + checksum, 0, 4);
    for (size_t i = 0; i < length; i++)
        sum += bytes[i];
    be_put(image, at + checksum, 4, ~sum & 0xffffffff);
}

static bool has_header(struct hostile_image *image)
{
    return be_get(image, HEADER_AT, 8) == 0x6378737061727365; /* "cxsparse" */
}

static void footer_patch(struct hostile_image *image, const struct hostile_patch *patch, bool end, bool raw)
{
    uint64_t at = end ? image->size - FOOTER : 0;

    be_put(image, at + patch->at, patch->width, patch->value);
    if (!raw)
        mend(image, at, FOOTER, 64);
}

static void footers_patch(struct hostile_image *image, const struct hostile_patch *patch)
{
    int where = patch->where;
    bool raw = where == FOOTERS_RAW || where == FOOTER_END_RAW || where == FOOTER_COPY_RAW;

    if (where != FOOTER_COPY && where != FOOTER_COPY_RAW)
        footer_patch(image, patch, true, raw);
    if (where != FOOTER_END && where != FOOTER_END_RAW && has_header(image))
        footer_patch(image, patch, false, raw);
}

static void bat_patch(struct hostile_image *image, const struct hostile_patch *patch)
{
    uint64_t bat = be_get(image, HEADER_AT + 16, 8), value = patch->value;

    if (patch->where == BAT_NEAR)
        value += be_get(image, bat + 4 * patch->width, 4);
    else if (patch->where == BAT_OVER)
        value = bat / 512;
    be_put(image, bat + 4 * patch->at, 4, value);
}

static void locators_patch(struct hostile_image *image, const struct hostile_patch *patch)
{
    for (uint64_t at = HEADER_AT + LOCATORS; at < HEADER_AT + LOCATORS + 8 * 24; at += 24)
        if (be_get(image, at, 4))
            be_put(image, at + patch->at, patch->width, patch->value);
    mend(image, HEADER_AT, HEADER, 36);
}

static void apply(struct hostile_image *image, const struct hostile_patch *patch)
{
    switch (patch->where) {
    case FILE_AT:
        be_put(image, patch->at, patch->width, patch->value);
        break;
    case SIZE:
        image_resize(image, patch->value);
        break;
    case CUT:
        image_resize(image, image->size - patch->value);
        break;
    case FOOTERS:
    case FOOTERS_RAW:
    case FOOTER_END:
    case FOOTER_END_RAW:
    case FOOTER_COPY:
    case FOOTER_COPY_RAW:
        footers_patch(image, patch);
        break;
    case HEAD:
    case HEAD_RAW:
        be_put(image, HEADER_AT + patch->at, patch->width, patch->value);
        if (patch->where == HEAD)
            mend(image, HEADER_AT, HEADER, 36);
        break;
    case LOCATOR:
        locators_patch(image, patch);
        break;
    case BAT:
    case BAT_NEAR:
    case BAT_OVER:
        bat_patch(image, patch);
        break;
    default:
        test_fail("no such place: %d", patch->where);
    }
}

static void make(const char *dir, unsigned base, const char *path)
{
    struct messages messages = MESSAGES_INIT;
    struct vdisk_create_options options = {.format = "vhd", .size = 16 * MIB};

    messages.echo = true;
    options.log = messages_log(&messages);
    options.block_size = base == FIXED ? 0 : MIB;
    options.type = base == FIXED ? "fixed" : "dynamic";
    if (base == CHILD) {
        options.type = "differencing";
        options.parent = scratch_path(dir, "base0.vhd");
    }
    hostile_make(path, &options);
}

/* ---- Unusual but right, or wrong in more than a field --------------------------------------------------------- */

static void footer_gone(struct hostile_image *image)
{
    image_resize(image, image->size - FOOTER);
}

static void footer_of_511(struct hostile_image *image)
{
    image_resize(image, image->size - 1);
}

/* The file goes on behind the footer, which nobody finds there: the copy serves. */
static void footer_not_last(struct hostile_image *image)
{
    image_resize(image, image->size + 4096);
}

static void footers_differ(struct hostile_image *image)
{
    be_put(image, image->size - FOOTER + 48, 8, 8 * MIB);
    mend(image, image->size - FOOTER, FOOTER, 64);
}

/* The highest block's bitmap and data end behind the file. */
static void last_block_cut(struct hostile_image *image)
{
    uint64_t bat = be_get(image, HEADER_AT + 16, 8), last = 0;

    for (unsigned i = 0; i < 16; i++) {
        uint64_t entry = be_get(image, bat + 4 * i, 4);

        if (entry != 0xffffffff && entry > last)
            last = entry;
    }
    image_resize(image, last * 512 + 512 + MIB / 2);
}

static void last_bitmap_cut(struct hostile_image *image)
{
    last_block_cut(image);
    image_resize(image, image->size - MIB / 2 - 256);
}

static void cut_inside_bat(struct hostile_image *image)
{
    image_resize(image, be_get(image, HEADER_AT + 16, 8) + 32);
}

static void cut_before_bat(struct hostile_image *image)
{
    image_resize(image, be_get(image, HEADER_AT + 16, 8));
}

static void block_over_footer(struct hostile_image *image)
{
    struct hostile_patch patch = {BAT, 1, 4, image->size / 512 - 1};

    apply(image, &patch);
}

static void header_over_footer(struct hostile_image *image)
{
    struct hostile_patch patch = {FOOTERS, 16, 8, image->size - FOOTER};

    apply(image, &patch);
}

static void locators_gone(struct hostile_image *image)
{
    static const uint8_t zeros[8 * 24];

    image_write(image, zeros, sizeof(zeros), HEADER_AT + LOCATORS);
    mend(image, HEADER_AT, HEADER, 36);
}

static void name_gone(struct hostile_image *image)
{
    static const uint8_t zeros[512];

    image_write(image, zeros, sizeof(zeros), HEADER_AT + 64);
    mend(image, HEADER_AT, HEADER, 36);
}

static void names_gone(struct hostile_image *image)
{
    locators_gone(image);
    name_gone(image);
}

static void name_garbage(struct hostile_image *image)
{
    uint8_t garbage[512];

    memset(garbage, 0xd8, sizeof(garbage)); /* lone surrogates, no end */
    image_write(image, garbage, sizeof(garbage), HEADER_AT + 64);
    locators_gone(image);
}

/* A disk of 2040 GiB whose every block is the same hole of 256 MiB: to look at them all would read terabytes. */
static void one_block_for_all(struct hostile_image *image)
{
    uint64_t blocks = (2040ull << 30) / (256 * MIB), bat = image->size - FOOTER, at = bat + 64 * KIB;
    struct hostile_patch patches[] = {
        {FOOTERS, 48, 8, 2040ull << 30}, {HEAD, 16, 8, bat}, {HEAD, 28, 4, blocks}, {HEAD, 32, 4, 256 * MIB}};
    uint8_t footer[FOOTER];

    image_read(image, footer, sizeof(footer), bat);
    image_resize(image, at + 64 * KIB + 256 * MIB);
    image_write(image, footer, sizeof(footer), image->size);
    for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++)
        apply(image, &patches[i]);
    for (uint64_t i = 0; i < blocks; i++)
        be_put(image, bat + 4 * i, 4, at / 512);
}

/* A BAT in a hole: 16 Mi entries that all say 0, none of them right. */
static void bat_in_hole(struct hostile_image *image)
{
    uint64_t bat = image->size - FOOTER;
    struct hostile_patch patches[] = {{HEAD, 16, 8, bat}, {HEAD, 28, 4, 16 * MIB}};
    uint8_t footer[FOOTER], zeros[FOOTER] = {0};

    image_read(image, footer, sizeof(footer), bat);
    image_write(image, zeros, sizeof(zeros), bat);
    image_resize(image, bat + 64 * MIB);
    image_write(image, footer, sizeof(footer), image->size);
    for (size_t i = 0; i < sizeof(patches) / sizeof(patches[0]); i++)
        apply(image, &patches[i]);
}

/* ---- The kinds ----------------------------------------------------------------------------------------------- */

#define P(...)                                                                                                         \
    {                                                                                                                  \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define PP(...)                                                                                                        \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static const struct hostile_kind kinds[] = {
    {"nothing wrong: dynamic", FINE, DYNAMIC, {{0}}, NULL},
    {"nothing wrong: fixed", FINE, FIXED, {{0}}, NULL},
    {"nothing wrong: differencing", FINE, CHILD, {{0}}, NULL},

    {"file: empty", REFUSE, DYNAMIC, P(SIZE, 0, 0, 0), NULL},
    {"file: one byte", REFUSE, DYNAMIC, P(SIZE, 0, 0, 1), NULL},
    {"file: 511 bytes", REFUSE, DYNAMIC, P(SIZE, 0, 0, 511), NULL},
    {"file: only the copy of the footer", REFUSE, DYNAMIC, P(SIZE, 0, 0, 512), NULL},
    {"file: cut inside the header", REFUSE, DYNAMIC, P(SIZE, 0, 0, 1000), NULL},
    {"file: cut before the BAT", REFUSE, DYNAMIC, {{0}}, cut_before_bat},
    {"file: cut inside the BAT", REFUSE, DYNAMIC, {{0}}, cut_inside_bat},
    {"file: last block cut in half", WITHHELD, DYNAMIC, {{0}}, last_block_cut},
    {"file: last bitmap cut in half", WITHHELD, DYNAMIC, {{0}}, last_bitmap_cut},
    {"file: fixed, empty", REFUSE, FIXED, P(SIZE, 0, 0, 0), NULL},
    {"file: fixed, without its footer", REFUSE, FIXED, {{0}}, footer_gone},
    {"file: fixed, cut in the middle", REFUSE, FIXED, P(SIZE, 0, 0, 5 * MIB), NULL},
    {"file: fixed, only the footer", REFUSE, FIXED, PP({FOOTERS, 48, 8, 16 * MIB}, {SIZE, 0, 0, 512}), NULL},

    {"footer: gone, the copy stands", MENDED, DYNAMIC, {{0}}, footer_gone},
    {"footer: 511 bytes, fixed", FINE, FIXED, {{0}}, footer_of_511},
    {"footer: 511 bytes, dynamic", SURVIVE, DYNAMIC, {{0}}, footer_of_511},
    {"footer: not the last of the file", MENDED, DYNAMIC, {{0}}, footer_not_last},
    {"footer: wrong checksum, the copy stands", MENDED, DYNAMIC, P(FOOTER_END_RAW, 100, 1, 1), NULL},
    {"footer: wrong cookie, the copy stands", MENDED, DYNAMIC, P(FOOTER_END, 0, 1, 'C'), NULL},
    {"footer: right, the copy is wrong", MENDED, DYNAMIC, P(FOOTER_COPY_RAW, 100, 1, 1), NULL},
    {"footer: right, the copy is gone", MENDED, DYNAMIC, P(FOOTER_COPY_RAW, 0, 8, 0), NULL},
    {"footer: both with wrong checksums", REFUSE, DYNAMIC, P(FOOTERS_RAW, 100, 1, 1), NULL},
    {"footer: both with wrong cookies", REFUSE, DYNAMIC, P(FOOTERS, 0, 1, 'C'), NULL},
    {"footer: copies differ", FAULTY, DYNAMIC, {{0}}, footers_differ},
    {"footer: fixed, wrong checksum", REFUSE, FIXED, P(FOOTERS_RAW, 100, 1, 1), NULL},
    {"footer: fixed, wrong cookie", REFUSE, FIXED, P(FOOTERS, 0, 1, 'C'), NULL},
    {"footer: version 0", REFUSE, DYNAMIC, P(FOOTERS, 12, 4, 0), NULL},
    {"footer: version 2.0", REFUSE, DYNAMIC, P(FOOTERS, 12, 4, 0x20000), NULL},
    {"footer: header at 0", REFUSE, DYNAMIC, P(FOOTERS, 16, 8, 0), NULL},
    {"footer: header unaligned", REFUSE, DYNAMIC, P(FOOTERS, 16, 8, 513), NULL},
    {"footer: header elsewhere", REFUSE, DYNAMIC, P(FOOTERS, 16, 8, 4096), NULL},
    {"footer: header beyond the file", REFUSE, DYNAMIC, P(FOOTERS, 16, 8, 1ull << 40), NULL},
    {"footer: header at 2^63", REFUSE, DYNAMIC, P(FOOTERS, 16, 8, 1ull << 63), NULL},
    {"footer: header at 2^64 - 1", REFUSE, DYNAMIC, P(FOOTERS, 16, 8, ALL_ONES), NULL},
    {"footer: header at 2^64 - 512", REFUSE, DYNAMIC, P(FOOTERS, 16, 8, ALL_ONES - 511), NULL},
    {"footer: header over the footer", REFUSE, DYNAMIC, {{0}}, header_over_footer},
    {"footer: size 0", REFUSE, DYNAMIC, PP({FOOTERS, 48, 8, 0}, {FOOTERS, 40, 8, 0}), NULL},
    {"footer: size 1", REFUSE, DYNAMIC, P(FOOTERS, 48, 8, 1), NULL},
    {"footer: size unaligned", REFUSE, DYNAMIC, P(FOOTERS, 48, 8, 16 * MIB - 1), NULL},
    {"footer: size beyond the BAT", REFUSE, DYNAMIC, P(FOOTERS, 48, 8, 17 * MIB), NULL},
    {"footer: size beyond 2040 GiB", REFUSE, DYNAMIC, P(FOOTERS, 48, 8, (2040ull << 30) + 512), NULL},
    {"footer: size 4 PiB", REFUSE, DYNAMIC, P(FOOTERS, 48, 8, 1ull << 52), NULL},
    {"footer: size 2^63", REFUSE, DYNAMIC, P(FOOTERS, 48, 8, 1ull << 63), NULL},
    {"footer: size 2^64 - 512", REFUSE, DYNAMIC, P(FOOTERS, 48, 8, ALL_ONES - 511), NULL},
    {"footer: fixed, size 0", REFUSE, FIXED, P(FOOTERS, 48, 8, 0), NULL},
    {"footer: fixed, larger than the file", REFUSE, FIXED, P(FOOTERS, 48, 8, 17 * MIB), NULL},
    {"footer: fixed, unaligned", REFUSE, FIXED, P(FOOTERS, 48, 8, 8 * MIB + 1), NULL},
    {"footer: fixed, 2^64 - 512", REFUSE, FIXED, P(FOOTERS, 48, 8, ALL_ONES - 511), NULL},
    {"footer: fixed, smaller than the file", FAULTY, FIXED, P(FOOTERS, 48, 8, 8 * MIB), NULL},
    {"footer: type 0", REFUSE, DYNAMIC, P(FOOTERS, 60, 4, 0), NULL},
    {"footer: type 1", REFUSE, DYNAMIC, P(FOOTERS, 60, 4, 1), NULL},
    {"footer: type 5", REFUSE, DYNAMIC, P(FOOTERS, 60, 4, 5), NULL},
    {"footer: type 2^32 - 1", REFUSE, DYNAMIC, P(FOOTERS, 60, 4, 0xffffffff), NULL},
    {"footer: a fixed disk that says dynamic", REFUSE, FIXED, P(FOOTERS, 60, 4, 3), NULL},
    {"footer: a fixed disk that says differencing", REFUSE, FIXED, P(FOOTERS, 60, 4, 4), NULL},
    {"footer: a dynamic disk that says differencing", REFUSE, DYNAMIC, P(FOOTERS, 60, 4, 4), NULL},
    {"footer: saved state", READONLY, DYNAMIC, P(FOOTERS, 84, 1, 1), NULL},
    {"footer: geometry 0", SURVIVE, DYNAMIC, P(FOOTERS, 56, 4, 0), NULL},
    {"footer: geometry all ones", SURVIVE, DYNAMIC, P(FOOTERS, 56, 4, 0xffffffff), NULL},
    {"footer: creator vpc, geometry 0", SURVIVE, DYNAMIC, PP({FOOTERS, 28, 4, 0x76706320}, {FOOTERS, 56, 4, 0}), NULL},
    {"footer: creator vpc, geometry beyond the BAT", FAULTY, DYNAMIC,
     PP({FOOTERS, 28, 4, 0x76706320}, {FOOTERS, 56, 4, 0xfffe10fe}), NULL},
    {"footer: creator unknown", SURVIVE, DYNAMIC, P(FOOTERS, 28, 4, 0xdeadbeef), NULL},
    {"footer: timestamp at its end", FINE, DYNAMIC, P(FOOTERS, 24, 4, 0xffffffff), NULL},

    {"header: wrong cookie", REFUSE, DYNAMIC, P(HEAD, 0, 1, 'C'), NULL},
    {"header: wrong checksum", REFUSE, DYNAMIC, P(HEAD_RAW, 900, 1, 1), NULL},
    {"header: version 0", REFUSE, DYNAMIC, P(HEAD, 24, 4, 0), NULL},
    {"header: version 2.0", REFUSE, DYNAMIC, P(HEAD, 24, 4, 0x20000), NULL},
    {"header: BAT over the footer's copy", REFUSE, DYNAMIC, P(HEAD, 16, 8, 0), NULL},
    {"header: BAT over the header", REFUSE, DYNAMIC, P(HEAD, 16, 8, 1024), NULL},
    {"header: BAT unaligned", REFUSE, DYNAMIC, P(HEAD, 16, 8, 1537), NULL},
    {"header: BAT beyond the file", REFUSE, DYNAMIC, P(HEAD, 16, 8, 1ull << 40), NULL},
    {"header: BAT at 2^63", REFUSE, DYNAMIC, P(HEAD, 16, 8, 1ull << 63), NULL},
    {"header: BAT at 2^64 - 512", REFUSE, DYNAMIC, P(HEAD, 16, 8, ALL_ONES - 511), NULL},
    {"header: no BAT entries", REFUSE, DYNAMIC, P(HEAD, 28, 4, 0), NULL},
    {"header: fewer BAT entries than blocks", REFUSE, DYNAMIC, P(HEAD, 28, 4, 15), NULL},
    {"header: 2^32 - 1 BAT entries", REFUSE, DYNAMIC, P(HEAD, 28, 4, 0xffffffff), NULL},
    {"header: 2^30 BAT entries", REFUSE, DYNAMIC, P(HEAD, 28, 4, 1u << 30), NULL},
    {"header: block size 0", REFUSE, DYNAMIC, P(HEAD, 32, 4, 0), NULL},
    {"header: block size 1", REFUSE, DYNAMIC, P(HEAD, 32, 4, 1), NULL},
    {"header: block size 511", REFUSE, DYNAMIC, P(HEAD, 32, 4, 511), NULL},
    {"header: block size 513", REFUSE, DYNAMIC, P(HEAD, 32, 4, 513), NULL},
    {"header: block size 3 MiB", REFUSE, DYNAMIC, P(HEAD, 32, 4, 3 * MIB), NULL},
    {"header: block size 2^31", REFUSE, DYNAMIC, P(HEAD, 32, 4, 1ull << 31), NULL},
    {"header: block size 2^32 - 512", REFUSE, DYNAMIC, P(HEAD, 32, 4, 0xfffffe00), NULL},
    {"header: data offset is garbage", SURVIVE, DYNAMIC, P(HEAD, 8, 8, 4096), NULL},

    {"BAT: block past the end", WITHHELD, DYNAMIC, P(BAT, 1, 4, 0x100000), NULL},
    {"BAT: block at the largest offset", WITHHELD, DYNAMIC, P(BAT, 1, 4, 0xfffffffe), NULL},
    {"BAT: block over the footer's copy", WITHHELD, DYNAMIC, P(BAT, 1, 4, 0), NULL},
    {"BAT: block over the header", WITHHELD, DYNAMIC, P(BAT, 1, 4, 1), NULL},
    {"BAT: block over the BAT", WITHHELD, DYNAMIC, P(BAT_OVER, 1, 4, 0), NULL},
    {"BAT: block over the footer", WITHHELD, DYNAMIC, {{0}}, block_over_footer},
    {"BAT: two entries, one block", FAULTY, DYNAMIC, P(BAT_NEAR, 1, 0, 0), NULL},
    {"BAT: two blocks overlap by a sector", FAULTY, DYNAMIC, P(BAT_NEAR, 1, 3, ALL_ONES), NULL},
    {"BAT: two blocks overlap but for a sector", FAULTY, DYNAMIC, P(BAT_NEAR, 1, 0, 1), NULL},
    {"BAT: child, block past the end", WITHHELD, CHILD, P(BAT, 1, 4, 0x100000), NULL},
    {"BAT: child, block over the header", WITHHELD, CHILD, P(BAT, 1, 4, 1), NULL},
    {"BAT: child, two entries, one block", FAULTY, CHILD, P(BAT_NEAR, 1, 0, 0), NULL},
    {"BAT: 16 Mi entries of zero, in a hole", WITHHELD, DYNAMIC, {{0}}, bat_in_hole},
    {"BAT: 8160 entries of 256 MiB, one block", FAULTY, DYNAMIC, {{0}}, one_block_for_all},

    {"child: of another parent", ORPHAN, CHILD, P(HEAD, 40, 8, 0x1122334455667788), NULL},
    {"child: of no parent", REFUSE, CHILD, PP({HEAD, 40, 8, 0}, {HEAD, 48, 8, 0}), NULL},
    {"child: locators gone, the name stands", SURVIVE, CHILD, {{0}}, locators_gone},
    {"child: name gone, locators stand", SURVIVE, CHILD, {{0}}, name_gone},
    {"child: no name at all", ORPHAN, CHILD, {{0}}, names_gone},
    {"child: the name is garbage", ORPHAN, CHILD, {{0}}, name_garbage},
    {"child: parent's timestamp differs", FINE, CHILD, P(HEAD, 56, 4, 1), NULL},
    {"locator: unknown platform", SURVIVE, CHILD, P(LOCATOR, 0, 4, 0x58585858), NULL},
    {"locator: space 0", SURVIVE, CHILD, P(LOCATOR, 4, 4, 0), NULL},
    {"locator: length 0", FAULTY, CHILD, P(LOCATOR, 8, 4, 0), NULL},
    {"locator: longer than its space", FAULTY, CHILD, PP({LOCATOR, 4, 4, 512}, {LOCATOR, 8, 4, 8192}), NULL},
    {"locator: of 2^32 - 1 bytes", FAULTY, CHILD, PP({LOCATOR, 4, 4, 0xffffffff}, {LOCATOR, 8, 4, 0xffffffff}), NULL},
    {"locator: beyond the file", FAULTY, CHILD, P(LOCATOR, 16, 8, 1ull << 40), NULL},
    {"locator: at 2^63", FAULTY, CHILD, P(LOCATOR, 16, 8, 1ull << 63), NULL},
    {"locator: at 2^64 - 1", FAULTY, CHILD, P(LOCATOR, 16, 8, ALL_ONES), NULL},
    /* Its text ends before the footer's time and identifier, which are others in each run. */
    {"locator: over the footer's copy", FAULTY, CHILD, PP({LOCATOR, 16, 8, 0}, {LOCATOR, 8, 4, 16}), NULL},
    {"child that says dynamic", FAULTY, CHILD, P(FOOTERS, 60, 4, 3), NULL},
    {NULL, HOSTILE_END, 0, {{0}}, NULL},
};

int main(void)
{
    static const struct hostile_suite suite = {"vhd", ".vhd", kinds, BASES, make, apply};

    return hostile_run(&suite);
}
