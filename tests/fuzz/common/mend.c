/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes right what a random change makes wrong without being interesting: checksums, copies, and in a log the numbers
 * that stand in every sector. What does not carry its signature any more is left alone.
 */
#include <stddef.h>

#include "tests/fuzz/common/scene.h"
#include "vhd/vhd.h"
#include "vhdx/log.h"

#define LOG_SECTORS 48u /* at its beginning and its end */
#define ENTRY_MAX (512u << 10)

static bool begins(const struct medium *image, uint64_t at, const char *signature)
{
    char found[8];

    medium_read(image, found, sizeof(found), at);
    return memcmp(found, signature, strlen(signature)) == 0;
}

/* ---- VHD ---- */

static void mend_sum(struct medium *image, uint64_t at, size_t length, size_t field, const char *signature)
{
    uint8_t bytes[sizeof(struct vhd_header)];
    struct be32 sum;

    if (at > medium_size(image) || medium_size(image) - at < length || !begins(image, at, signature))
        return;
    medium_read(image, bytes, length, at);
    sum = be32_of(vhd_checksum(bytes, length, field));
    medium_write(image, &sum, sizeof(sum), at + field);
}

static void mend_vhd(struct medium *image, unsigned flags)
{
    uint64_t size = medium_size(image), end = size - sizeof(struct vhd_footer);
    struct vhd_footer footer;

    if (size < 2 * sizeof(footer))
        return;
    medium_read(image, &footer, sizeof(footer), end);
    if (!(flags & SCENE_APART) && be32_get(footer.type) != VHD_FIXED)
        medium_write(image, &footer, sizeof(footer), 0);
    if (flags & SCENE_RAW)
        return;
    mend_sum(image, end, sizeof(footer), offsetof(struct vhd_footer, checksum), VHD_COOKIE);
    mend_sum(image, 0, sizeof(footer), offsetof(struct vhd_footer, checksum), VHD_COOKIE);
    mend_sum(image, be64_get(footer.data_offset), sizeof(struct vhd_header), offsetof(struct vhd_header, checksum),
             VHD_HEADER_COOKIE);
}

/* ---- VHDX ---- */

static void mend_crc(struct medium *image, uint64_t at, size_t length, const char *signature)
{
    static uint8_t bytes[VHDX_TABLE_SIZE];
    struct le32 sum;

    if (at + length > medium_size(image) || !begins(image, at, signature))
        return;
    medium_read(image, bytes, length, at);
    sum = le32_of(vhdx_checksum(bytes, length));
    medium_write(image, &sum, sizeof(sum), at + 4);
}

struct ring {
    struct medium *image;
    uint64_t position, length;
};

static void ring_read(const struct ring *ring, void *buffer, size_t length, uint64_t offset)
{
    for (size_t at = 0; at < length; at += VHDX_PAGE)
        medium_read(ring->image, (uint8_t *)buffer + at, VHDX_PAGE, ring->position + (offset + at) % ring->length);
}

/* The sequence number of the entry in its descriptors and data sectors, then its checksum. */
static void mend_entry(const struct ring *ring, uint64_t offset, bool numbers)
{
    static uint8_t entry[ENTRY_MAX];
    struct vhdx_log_header h;
    uint64_t length;
    struct le32 sum;

    ring_read(ring, entry, VHDX_PAGE, offset);
    memcpy(&h, entry, sizeof(h));
    length = le32_get(h.entry_length);
    if (memcmp(h.signature, "loge", 4) != 0 || length == 0 || length % VHDX_PAGE || length > ENTRY_MAX ||
        length > ring->length)
        return;
    ring_read(ring, entry, (size_t)length, offset);
    for (uint32_t i = 0; numbers && i < le32_get(h.descriptor_count) && 96 + 32ull * i <= length; i++)
        memcpy(entry + 64 + 32ull * i + 24, &h.sequence, 8);
    for (uint64_t at = VHDX_PAGE; numbers && at < length; at += VHDX_PAGE)
        if (memcmp(entry + at, "data", 4) == 0) {
            memcpy(entry + at + 4, h.sequence.byte + 4, 4);
            memcpy(entry + at + VHDX_PAGE - 4, h.sequence.byte, 4);
        }
    sum = le32_of(vhdx_checksum(entry, (size_t)length));
    memcpy(entry + 4, &sum, sizeof(sum));
    for (uint64_t at = 0; at < length; at += VHDX_PAGE)
        medium_write(ring->image, entry + at, VHDX_PAGE, ring->position + (offset + at) % ring->length);
}

static void mend_log(struct medium *image, uint64_t header_at, bool numbers)
{
    struct ring ring = {.image = image};
    struct vhdx_header h;

    medium_read(image, &h, sizeof(h), header_at);
    ring.position = le64_get(h.log_offset);
    ring.length = le32_get(h.log_length);
    if (ring.length == 0 || ring.length % VHDX_MIB || ring.position % VHDX_MIB || ring.position > medium_size(image) ||
        ring.length > medium_size(image) - ring.position)
        return;
    for (uint64_t i = 0; i < 2 * LOG_SECTORS; i++) {
        uint64_t offset = i < LOG_SECTORS ? i * VHDX_PAGE : ring.length - (i - LOG_SECTORS + 1) * VHDX_PAGE;

        if (begins(image, ring.position + offset, "loge"))
            mend_entry(&ring, offset, numbers);
    }
}

static void mend_vhdx(struct medium *image, unsigned flags)
{
    uint8_t table[512];

    if (medium_size(image) < VHDX_MIB)
        return;
    if (!(flags & SCENE_APART)) {
        medium_read(image, table, sizeof(table), VHDX_REGION_TABLE_AT(0));
        medium_write(image, table, sizeof(table), VHDX_REGION_TABLE_AT(1));
    }
    if (flags & SCENE_RAW)
        return;
    for (unsigned slot = 0; slot < 2; slot++) {
        mend_crc(image, VHDX_HEADER_AT(slot), VHDX_PAGE, "head");
        mend_crc(image, VHDX_REGION_TABLE_AT(slot), VHDX_TABLE_SIZE, "regi");
        mend_log(image, VHDX_HEADER_AT(slot), !(flags & SCENE_APART));
    }
}

void mend_image(struct medium *image, const char *format, unsigned flags)
{
    if (strcmp(format, "vhd") == 0)
        mend_vhd(image, flags);
    else
        mend_vhdx(image, flags);
}
