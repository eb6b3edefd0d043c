/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * New images, laid out as Windows does it: footer copy, header, BAT, parent locators, and the footer in the last sector
 * before a multiple of 4 KiB, so that the data of the first block begins at one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd.h"

#define BAT_AT (VHD_SECTOR + sizeof(struct vhd_header))
#define AZURE_UNIT (UINT64_C(1) << 20)

static int refuse(struct file *file, const char *text, unsigned long long value)
{
    return file_error(file, "vhd", -EINVAL, "cannot be created: %s (%llu)", text, value);
}

static int check_geometry(struct file *file, const struct disk_geometry *g, uint32_t block)
{
    if (g->size > VHD_SIZE_MAX)
        return refuse(file, "VHD holds at most 2040 GiB", g->size);
    if (g->size == 0 || g->size % VHD_SECTOR)
        return refuse(file, "the size is not a positive multiple of 512", g->size);
    if (g->sector_size != VHD_SECTOR)
        return refuse(file, "VHD has sectors of 512 bytes", g->sector_size);
    if (g->azure && (g->type != DISK_FIXED || g->size % AZURE_UNIT))
        return refuse(file, "Azure takes a fixed disk of whole MiB", g->size);
    if (g->type == DISK_FIXED)
        return 0;
    if (block < VHD_BLOCK_MIN || block > VHD_BLOCK_MAX || (block & (block - 1)))
        return refuse(file, "the block size is not a power of two from 4 KiB to 256 MiB", block);
    if ((g->size + block - 1) / block > VHD_ENTRIES_MAX)
        return refuse(file, "too many blocks for the BAT, take a larger block size", (g->size + block - 1) / block);
    if (g->type == DISK_DIFFERENCING && g->parent->format != &vhd_format)
        return refuse(file, "the parent of a differencing VHD is a VHD", 0);
    return 0;
}

static int create_fixed(struct file *file, uint64_t size)
{
    struct vhd_footer footer;
    int err = file_allocate(file, 0, size);

    vhd_footer_new(&footer, VHD_FIXED, size);
    if (!err)
        err = file_write(file, &footer, sizeof(footer), size);
    return err;
}

/* Stores a path for Windows at position and describes it; *position moves behind it. */
int vhd_locator_write(struct file *file, struct vhd_locator *locator, const char *code, const char *path,
                      uint64_t *position)
{
    size_t bytes, space;
    char *windows = strdup(path), *text = NULL;
    int err = -ENOMEM;

    if (!windows)
        return -ENOMEM;
    for (char *c = windows; *c; c++)
        if (*c == '/')
            *c = '\\';
    text = vhd_utf16_of(windows, "UTF-16LE", &bytes);
    if (!text) {
        err = -EILSEQ;
        goto free_windows;
    }
    if (bytes > VHD_LOCATOR_MAX) {
        err = -ENAMETOOLONG;
        goto free_text;
    }
    space = vhd_align(bytes, VHD_SECTOR);
    err = file_write(file, text, bytes, *position);
    memcpy(locator->code, code, sizeof(locator->code));
    locator->space = be32_of((uint32_t)space);
    locator->length = be32_of((uint32_t)bytes);
    locator->offset = be64_of(*position);
    *position += space;

free_text:
    free(text);
free_windows:
    free(windows);
    return err;
}

/* Identity, name and paths of the parent. -EILSEQ: a path is not UTF-8. */
int vhd_parent_write(struct file *file, struct vhd_header *h, const struct disk_link *link, uint64_t *position)
{
    const char *path = link->relative ? link->relative : link->parent->file->path, *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t bytes;
    char *name = vhd_utf16_of(base, "UTF-16BE", &bytes);
    int err = !name ? -EILSEQ : bytes >= sizeof(h->parent_name) ? -ENAMETOOLONG : 0;

    if (!err)
        memcpy(h->parent_name, name, bytes);
    free(name);
    memcpy(h->parent_id, vhd_of(link->parent)->footer.id, sizeof(h->parent_id));
    if (!err && link->absolute)
        err = vhd_locator_write(file, &h->locator[0], "W2ku", link->absolute, position);
    if (!err && link->relative)
        err = vhd_locator_write(file, &h->locator[1], "W2ru", link->relative, position);
    return err;
}

/* All entries unused. */
static int write_bat(struct file *file, uint64_t length)
{
    static const size_t part = 65536;
    uint64_t position = BAT_AT;
    void *unused = malloc(part);
    int err = 0;

    if (!unused)
        return -ENOMEM;
    memset(unused, 0xFF, part);
    while (length > 0 && !err) {
        size_t now = length < part ? (size_t)length : part;

        err = file_write(file, unused, now, position);
        position += now;
        length -= now;
    }
    free(unused);
    return err;
}

static int create_blocks(struct file *file, const struct disk_geometry *g, uint32_t block)
{
    uint32_t entries = (uint32_t)((g->size + block - 1) / block);
    uint64_t bat_bytes = vhd_align(4ull * entries, VHD_SECTOR), end = BAT_AT + bat_bytes;
    struct vhd_header header = {
        .data_offset = be64_of(VHD_NOWHERE),
        .table_offset = be64_of(BAT_AT),
        .version = be32_of(VHD_VERSION),
        .max_entries = be32_of(entries),
        .block_size = be32_of(block),
    };
    struct disk_link link = {.parent = g->parent, .relative = g->parent_relative, .absolute = g->parent_absolute};
    struct vhd_footer footer;
    int err = g->type == DISK_DIFFERENCING ? vhd_parent_write(file, &header, &link, &end) : 0;

    if (err)
        return err;
    vhd_footer_new(&footer, g->type == DISK_DYNAMIC ? VHD_DYNAMIC : VHD_DIFFERENCING, g->size);
    memcpy(header.cookie, VHD_HEADER_COOKIE, sizeof(header.cookie));
    header.checksum = be32_of(vhd_checksum(&header, sizeof(header), offsetof(struct vhd_header, checksum)));
    end = vhd_align(end + VHD_SECTOR, VHD_ALIGN);
    err = write_bat(file, bat_bytes);
    if (!err)
        err = file_write(file, &header, sizeof(header), VHD_SECTOR);
    if (!err)
        err = file_write(file, &footer, sizeof(footer), end - VHD_SECTOR);
    if (!err)
        err = file_write(file, &footer, sizeof(footer), 0);
    return err;
}

int vhd_create(struct file *file, const struct disk_geometry *g)
{
    uint32_t block = g->block_size ? g->block_size : VHD_BLOCK_DEFAULT;
    int err = check_geometry(file, g, block);

    if (err)
        return err;
    err = g->type == DISK_FIXED ? create_fixed(file, g->size) : create_blocks(file, g, block);
    if (err == -EILSEQ)
        return file_error(file, "vhd", err, "cannot be created: the parent's path is not UTF-8");
    return err ? file_error(file, "vhd", err, "cannot be created: %s", strerror(-err)) : 0;
}
