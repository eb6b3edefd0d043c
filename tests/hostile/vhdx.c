/* SPDX-License-Identifier: BSD-2-Clause */
/* VHDX files with one thing wrong, or one thing unusual, but for the log, which is in vhdx-log.c. */
#include "tests/hostile_vhdx.h"

/* ---- Unusual but right, or wrong in more than a field --------------------------------------------------------- */

static void headers_equal(struct hostile_image *image)
{
    uint8_t header[4096];

    image_read(image, header, sizeof(header), vhdx_image_header(image, true));
    image_write(image, header, sizeof(header), vhdx_image_header(image, false));
}

static void headers_equal_but_one(struct hostile_image *image)
{
    headers_equal(image);
    le_put(image, 64 * KIB + 16, 1, le_get(image, 64 * KIB + 16, 1) ^ 1);
    vhdx_image_mend(image, 64 * KIB, 4096);
}

static void region_add(struct hostile_image *image, const uint8_t guid[16], uint64_t at, uint64_t length, bool required)
{
    for (uint64_t table = 192 * KIB; table <= 256 * KIB; table += 64 * KIB) {
        uint64_t count = le_get(image, table + 8, 4), entry = table + 16 + 32 * count;

        image_write(image, guid, 16, entry);
        le_put(image, entry + 16, 8, at);
        le_put(image, entry + 24, 4, length);
        le_put(image, entry + 28, 4, required);
        le_put(image, table + 8, 4, count + 1);
        vhdx_image_mend(image, table, 64 * KIB);
    }
}

static void region_unknown(struct hostile_image *image, bool required)
{
    uint64_t at = image->size;

    image_resize(image, at + MIB);
    region_add(image, vhdx_image_guid_unknown, at, MIB, required);
}

static void region_unknown_required(struct hostile_image *image)
{
    region_unknown(image, true);
}

static void region_unknown_optional(struct hostile_image *image)
{
    region_unknown(image, false);
}

static void region_bat_twice(struct hostile_image *image)
{
    uint64_t at = image->size;

    image_resize(image, at + MIB);
    region_add(image, vhdx_image_guid_bat, at, MIB, true);
}

static void regions_overlap(struct hostile_image *image)
{
    struct hostile_patch patch = {REGION_METADATA, 16, 8, vhdx_image_bat(image)};

    vhdx_image_apply(image, &patch);
}

/* The second table is as right as the first, and says something else. */
static void regions_differ(struct hostile_image *image)
{
    uint64_t at = vhdx_image_region_entry(image, 256 * KIB, vhdx_image_guid_bat);

    le_put(image, at + 16, 8, 16 * MIB);
    vhdx_image_mend(image, 256 * KIB, 64 * KIB);
}

static void region_over_log(struct hostile_image *image)
{
    struct hostile_patch patch = {REGION_BAT, 16, 8, vhdx_image_log(image)};

    vhdx_image_apply(image, &patch);
}

static void log_over_bat(struct hostile_image *image)
{
    struct hostile_patch patch = {HEADERS, 72, 8, vhdx_image_bat(image)};

    vhdx_image_apply(image, &patch);
}

static void metadata_add(struct hostile_image *image, const uint8_t guid[16], uint64_t at, uint64_t length,
                         uint64_t flags)
{
    uint64_t table = vhdx_image_metadata(image), count = le_get(image, table + 10, 2), entry = table + 32 + 32 * count;

    image_write(image, guid, 16, entry);
    le_put(image, entry + 16, 4, at);
    le_put(image, entry + 20, 4, length);
    le_put(image, entry + 24, 8, flags);
    le_put(image, table + 10, 2, count + 1);
}

static void item_unknown_required(struct hostile_image *image)
{
    metadata_add(image, vhdx_image_guid_unknown, 128 * KIB, 16, 4);
}

static void item_unknown_optional(struct hostile_image *image)
{
    metadata_add(image, vhdx_image_guid_unknown, 128 * KIB, 16, 0);
}

static void item_unknown_empty(struct hostile_image *image)
{
    metadata_add(image, vhdx_image_guid_unknown, 0, 0, 0);
}

