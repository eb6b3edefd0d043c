/* SPDX-License-Identifier: BSD-2-Clause */
/* See images.h. */
#include "tests/fuzz/common/images.h"

#include <uuid/uuid.h>

#include "disk/chain.h"
#include "vhdx/log.h"

/* Identities are the same in every run, so that an input means the same: the link replaces libuuid's. */
void __wrap_uuid_generate(uuid_t out);
void __wrap_uuid_generate_random(uuid_t out);

void __wrap_uuid_generate_random(uuid_t out)
{
    static _Atomic unsigned char count;

    memset(out, 0xa5, 16);
    out[0] = ++count;
}

void __wrap_uuid_generate(uuid_t out)
{
    __wrap_uuid_generate_random(out);
}

static void print(void *arg, enum vdisk_level level, const char *text)
{
    (void)arg;
    if (level == VDISK_ERROR)
        fprintf(stderr, "%s\n", text);
}

static struct vdisk *open_base(const char *format, const char *name, unsigned flags)
{
    struct vdisk_open_options options = {.flags = flags, .format = format, .log = {print, NULL}};
    struct vdisk *disk;

    test_ok(vdisk_open(name, &options, &disk));
    return disk;
}

static void create(struct medium *memory, const struct image_shape *shape)
{
    struct disk_geometry g = {.type = shape->type,
                              .size = shape->size,
                              .block_size = shape->block_size,
                              .sector_size = shape->sector_size,
                              .physical_sector_size = 4096};
    struct vdisk_log log = {print, NULL};
    const struct disk_format *format = chain_format_named(shape->format, &log);
    struct file *file = medium_open(memory, "base", true, &log);
    char relative[64], absolute[64];

    if (shape->parent) {
        snprintf(relative, sizeof(relative), "./%s", shape->parent_name);
        snprintf(absolute, sizeof(absolute), "/%s", shape->parent_name);
        g.parent_relative = relative;
        g.parent_absolute = absolute;
        medium_name(1, shape->parent_name, shape->parent);
        g.parent = open_base(shape->format, shape->parent_name, VDISK_OPEN_ALONE);
    }
    test_ok(format->create(file, &g));
    file_close(file);
    test_ok(vdisk_close(g.parent));
}

static void fill(struct vdisk *disk, bool last)
{
    static uint8_t bytes[16384] __attribute__((aligned(4096)));
    uint64_t size = vdisk_size(disk), block = vdisk_block_size(disk) ? vdisk_block_size(disk) : 65536;
    struct vdisk_ring *ring;

    test_ok(vdisk_ring_open(0, VDISK_BACKEND_THREADS, &ring));
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 512 + 1);
    test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, bytes, 0, 8192));
    test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, bytes, block - 8192, 16384));
    if (last)
        test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, bytes, size - 8192, 8192));
    vdisk_ring_close(ring);
}

struct medium *image_make(const struct image_shape *shape)
{
    struct medium *memory = medium_new();
    struct vdisk *disk;

    create(memory, shape);
    medium_name(0, "base", memory);
    disk = open_base(shape->format, "base", VDISK_OPEN_WRITE | VDISK_OPEN_ALONE);
    fill(disk, !shape->parent);
    test_ok(vdisk_close(disk));
    medium_name(0, NULL, NULL);
    medium_name(1, NULL, NULL);
    return memory;
}

/* ---- Logs ---- */

struct log {
    struct medium *memory;
    uint64_t position, length;
};

static void log_data(const struct log *log, uint8_t *entry, unsigned index, uint64_t page_at)
{
    static const uint8_t zeros[VHDX_PAGE];
    struct vhdx_log_descriptor *d = (struct vhdx_log_descriptor *)(entry + sizeof(struct vhdx_log_header)) + index;
    uint8_t *data = entry + (1 + index) * VHDX_PAGE;

    medium_read(log->memory, data, VHDX_PAGE, page_at);
    medium_write(log->memory, zeros, VHDX_PAGE, page_at);
    memcpy(d->signature, "desc", 4);
    memcpy(d->leading, data, 8);
    memcpy(d->trailing, data + VHDX_PAGE - 4, 4);
    d->file_offset = le64_of(page_at);
    memcpy(data, "data", 4);
}

/* An entry that takes pages out of the file. Its numbers and checksum are mended later. */
static void log_entry(const struct log *log, uint64_t offset, uint64_t tail, uint64_t sequence, const uint64_t *pages,
                      unsigned count)
{
    static uint8_t entry[4 * VHDX_PAGE];
    struct vhdx_log_header *h = (struct vhdx_log_header *)entry;

    test_true((1 + count) * VHDX_PAGE <= sizeof(entry));
    memset(entry, 0, sizeof(entry));
    *h = (struct vhdx_log_header){.signature = {'l', 'o', 'g', 'e'},
                                  .entry_length = le32_of((1 + count) * VHDX_PAGE),
                                  .tail = le32_of((uint32_t)tail),
                                  .sequence = le64_of(sequence),
                                  .descriptor_count = le32_of(count),
                                  .log_guid = {{'l', 'o', 'g'}},
                                  .flushed_file_offset = le64_of(medium_size(log->memory)),
                                  .last_file_offset = le64_of(medium_size(log->memory))};
    for (unsigned i = 0; i < count; i++)
        log_data(log, entry, i, pages[i]);
    for (uint64_t at = 0; at < (1 + count) * VHDX_PAGE; at += VHDX_PAGE)
        medium_write(log->memory, entry + at, VHDX_PAGE, log->position + (offset + at) % log->length);
}

struct medium *image_make_logged(enum image_log kind)
{
    struct image_shape shape = {"vhdx", DISK_DYNAMIC, 6 << 20, 1 << 20, 512, NULL, NULL};
    struct medium *memory = image_make(&shape);
    struct vhdx_report report = {0};
    struct file *file = medium_open(memory, "base", false, NULL);
    struct log log = {.memory = memory};
    struct vhdx_regions regions;
    struct vhdx_header h;
    uint64_t pages[2];
    unsigned slot;

    report.file = file;
    test_ok(vhdx_header_read(&report, file, &h, &slot));
    test_ok(vhdx_regions_read(&report, file, &h, &regions));
    log.position = le64_get(h.log_offset);
    log.length = le32_get(h.log_length);
    pages[0] = regions.bat.position;
    pages[1] = regions.metadata.position + VHDX_TABLE_SIZE;
    vhdx_regions_free(&regions);
    file_close(file);
    if (kind == IMAGE_LOG_TWO) {
        log_entry(&log, 8192, 8192, 70, pages, 1);
        log_entry(&log, 16384, 8192, 71, pages + 1, 1);
    } else {
        uint64_t offset = kind == IMAGE_LOG_WRAPS ? log.length - VHDX_PAGE : 0;

        log_entry(&log, offset, offset, 70, pages, 2);
    }
    for (slot = 0; slot < 2; slot++)
        medium_write(memory, "log", 3, VHDX_HEADER_AT(slot) + offsetof(struct vhdx_header, log_guid));
    mend_image(memory, "vhdx", 0);
    return memory;
}
