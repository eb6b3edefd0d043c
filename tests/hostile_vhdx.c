/* SPDX-License-Identifier: BSD-2-Clause */
/* See hostile_vhdx.h. */
#include <isa-l/crc.h>

#include "tests/hostile_vhdx.h"

/* ---- Finding things ------------------------------------------------------------------------------------------ */

const uint8_t vhdx_image_guid_bat[16] = {0x66, 0x77, 0xC2, 0x2D, 0x23, 0xF6, 0x00, 0x42,
                                         0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08};
static const uint8_t guid_metadata[16] = {0x06, 0xA2, 0x7C, 0x8B, 0x90, 0x47, 0x9A, 0x4B,
                                          0xB8, 0xFE, 0x57, 0x5F, 0x05, 0x0F, 0x88, 0x6E};
const uint8_t vhdx_image_guid_items[6][16] = {
    {0x37, 0x67, 0xA1, 0xCA, 0x36, 0xFA, 0x43, 0x4D, 0xB3, 0xB6, 0x33, 0xF0, 0xAA, 0x44, 0xE7, 0x6B},
    {0x24, 0x42, 0xA5, 0x2F, 0x1B, 0xCD, 0x76, 0x48, 0xB2, 0x11, 0x5D, 0xBE, 0xD8, 0x3B, 0xF4, 0xB8},
    {0xAB, 0x12, 0xCA, 0xBE, 0xE6, 0xB2, 0x23, 0x45, 0x93, 0xEF, 0xC3, 0x09, 0xE0, 0x00, 0xC7, 0x46},
    {0x1D, 0xBF, 0x41, 0x81, 0x6F, 0xA9, 0x09, 0x47, 0xBA, 0x47, 0xF2, 0x33, 0xA8, 0xFA, 0xAB, 0x5F},
    {0xC7, 0x48, 0xA3, 0xCD, 0x5D, 0x44, 0x71, 0x44, 0x9C, 0xC9, 0xE9, 0x88, 0x52, 0x51, 0xC5, 0x56},
    {0x2D, 0x5F, 0xD3, 0xA8, 0x0B, 0xB3, 0x4D, 0x45, 0xAB, 0xF7, 0xD3, 0xD8, 0x48, 0x34, 0xAB, 0x0C},
};

/* The checksum of [at, at + length), stored at at + 4. */
void vhdx_image_mend(struct hostile_image *image, uint64_t at, size_t length)
{
    static uint8_t buffer[MIB];

    test_true(length <= sizeof(buffer));
    image_read(image, buffer, length, at);
    memset(buffer + 4, 0, 4);
    le_put(image, at + 4, 4, ~crc32_iscsi(buffer, (int)length, 0xffffffff) & 0xffffffff);
}

uint64_t vhdx_image_header(struct hostile_image *image, bool newer)
{
    bool second = le_get(image, 128 * KIB + 8, 8) > le_get(image, 64 * KIB + 8, 8);

    return second == newer ? 128 * KIB : 64 * KIB;
}

/* Offset of the entry that begins with guid among count entries of 32 bytes. */
static uint64_t entry_at(struct hostile_image *image, uint64_t at, unsigned count, const uint8_t guid[16])
{
    uint8_t found[16];

    for (unsigned i = 0; i < count; i++, at += 32) {
        image_read(image, found, sizeof(found), at);
        if (!memcmp(found, guid, 16))
            return at;
    }
    test_fail("the base image lacks an entry");
}

uint64_t vhdx_image_region_entry(struct hostile_image *image, uint64_t table, const uint8_t guid[16])
{
    return entry_at(image, table + 16, 8, guid);
}

uint64_t vhdx_image_bat(struct hostile_image *image)
{
    return le_get(image, vhdx_image_region_entry(image, 192 * KIB, vhdx_image_guid_bat) + 16, 8);
}

uint64_t vhdx_image_metadata(struct hostile_image *image)
{
    return le_get(image, vhdx_image_region_entry(image, 192 * KIB, guid_metadata) + 16, 8);
}

uint64_t vhdx_image_item_entry(struct hostile_image *image, unsigned item)
{
    return entry_at(image, vhdx_image_metadata(image) + 32, 16, vhdx_image_guid_items[item]);
}