static void item_unknown_user_required(struct hostile_image *image)
{
    metadata_add(image, vhdx_image_guid_unknown, 128 * KIB, 16, 5);
}

static void item_twice(struct hostile_image *image)
{
    metadata_add(image, vhdx_image_guid_items[1], 128 * KIB, 8, 6);
    le_put(image, vhdx_image_metadata(image) + 128 * KIB, 8, 8 * MIB);
}

static void items_overlap(struct hostile_image *image)
{
    uint64_t other = le_get(image, vhdx_image_item_entry(image, 3) + 16, 4);

    le_put(image, vhdx_image_item_entry(image, 4) + 16, 4, other);
}

static void bitmap_over_block(struct hostile_image *image)
{
    uint64_t block = le_get(image, vhdx_image_bat(image), 8) & ~(MIB - 1);

    le_put(image, vhdx_image_bat(image) + 8 * SECTOR_BITMAP, 8, block | 6);
}

static void last_block_cut(struct hostile_image *image)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < 16; i++) {
        uint64_t entry = le_get(image, vhdx_image_bat(image) + 8 * i, 8);

        if ((entry & 7) == 6 && entry >> 20 > last)
            last = entry >> 20;
    }
    image_resize(image, last * MIB + MIB / 2);
}

static void size_beyond_bat(struct hostile_image *image)
{
    le_put(image, vhdx_image_item(image, 1), 8, (MIB / 8 + 64) * MIB);
}

static void locator_key_garbage(struct hostile_image *image)
{
    uint64_t locator = vhdx_image_item(image, 5);
    uint64_t key = locator + le_get(image, locator + 20, 4);

    le_put(image, key, 8, 0xd800d800d800d800);
}

static void locator_values_garbage(struct hostile_image *image)
{
    uint64_t locator = vhdx_image_item(image, 5), count = le_get(image, locator + 18, 2);

    for (uint64_t i = 0; i < count; i++)
        le_put(image, locator + le_get(image, locator + 20 + 12 * i + 4, 4), 8, 0xd800d8000000d800);
}

static void locator_twice(struct hostile_image *image)
{
    uint64_t locator = vhdx_image_item(image, 5);
    uint8_t entry[12];

    image_read(image, entry, sizeof(entry), locator + 20);
    image_write(image, entry, sizeof(entry), locator + 32);
}

static void parent_other(struct hostile_image *image)
{
    uint64_t locator = vhdx_image_item(image, 5), count = le_get(image, locator + 18, 2);

    for (uint64_t i = 0; i < count; i++) { /* the value that begins with a brace is the linkage */
        uint64_t value = locator + le_get(image, locator + 20 + 12 * i + 4, 4);

        if (le_get(image, value, 2) == '{')
            le_put(image, value + 2, 2, le_get(image, value + 2, 2) == '1' ? '2' : '1');
    }
}

/* ---- The kinds ----------------------------------------------------------------------------------------------- */

