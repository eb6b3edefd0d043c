/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A new file, laid out as Windows does it: header section, log, metadata, BAT, then the blocks.
 *
 * Block sizes, where none is asked for, are Windows's: 32 MiB for a dynamic disk; 2 MiB for a fixed one, where it
 * matters only for the rounding of the file's size; 2 MiB for a differencing one whatever its parent has, since a child
 * takes scattered writes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vhdx.h"

#define CREATOR "libvdisk " VDISK_VERSION
#define LOG_AT VHDX_MIB
#define LOG_LENGTH VHDX_MIB
#define METADATA_AT (2 * VHDX_MIB)
#define METADATA_LENGTH VHDX_MIB
#define BAT_AT (3 * VHDX_MIB)
#define BAT_PIECE 65536u

static uint64_t round_up(uint64_t value)
{
    return (value + VHDX_MIB - 1) & ~(VHDX_MIB - 1);
}

static int check_geometry(struct file *file, const struct disk_geometry *g, struct vhdx_metadata *m)
{
    uint32_t usual = g->type == DISK_DYNAMIC ? (uint32_t)(32 * VHDX_MIB) : (uint32_t)(2 * VHDX_MIB);

    *m = (struct vhdx_metadata){.size = g->size,
                                .block_size = g->block_size ? g->block_size : usual,
                                .logical_sector = g->sector_size,
                                .physical_sector = g->physical_sector_size,
                                .leave_blocks_allocated = g->type == DISK_FIXED,
                                .has_parent = g->type == DISK_DIFFERENCING,
                                .disk_id = vhdx_guid_random()};
    if (g->parent) /* items of the virtual disk go with it. [MS-VHDX] 2.6.1.2 */
        m->disk_id = vhdx_of(g->parent)->metadata.disk_id;
    if (g->azure)
        return file_error(file, "vhdx", -EINVAL, "Azure takes fixed VHD files only");
    if (m->size > VHDX_SIZE_MAX)
        return file_error(file, "vhdx", -EINVAL, "a size of %" PRIu64 " bytes is more than a VHDX can have, 64 TiB",
                          m->size);
    if (m->block_size < VHDX_MIB || m->block_size > 256 * VHDX_MIB || m->block_size & (m->block_size - 1))
        return file_error(file, "vhdx", -EINVAL, "the block size %u is not a power of two from 1 MiB to 256 MiB",
                          m->block_size);
    return 0;
}

static int write_identifier(struct file *file)
{
    static const char creator[] = CREATOR;
    struct vhdx_identifier identifier = {.signature = {'v', 'h', 'd', 'x', 'f', 'i', 'l', 'e'}};

    for (size_t i = 0; i + 1 < sizeof(creator); i++)
        identifier.creator[i] = le16_of((uint8_t)creator[i]);
    return file_write(file, &identifier, sizeof(identifier), 0);
}

static int write_headers(struct file *file)
{
    struct vhdx_header header = {.signature = {'h', 'e', 'a', 'd'},
                                 .file_write_guid = vhdx_guid_random(),
                                 .data_write_guid = vhdx_guid_random(),
                                 .version = le16_of(1),
                                 .log_length = le32_of((uint32_t)LOG_LENGTH),
                                 .log_offset = le64_of(LOG_AT)};
    unsigned slot = 1;

    return vhdx_header_write(file, &header, &slot);
}

static int write_regions(struct file *file, uint64_t bat_length)
{
    struct {
        struct vhdx_region_header header;
        struct vhdx_region_entry entry[2];
        uint8_t rest[VHDX_TABLE_SIZE - sizeof(struct vhdx_region_header) - 2 * sizeof(struct vhdx_region_entry)];
    } *table = calloc(1, sizeof(*table));
    int err;

    if (!table)
        return -ENOMEM;
    memcpy(table->header.signature, "regi", 4);
    table->header.entry_count = le32_of(2);
    table->entry[0] =
        (struct vhdx_region_entry){vhdx_guid_bat, le64_of(BAT_AT), le32_of((uint32_t)bat_length), le32_of(1)};
    table->entry[1] = (struct vhdx_region_entry){vhdx_guid_metadata, le64_of(METADATA_AT),
                                                 le32_of((uint32_t)METADATA_LENGTH), le32_of(1)};
    table->header.checksum = le32_of(vhdx_checksum(table, sizeof(*table)));
    err = file_write(file, table, sizeof(*table), VHDX_REGION_TABLE_AT(0));
    if (!err)
        err = file_write(file, table, sizeof(*table), VHDX_REGION_TABLE_AT(1));
    free(table);
    return err;
}

/* Adds an item behind those there are. */
static int add_item(struct file *file, struct vhdx_metadata_header *header, uint32_t *end, const struct vhdx_guid *guid,
                    uint32_t flags, const void *bytes, size_t length)
{
    struct vhdx_metadata_entry *entry = (struct vhdx_metadata_entry *)(header + 1) + le16_get(header->entry_count);

    *entry = (struct vhdx_metadata_entry){
        .item = *guid, .offset = le32_of(*end), .length = le32_of((uint32_t)length), .flags = le32_of(flags)};
    header->entry_count = le16_of((uint16_t)(le16_get(header->entry_count) + 1));
    *end += (uint32_t)length;
    return file_write(file, bytes, length, METADATA_AT + *end - length);
}