uint64_t vhdx_image_item(struct hostile_image *image, unsigned item)
{
    return vhdx_image_metadata(image) + le_get(image, vhdx_image_item_entry(image, item) + 16, 4);
}

uint64_t vhdx_image_log(struct hostile_image *image)
{
    return le_get(image, vhdx_image_header(image, true) + 72, 8);
}

/* ---- Applying a patch ---------------------------------------------------------------------------------------- */

static void header_patch(struct hostile_image *image, const struct hostile_patch *patch, bool newer, bool raw)
{
    uint64_t at = vhdx_image_header(image, newer);

    le_put(image, at + patch->at, patch->width, patch->value);
    if (!raw)
        vhdx_image_mend(image, at, 4096);
}

static void region_patch(struct hostile_image *image, const struct hostile_patch *patch, const uint8_t *guid, bool raw)
{
    for (uint64_t table = 192 * KIB; table <= 256 * KIB; table += 64 * KIB) {
        uint64_t at = guid ? vhdx_image_region_entry(image, table, guid) : table;

        le_put(image, at + patch->at, patch->width, patch->value);
        if (!raw)
            vhdx_image_mend(image, table, 64 * KIB);
        if (patch->where == REGION_FIRST_RAW)
            return;
    }
}

static void bat_patch(struct hostile_image *image, const struct hostile_patch *patch)
{
    uint64_t entry = vhdx_image_bat(image) + patch->at * 8, value = patch->value;

    if (patch->where == BAT_TWICE)
        value = le_get(image, vhdx_image_bat(image) + patch->value * 8, 8);
    else if (patch->where == BAT_OVER)
        value |= patch->width == OVER_LOG   ? vhdx_image_log(image)
                 : patch->width == OVER_BAT ? vhdx_image_bat(image)
                                            : vhdx_image_metadata(image);
    le_put(image, entry, 8, value);
}

static void log_patch(struct hostile_image *image, const struct hostile_patch *patch)
{
    uint64_t at = vhdx_image_log(image), length = le_get(image, at + 8, 4);

    le_put(image, at + patch->at, patch->width, patch->value);
    if (patch->where != LOG_RAW)
        vhdx_image_mend(image, at, length);
}

void vhdx_image_apply(struct hostile_image *image, const struct hostile_patch *patch)
{
    switch (patch->where) {
    case FILE_AT:
        le_put(image, patch->at, patch->width, patch->value);
        break;
    case SIZE:
        image_resize(image, patch->value);
        break;
    case CUT:
        image_resize(image, image->size - patch->value);
        break;
    case HEADERS:
    case HEADERS_RAW:
        header_patch(image, patch, false, patch->where == HEADERS_RAW);
        header_patch(image, patch, true, patch->where == HEADERS_RAW);
        break;
    case HEADER_NEW:
        header_patch(image, patch, true, false);
        break;
    case HEADER_NEW_RAW:
        header_patch(image, patch, true, true);
        break;
    case HEADER_OLD:
        header_patch(image, patch, false, false);
        break;
    case REGIONS:
        region_patch(image, patch, NULL, false);
        break;
    case REGIONS_RAW:
    case REGION_FIRST_RAW:
        region_patch(image, patch, NULL, true);
        break;
    case REGION_BAT:
        region_patch(image, patch, vhdx_image_guid_bat, false);
        break;
    case REGION_METADATA:
        region_patch(image, patch, guid_metadata, false);
        break;
    case METADATA:
        le_put(image, vhdx_image_metadata(image) + patch->at, patch->width, patch->value);
        break;
    case ENTRY_FILE:
    case ENTRY_SIZE:
    case ENTRY_PAGE83:
    case ENTRY_LOGICAL:
    case ENTRY_PHYSICAL:
    case ENTRY_LOCATOR:
        le_put(image, vhdx_image_item_entry(image, (unsigned)patch->where - ENTRY_FILE) + patch->at, patch->width,
               patch->value);
        break;
    case ITEM_FILE:
        le_put(image, vhdx_image_item(image, 0) + patch->at, patch->width, patch->value);
        break;
    case ITEM_SIZE:
        le_put(image, vhdx_image_item(image, 1), 8, patch->value);
        break;
    case ITEM_LOGICAL:
        le_put(image, vhdx_image_item(image, 3), 4, patch->value);
        break;
    case ITEM_PHYSICAL:
        le_put(image, vhdx_image_item(image, 4), 4, patch->value);
        break;
    case ITEM_LOCATOR:
        le_put(image, vhdx_image_item(image, 5) + patch->at, patch->width, patch->value);
        break;
    case BAT:
    case BAT_OVER:
    case BAT_TWICE:
        bat_patch(image, patch);
        break;
    case LOG:
    case LOG_RAW:
        log_patch(image, patch);
        break;
    default:
        test_fail("no such place: %d", patch->where);
    }
}