static const struct hostile_kind kinds[] = {
    {"nothing wrong: dynamic", FINE, DYNAMIC, {{0}}, NULL},
    {"nothing wrong: fixed", FINE, FIXED, {{0}}, NULL},
    {"nothing wrong: differencing", FINE, CHILD, {{0}}, NULL},
    {"nothing wrong: a log to replay", FINE, LOGGED, {{0}}, NULL},

    {"file: empty", REFUSE, DYNAMIC, P(SIZE, 0, 0, 0), NULL},
    {"file: cut inside the identifier", REFUSE, DYNAMIC, P(SIZE, 0, 0, 5), NULL},
    {"file: cut before the headers", REFUSE, DYNAMIC, P(SIZE, 0, 0, 64 * KIB), NULL},
    {"file: cut inside the first header", REFUSE, DYNAMIC, P(SIZE, 0, 0, 64 * KIB + 100), NULL},
    {"file: cut inside the second header", REFUSE, DYNAMIC, P(SIZE, 0, 0, 128 * KIB + 4095), NULL},
    {"file: cut before the region tables", REFUSE, DYNAMIC, P(SIZE, 0, 0, 192 * KIB), NULL},
    {"file: cut inside the first region table", REFUSE, DYNAMIC, P(SIZE, 0, 0, 192 * KIB + 40), NULL},
    {"file: cut inside the second region table", REFUSE, DYNAMIC, P(SIZE, 0, 0, 256 * KIB + 40), NULL},
    {"file: cut before 1 MiB", REFUSE, DYNAMIC, P(SIZE, 0, 0, MIB - 1), NULL},
    {"file: cut after 1 MiB", REFUSE, DYNAMIC, P(SIZE, 0, 0, MIB), NULL},
    {"file: cut inside the log", REFUSE, DYNAMIC, P(SIZE, 0, 0, MIB + 512 * KIB), NULL},
    {"file: cut inside the second region", REFUSE, DYNAMIC, P(SIZE, 0, 0, 2 * MIB + 100), NULL},
    {"file: cut inside the third region", REFUSE, DYNAMIC, P(SIZE, 0, 0, 3 * MIB + 100), NULL},
    {"file: last block cut in half", WITHHELD, DYNAMIC, {{0}}, last_block_cut},
    {"file: fixed, last block cut in half", WITHHELD, FIXED, {{0}}, last_block_cut},
    {"file: wrong signature", REFUSE, DYNAMIC, P(FILE_AT, 0, 1, 'x'), NULL},
    {"file: creator is garbage", FINE, DYNAMIC, P(FILE_AT, 8, 8, 0xd800dfff00d8ffff), NULL},

    {"headers: wrong signatures", REFUSE, DYNAMIC, P(HEADERS, 0, 4, 0x64616568 + 1), NULL},
    {"headers: wrong checksums", REFUSE, DYNAMIC, P(HEADERS_RAW, 200, 1, 1), NULL},
    {"headers: version 0", REFUSE, DYNAMIC, P(HEADERS, 66, 2, 0), NULL},
    {"headers: version 2", REFUSE, DYNAMIC, P(HEADERS, 66, 2, 2), NULL},
    {"headers: log version 1, log empty", SURVIVE, DYNAMIC, P(HEADERS, 64, 2, 1), NULL},
    {"headers: log version 1, log to replay", REFUSE, LOGGED, P(HEADERS, 64, 2, 1), NULL},
    {"headers: newer one with a wrong checksum", MENDED, DYNAMIC, P(HEADER_NEW_RAW, 200, 1, 1), NULL},
    {"headers: newer one with a wrong signature", MENDED, DYNAMIC, P(HEADER_NEW, 0, 1, 'H'), NULL},
    {"headers: older one with a wrong signature", MENDED, DYNAMIC, P(HEADER_OLD, 0, 1, 'H'), NULL},
    {"headers: older one gone", MENDED, DYNAMIC, P(HEADER_OLD, 0, 8, 0), NULL},
    {"headers: equal and the same", FINE, DYNAMIC, {{0}}, headers_equal},
    {"headers: equal sequence, different content", REFUSE, DYNAMIC, {{0}}, headers_equal_but_one},
    {"headers: sequence at its end", SURVIVE, DYNAMIC, P(HEADER_NEW, 8, 8, ALL_ONES), NULL},
    {"headers: log length 0", REFUSE, DYNAMIC, P(HEADERS, 68, 4, 0), NULL},
    {"headers: log length unaligned", REFUSE, DYNAMIC, P(HEADERS, 68, 4, MIB + 4096), NULL},
    {"headers: log length beyond the file", REFUSE, DYNAMIC, P(HEADERS, 68, 4, 0xfff00000), NULL},
    {"headers: log offset 0", REFUSE, DYNAMIC, P(HEADERS, 72, 8, 0), NULL},
    {"headers: log offset unaligned", REFUSE, DYNAMIC, P(HEADERS, 72, 8, MIB + 512), NULL},
    {"headers: log offset beyond the file", REFUSE, DYNAMIC, P(HEADERS, 72, 8, 1ull << 40), NULL},
    {"headers: log offset wraps", REFUSE, DYNAMIC, P(HEADERS, 72, 8, ALL_ONES - MIB + 1), NULL},
    {"headers: log over the BAT", REFUSE, DYNAMIC, {{0}}, log_over_bat},

    {"regions: wrong signatures", REFUSE, DYNAMIC, P(REGIONS, 0, 1, 'R'), NULL},
    {"regions: wrong checksums", REFUSE, DYNAMIC, P(REGIONS_RAW, 30000, 1, 1), NULL},
    {"regions: first table with a wrong checksum", MENDED, DYNAMIC, P(REGION_FIRST_RAW, 30000, 1, 1), NULL},
    {"regions: two tables that differ", REFUSE, DYNAMIC, {{0}}, regions_differ},
    {"regions: none", REFUSE, DYNAMIC, P(REGIONS, 8, 4, 0), NULL},
    {"regions: only one", REFUSE, DYNAMIC, P(REGIONS, 8, 4, 1), NULL},
    {"regions: 2048 of them", REFUSE, DYNAMIC, P(REGIONS, 8, 4, 2048), NULL},
    {"regions: 2^32 - 1 of them", REFUSE, DYNAMIC, P(REGIONS, 8, 4, 0xffffffff), NULL},
    {"regions: unknown, required", REFUSE, DYNAMIC, {{0}}, region_unknown_required},
    {"regions: unknown, optional", FINE, DYNAMIC, {{0}}, region_unknown_optional},
    {"regions: the BAT twice", REFUSE, DYNAMIC, {{0}}, region_bat_twice},
    {"regions: BAT and metadata at one place", REFUSE, DYNAMIC, {{0}}, regions_overlap},
    {"regions: BAT over the log", REFUSE, DYNAMIC, {{0}}, region_over_log},
    {"regions: no BAT", REFUSE, DYNAMIC, P(REGION_BAT, 0, 1, 0), NULL},
    {"regions: BAT at 0", REFUSE, DYNAMIC, P(REGION_BAT, 16, 8, 0), NULL},
    {"regions: BAT unaligned", REFUSE, DYNAMIC, P(REGION_BAT, 16, 8, 3 * MIB + 512), NULL},
    {"regions: BAT beyond the file", REFUSE, DYNAMIC, P(REGION_BAT, 16, 8, 1ull << 40), NULL},
    {"regions: BAT at 2^63", REFUSE, DYNAMIC, P(REGION_BAT, 16, 8, 1ull << 63), NULL},
    {"regions: BAT at the last MiB of 2^64", REFUSE, DYNAMIC, P(REGION_BAT, 16, 8, ALL_ONES - MIB + 1), NULL},
    {"regions: BAT of length 0", REFUSE, DYNAMIC, P(REGION_BAT, 24, 4, 0), NULL},
    {"regions: BAT of an unaligned length", REFUSE, DYNAMIC, P(REGION_BAT, 24, 4, 4096), NULL},
    {"regions: BAT longer than the file", REFUSE, DYNAMIC, P(REGION_BAT, 24, 4, 0xfff00000), NULL},
    {"regions: BAT too short for the disk", REFUSE, DYNAMIC, {{0}}, size_beyond_bat},
    {"regions: no metadata", REFUSE, DYNAMIC, P(REGION_METADATA, 0, 1, 0), NULL},
    {"regions: metadata at 0", REFUSE, DYNAMIC, P(REGION_METADATA, 16, 8, 0), NULL},
    {"regions: metadata unaligned", REFUSE, DYNAMIC, P(REGION_METADATA, 16, 8, 2 * MIB + 4096), NULL},
    {"regions: metadata beyond the file", REFUSE, DYNAMIC, P(REGION_METADATA, 16, 8, 1ull << 50), NULL},
    {"regions: metadata of length 0", REFUSE, DYNAMIC, P(REGION_METADATA, 24, 4, 0), NULL},

    {"metadata: wrong signature", REFUSE, DYNAMIC, P(METADATA, 0, 1, 'M'), NULL},
    {"metadata: no entries", REFUSE, DYNAMIC, P(METADATA, 10, 2, 0), NULL},
    {"metadata: 2048 entries", REFUSE, DYNAMIC, P(METADATA, 10, 2, 2048), NULL},
    {"metadata: 65535 entries", REFUSE, DYNAMIC, P(METADATA, 10, 2, 65535), NULL},
    {"metadata: file parameters without flags", SURVIVE, DYNAMIC, P(ENTRY_FILE, 24, 4, 0), NULL},
    {"metadata: no file parameters", REFUSE, DYNAMIC, PP({ENTRY_FILE, 24, 4, 2}, {ENTRY_FILE, 0, 1, 0}), NULL},
    {"metadata: file parameters by another name", REFUSE, DYNAMIC, P(ENTRY_FILE, 0, 1, 0), NULL},
    {"metadata: no disk size", REFUSE, DYNAMIC, PP({ENTRY_SIZE, 24, 4, 2}, {ENTRY_SIZE, 0, 1, 0}), NULL},
    {"metadata: no logical sector size", REFUSE, DYNAMIC, PP({ENTRY_LOGICAL, 24, 4, 2}, {ENTRY_LOGICAL, 0, 1, 0}),
     NULL},
    {"metadata: no physical sector size", REFUSE, DYNAMIC, PP({ENTRY_PHYSICAL, 24, 4, 2}, {ENTRY_PHYSICAL, 0, 1, 0}),
     NULL},
    {"metadata: no page 83 data", REFUSE, DYNAMIC, PP({ENTRY_PAGE83, 24, 4, 2}, {ENTRY_PAGE83, 0, 1, 0}), NULL},
    {"metadata: unknown item, required", REFUSE, DYNAMIC, {{0}}, item_unknown_required},
    {"metadata: unknown item, optional", FINE, DYNAMIC, {{0}}, item_unknown_optional},
    {"metadata: unknown item, optional, empty", FINE, DYNAMIC, {{0}}, item_unknown_empty},
    {"metadata: unknown user item, required", REFUSE, DYNAMIC, {{0}}, item_unknown_user_required},
    {"metadata: disk size twice", REFUSE, DYNAMIC, {{0}}, item_twice},
    {"metadata: two items at one place", REFUSE, DYNAMIC, {{0}}, items_overlap},
    {"metadata: item inside the table", REFUSE, DYNAMIC, P(ENTRY_SIZE, 16, 4, 4096), NULL},
    {"metadata: item behind the region", REFUSE, DYNAMIC, P(ENTRY_SIZE, 16, 4, 1 * MIB), NULL},
    {"metadata: item across the region's end", REFUSE, DYNAMIC, P(ENTRY_SIZE, 16, 4, MIB - 4), NULL},
    {"metadata: item offset wraps", REFUSE, DYNAMIC, P(ENTRY_SIZE, 16, 4, 0xfffffffc), NULL},
    {"metadata: disk size of 4 bytes", REFUSE, DYNAMIC, P(ENTRY_SIZE, 20, 4, 4), NULL},
    {"metadata: disk size of 0 bytes", REFUSE, DYNAMIC, P(ENTRY_SIZE, 20, 4, 0), NULL},
    {"metadata: disk size of 2^32 - 1 bytes", REFUSE, DYNAMIC, P(ENTRY_SIZE, 20, 4, 0xffffffff), NULL},
    {"metadata: file parameters of 16 bytes", REFUSE, DYNAMIC, P(ENTRY_FILE, 20, 4, 16), NULL},

    {"block size 0", REFUSE, DYNAMIC, P(ITEM_FILE, 0, 4, 0), NULL},
    {"block size 1", REFUSE, DYNAMIC, P(ITEM_FILE, 0, 4, 1), NULL},
    {"block size 512 KiB", REFUSE, DYNAMIC, P(ITEM_FILE, 0, 4, 512 * KIB), NULL},
    {"block size 3 MiB", REFUSE, DYNAMIC, P(ITEM_FILE, 0, 4, 3 * MIB), NULL},
    {"block size 512 MiB", REFUSE, DYNAMIC, P(ITEM_FILE, 0, 4, 512 * MIB), NULL},
    {"block size 2^31", REFUSE, DYNAMIC, P(ITEM_FILE, 0, 4, 1ull << 31), NULL},
    {"file parameters: reserved flags", FAULTY, DYNAMIC, P(ITEM_FILE, 4, 4, 0x80000000), NULL},
    {"file parameters: a parent without locator", REFUSE, DYNAMIC, P(ITEM_FILE, 4, 4, 2), NULL},
    {"logical sector 0", REFUSE, DYNAMIC, P(ITEM_LOGICAL, 0, 4, 0), NULL},
    {"logical sector 513", REFUSE, DYNAMIC, P(ITEM_LOGICAL, 0, 4, 513), NULL},
    {"logical sector 1024", REFUSE, DYNAMIC, P(ITEM_LOGICAL, 0, 4, 1024), NULL},
    {"logical sector 2^31", REFUSE, DYNAMIC, P(ITEM_LOGICAL, 0, 4, 1ull << 31), NULL},
    {"physical sector 0", REFUSE, DYNAMIC, P(ITEM_PHYSICAL, 0, 4, 0), NULL},
    {"physical sector 2048", REFUSE, DYNAMIC, P(ITEM_PHYSICAL, 0, 4, 2048), NULL},
    {"disk size 0", REFUSE, DYNAMIC, P(ITEM_SIZE, 0, 8, 0), NULL},
    {"disk size 1", REFUSE, DYNAMIC, P(ITEM_SIZE, 0, 8, 1), NULL},
    {"disk size unaligned", REFUSE, DYNAMIC, P(ITEM_SIZE, 0, 8, 16 * MIB - 1), NULL},
    {"disk size 64 TiB and a sector", REFUSE, DYNAMIC, P(ITEM_SIZE, 0, 8, (64ull << 40) + 512), NULL},
    {"disk size 4 PiB", REFUSE, DYNAMIC, P(ITEM_SIZE, 0, 8, 1ull << 52), NULL},
    {"disk size 2^63", REFUSE, DYNAMIC, P(ITEM_SIZE, 0, 8, 1ull << 63), NULL},
    {"disk size 2^64 - 512", REFUSE, DYNAMIC, P(ITEM_SIZE, 0, 8, ALL_ONES - 511), NULL},

    {"BAT: block past the end", WITHHELD, DYNAMIC, P(BAT, 3, 8, ENTRY(4000, 6)), NULL},
    {"BAT: block at the largest offset", WITHHELD, DYNAMIC, P(BAT, 3, 8, ENTRY((1ull << 44) - 1, 6)), NULL},
    {"BAT: block over the headers", WITHHELD, DYNAMIC, P(BAT, 3, 8, ENTRY(0, 6)), NULL},
    {"BAT: block over the log", WITHHELD, DYNAMIC, P(BAT_OVER, 3, OVER_LOG, 6), NULL},
    {"BAT: block over the metadata", WITHHELD, DYNAMIC, P(BAT_OVER, 3, OVER_METADATA, 6), NULL},
    {"BAT: block over the BAT", WITHHELD, DYNAMIC, P(BAT_OVER, 3, OVER_BAT, 6), NULL},
    {"BAT: two entries, one block", FAULTY, DYNAMIC, P(BAT_TWICE, 1, 8, 0), NULL},
    {"BAT: two entries, one block, fixed", FAULTY, FIXED, P(BAT_TWICE, 1, 8, 0), NULL},
    {"BAT: state 4", WITHHELD, DYNAMIC, P(BAT, 1, 8, 4), NULL},
    {"BAT: state 5", WITHHELD, DYNAMIC, P(BAT, 1, 8, 5), NULL},
    {"BAT: state 4 with an offset", WITHHELD, DYNAMIC, P(BAT, 1, 8, ENTRY(8, 4)), NULL},
    {"BAT: reserved bits", FAULTY, DYNAMIC, P(BAT, 1, 8, 0x8), NULL},
    {"BAT: the highest reserved bit", FAULTY, DYNAMIC, P(BAT, 1, 8, 0x80000), NULL},
    {"BAT: PARTIAL without a parent", WITHHELD, DYNAMIC, P(BAT, 3, 8, ENTRY(8, 7)), NULL},
    {"BAT: ZERO, with an offset", SURVIVE, DYNAMIC, P(BAT, 1, 8, ENTRY(8, 2)), NULL},
    {"BAT: UNDEFINED", FINE, DYNAMIC, P(BAT, 1, 8, 1), NULL},
    {"BAT: ZERO", FINE, DYNAMIC, P(BAT, 1, 8, 2), NULL},
    {"BAT: UNMAPPED", FINE, DYNAMIC, P(BAT, 1, 8, 3), NULL},
    {"BAT: an entry behind the last block", SURVIVE, DYNAMIC, P(BAT, 17, 8, ENTRY(0, 6)), NULL},

    {"child: no sector bitmap", WITHHELD, CHILD, P(BAT, SECTOR_BITMAP, 8, 0), NULL},
    {"child: sector bitmap in state 7", WITHHELD, CHILD, P(BAT_TWICE, SECTOR_BITMAP, 8, 0), NULL},
    {"child: sector bitmap in state 4", WITHHELD, CHILD, P(BAT, SECTOR_BITMAP, 8, 4), NULL},
    {"child: sector bitmap past the end", WITHHELD, CHILD, P(BAT, SECTOR_BITMAP, 8, ENTRY(4000, 6)), NULL},
    {"child: sector bitmap over the headers", WITHHELD, CHILD, P(BAT, SECTOR_BITMAP, 8, ENTRY(0, 6)), NULL},
    {"child: sector bitmap over the BAT", WITHHELD, CHILD, P(BAT_OVER, SECTOR_BITMAP, OVER_BAT, 6), NULL},
    {"child: sector bitmap is a block", FAULTY, CHILD, {{0}}, bitmap_over_block},
    {"child: PARTIAL past the end", WITHHELD, CHILD, P(BAT, 3, 8, ENTRY(4000, 7)), NULL},
    {"child: PARTIAL over the log", WITHHELD, CHILD, P(BAT_OVER, 3, OVER_LOG, 7), NULL},
    {"child: two PARTIAL, one block", FAULTY, CHILD, P(BAT_TWICE, 3, 8, 0), NULL},
    {"locator: of another type", REFUSE, CHILD, P(ITEM_LOCATOR, 0, 1, 0), NULL},
    {"locator: no keys", REFUSE, CHILD, P(ITEM_LOCATOR, 18, 2, 0), NULL},
    {"locator: 65535 keys", REFUSE, CHILD, P(ITEM_LOCATOR, 18, 2, 65535), NULL},
    {"locator: key outside", REFUSE, CHILD, P(ITEM_LOCATOR, 20, 4, MIB), NULL},
    {"locator: key offset wraps", REFUSE, CHILD, P(ITEM_LOCATOR, 20, 4, 0xffffffff), NULL},
    {"locator: value outside", REFUSE, CHILD, P(ITEM_LOCATOR, 24, 4, 0xfffffff0), NULL},
    {"locator: key of length 0", REFUSE, CHILD, P(ITEM_LOCATOR, 28, 2, 0), NULL},
    {"locator: value of an odd length", REFUSE, CHILD, P(ITEM_LOCATOR, 30, 2, 33), NULL},
    {"locator: value of 65535 bytes", REFUSE, CHILD, P(ITEM_LOCATOR, 30, 2, 65535), NULL},
    {"locator: key is garbage", REFUSE, CHILD, {{0}}, locator_key_garbage},
    {"locator: values are garbage", REFUSE, CHILD, {{0}}, locator_values_garbage},
    {"locator: a key twice", REFUSE, CHILD, {{0}}, locator_twice},
    {"locator: longer than the region", REFUSE, CHILD, P(ENTRY_LOCATOR, 20, 4, 4 * MIB), NULL},
    {"locator: 8 bytes long", REFUSE, CHILD, P(ENTRY_LOCATOR, 20, 4, 8), NULL},
    {"child without the flag", FAULTY, CHILD, P(ITEM_FILE, 4, 4, 0), NULL},
    {"child of 4096-byte sectors, parent of 512", REFUSE, CHILD, P(ITEM_LOGICAL, 0, 4, 4096), NULL},
    {"child of another parent", ORPHAN, CHILD, {{0}}, parent_other},

    {NULL, HOSTILE_END, 0, {{0}}, NULL},
};

int main(void)
{
    static const struct hostile_suite suite = {"vhdx", ".vhdx", kinds, BASES, vhdx_image_make, vhdx_image_apply};

    return hostile_run(&suite);
}