static int write_metadata(struct file *file, const struct vhdx_metadata *m, const uint8_t *locator,
                          size_t locator_length)
{
    const uint32_t file_item = VHDX_ITEM_REQUIRED, disk_item = VHDX_ITEM_REQUIRED | VHDX_ITEM_VIRTUAL_DISK;
    struct le32 parameters[2] = {
        le32_of(m->block_size),
        le32_of((m->leave_blocks_allocated ? VHDX_LEAVE_BLOCKS_ALLOCATED : 0) | (m->has_parent ? VHDX_HAS_PARENT : 0))};
    struct le32 logical = le32_of(m->logical_sector), physical = le32_of(m->physical_sector);
    struct le64 size = le64_of(m->size);
    struct vhdx_metadata_header *table = calloc(1, VHDX_TABLE_SIZE);
    uint32_t end = VHDX_TABLE_SIZE;
    int err;

    if (!table)
        return -ENOMEM;
    memcpy(table->signature, "metadata", 8);
    err = add_item(file, table, &end, &vhdx_item_file_parameters, file_item, parameters, sizeof(parameters));
    if (!err)
        err = add_item(file, table, &end, &vhdx_item_size, disk_item, &size, sizeof(size));
    if (!err)
        err = add_item(file, table, &end, &vhdx_item_logical_sector, disk_item, &logical, sizeof(logical));
    if (!err)
        err = add_item(file, table, &end, &vhdx_item_physical_sector, disk_item, &physical, sizeof(physical));
    if (!err)
        err = add_item(file, table, &end, &vhdx_item_disk_id, disk_item, &m->disk_id, sizeof(m->disk_id));
    if (!err && locator)
        err = add_item(file, table, &end, &vhdx_item_locator, file_item, locator, locator_length);
    if (!err)
        err = file_write(file, table, VHDX_TABLE_SIZE, METADATA_AT);
    free(table);
    return err;
}

/* A fixed disk: all blocks, one behind the other. */
static int write_blocks(struct file *file, const struct vhdx_shape *shape, uint64_t first)
{
    struct le64 *piece = malloc(BAT_PIECE);
    uint64_t per_piece = BAT_PIECE / sizeof(*piece);
    int err = piece ? 0 : -ENOMEM;

    for (uint64_t index = 0; index < shape->entries && !err; index += per_piece) {
        for (uint64_t i = 0; i < per_piece; i++) {
            uint64_t block = vhdx_shape_block(shape, index + i);
            bool none = index + i >= shape->entries || vhdx_shape_is_bitmap(shape, index + i);

            piece[i] = le64_of(none ? VHDX_NOT_PRESENT : (first + (block << shape->block_shift)) | VHDX_FULLY_PRESENT);
        }
        err = file_write(file, piece, BAT_PIECE, BAT_AT + index * sizeof(*piece));
    }
    free(piece);
    return err ? err : file_allocate(file, first, shape->blocks << shape->block_shift);
}

static int make_locator(struct file *file, const struct disk_geometry *g, uint8_t **locator, size_t *length)
{
    struct vhdx_locator values;
    struct vhdx_header parent;
    int err;

    *locator = NULL;
    *length = 0;
    if (!g->parent)
        return 0;
    vhdx_header_copy(vhdx_of(g->parent), &parent); /* of a snapshot it is in use still */
    err = vhdx_locator_make(&parent.data_write_guid, g->parent_relative, g->parent_absolute, &values);
    if (!err)
        err = vhdx_locator_write(&values, locator, length);
    vhdx_locator_free(&values);
    if (err == -EILSEQ)
        return file_error(file, "vhdx", err, "the parent's path is not UTF-8 and cannot be recorded");
    if (!err && *length > METADATA_LENGTH - VHDX_TABLE_SIZE - 64) {
        free(*locator);
        err = -ENAMETOOLONG;
    }
    return err ? file_error(file, "vhdx", err, "cannot record the parent's path: %s", strerror(-err)) : 0;
}

int vhdx_create(struct file *file, const struct disk_geometry *geometry)
{
    struct vhdx_metadata metadata;
    struct vhdx_shape shape;
    uint64_t bat_length;
    uint8_t *locator;
    size_t locator_length;
    int err;

    err = check_geometry(file, geometry, &metadata);
    if (!err)
        err = make_locator(file, geometry, &locator, &locator_length);
    if (err)
        return err;
    shape = vhdx_shape_of(&metadata);
    bat_length = round_up(shape.entries * sizeof(uint64_t));
    err = file_resize(file, BAT_AT + bat_length);
    if (!err)
        err = write_identifier(file);
    if (!err)
        err = write_regions(file, bat_length);
    if (!err)
        err = write_metadata(file, &metadata, locator, locator_length);
    if (!err && geometry->type == DISK_FIXED)
        err = write_blocks(file, &shape, BAT_AT + bat_length);
    if (!err)
        err = write_headers(file); /* last, and durable with all before it */
    free(locator);
    return err ? file_error(file, "vhdx", err, "cannot be written: %s", strerror(-err)) : 0;
}