const uint8_t vhdx_image_guid_unknown[16] = {0xde, 0xad, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};

/* ---- Bases --------------------------------------------------------------------------------------------------- */

void vhdx_image_log_data(uint8_t *entry, unsigned index, unsigned count, const uint8_t *page, uint64_t at,
                         uint64_t sequence)
{
    uint64_t data = 4096 * ((64 + 32 * count + 4095) / 4096) + 4096 * index;
    uint8_t *descriptor = entry + 64 + 32 * index, *sector = entry + data;

    memcpy(descriptor, "desc", 4);
    memcpy(descriptor + 4, page + 4092, 4);
    memcpy(descriptor + 8, page, 8);
    memcpy(descriptor + 16, &at, 8);
    memcpy(descriptor + 24, &sequence, 8);
    memcpy(sector, "data", 4);
    memcpy(sector + 4, (uint8_t *)&sequence + 4, 4);
    memcpy(sector + 8, page + 8, 4084);
    memcpy(sector + 4092, &sequence, 4);
}

/* Takes the BAT's first page out of the file and into the log: only a replay shows the disk's content. position: of the
 * entry in the log. [MS-VHDX] 2.3.1 */
void vhdx_image_log_write(struct hostile_image *image, uint64_t position, uint64_t sequence, const uint8_t guid[16])
{
    static const uint8_t zeros[4096];
    uint8_t page[4096], entry[8192] = "loge";
    uint64_t log = vhdx_image_log(image), length = le_get(image, vhdx_image_header(image, true) + 68, 4),
             size = image->size;
    uint32_t head[4] = {8192, (uint32_t)position};

    image_read(image, page, sizeof(page), vhdx_image_bat(image));
    image_write(image, zeros, sizeof(zeros), vhdx_image_bat(image));
    memcpy(entry + 8, head, 8);
    memcpy(entry + 16, &sequence, 8);
    entry[24] = 1;
    memcpy(entry + 32, guid, 16);
    memcpy(entry + 48, &size, 8);
    memcpy(entry + 56, &size, 8);
    vhdx_image_log_data(entry, 0, 1, page, vhdx_image_bat(image), sequence);
    for (size_t i = 0; i < sizeof(entry); i += 4096)
        image_write(image, entry + i, 4096, log + (position + i) % length);
    /* across the end of the ring the checksum is not over consecutive bytes */
    memset(entry + 4, 0, 4);
    le_put(image, log + position + 4, 4, ~crc32_iscsi(entry, sizeof(entry), 0xffffffff) & 0xffffffff);
}

const uint8_t vhdx_image_log_guid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

void vhdx_image_log_guid_set(struct hostile_image *image)
{
    for (uint64_t at = 64 * KIB; at <= 128 * KIB; at += 64 * KIB) {
        image_write(image, vhdx_image_log_guid, 16, at + 48);
        vhdx_image_mend(image, at, 4096);
    }
}

static void log_make(struct hostile_image *image)
{
    vhdx_image_log_write(image, 0, 77, vhdx_image_log_guid);
    vhdx_image_log_guid_set(image);
}

void vhdx_image_make(const char *dir, unsigned base, const char *path)
{
    struct messages messages = MESSAGES_INIT;
    struct vdisk_create_options options = {.format = "vhdx", .size = 16 * MIB, .block_size = MIB};
    struct hostile_image image;

    messages.echo = true;
    options.log = messages_log(&messages);
    options.type = base == FIXED ? "fixed" : "dynamic";
    if (base == CHILD) {
        options.type = "differencing";
        options.parent = scratch_path(dir, "base0.vhdx");
    }
    hostile_make(path, &options);
    if (base == LOGGED) {
        image_open(&image, path);
        log_make(&image);
        image_close(&image);
    }
}
