/* SPDX-License-Identifier: BSD-2-Clause */
/* The scenes: which images, and where in them it is worth to change something. */
#include <stddef.h>

#include "tests/fuzz/common/images.h"
#include "vhd/vhd.h"
#include "vhdx/bat.h"
#include "vhdx/log.h"

#define FOOTER_BYTES 85u /* up to the saved state */
#define NAME_BYTES 96u

/* ---- VHD ---- */

static void vhd_footers(struct scene *scene, unsigned file, bool both)
{
    scene_window(scene, file, SCENE_END | sizeof(struct vhd_footer), FOOTER_BYTES);
    if (both)
        scene_window(scene, file, 0, FOOTER_BYTES);
}

/* Header, BAT, and the bitmaps of the first two blocks. */
static void vhd_blocks(struct scene *scene, unsigned file)
{
    struct medium *base = scene->base[file];
    struct vhd_header h;
    struct be32 entry;

    medium_read(base, &h, sizeof(h), VHD_SECTOR);
    scene_window(scene, file, VHD_SECTOR, offsetof(struct vhd_header, parent_name));
    scene_window(scene, file, be64_get(h.table_offset), 80);
    for (unsigned i = 0; i < 2; i++) {
        medium_read(base, &entry, sizeof(entry), be64_get(h.table_offset) + 4 * i);
        if (be32_get(entry) != VHD_UNUSED)
            scene_window(scene, file, (uint64_t)be32_get(entry) * VHD_SECTOR, 16);
    }
}

static void vhd_parent(struct scene *scene, unsigned file)
{
    struct vhd_header h;

    medium_read(scene->base[file], &h, sizeof(h), VHD_SECTOR);
    scene_window(scene, file, VHD_SECTOR + offsetof(struct vhd_header, parent_name), NAME_BYTES);
    scene_window(scene, file, VHD_SECTOR + offsetof(struct vhd_header, locator), sizeof(h.locator));
    for (unsigned i = 0; i < VHD_LOCATORS; i++)
        if (be32_get(h.locator[i].length) > 0)
            scene_window(scene, file, be64_get(h.locator[i].offset), 64);
}

static struct scene *add_scene(const struct image_shape *shape, const char *name, const char *parent_name)
{
    struct scene *scene = scene_add(shape->format);

    scene->base[0] = image_make(shape);
    scene->name[0] = name;
    scene->files = 1;
    if (shape->parent) {
        scene->base[1] = shape->parent;
        scene->name[1] = parent_name;
        scene->files = 2;
    }
    return scene;
}

void images_add_vhd(void)
{
    struct image_shape small = {"vhd", DISK_DYNAMIC, (1 << 20) + 512, 64 << 10, 512, NULL, NULL};
    struct image_shape large = {"vhd", DISK_DYNAMIC, 9 << 20, 2 << 20, 512, NULL, NULL};
    struct image_shape fixed = {"vhd", DISK_FIXED, 256 << 10, 0, 512, NULL, NULL};
    struct image_shape child = {"vhd", DISK_DIFFERENCING, 1 << 20, 64 << 10, 512, NULL, "parent.vhd"};
    struct image_shape parent = {"vhd", DISK_DYNAMIC, 1 << 20, 64 << 10, 512, NULL, NULL};
    struct scene *scene;

    scene = add_scene(&small, "small.vhd", NULL);
    vhd_footers(scene, 0, true);
    vhd_blocks(scene, 0);
    scene = add_scene(&large, "large.vhd", NULL);
    vhd_footers(scene, 0, true);
    vhd_blocks(scene, 0);
    scene = add_scene(&fixed, "fixed.vhd", NULL);
    vhd_footers(scene, 0, true);
    child.parent = image_make(&parent);
    scene = add_scene(&child, "child.vhd", "parent.vhd");
    vhd_footers(scene, 0, true);
    vhd_blocks(scene, 0);
    vhd_parent(scene, 0);
}

/* ---- VHDX ---- */

static struct vhdx_regions regions_of(struct medium *memory, struct vhdx_metadata *metadata)
{
    struct vhdx_report report = {0};
    struct file *file = medium_open(memory, "base", false, NULL);
    struct vhdx_regions regions;
    struct vhdx_header h;
    unsigned slot;

    report.file = file;
    test_ok(vhdx_header_read(&report, file, &h, &slot));
    test_ok(vhdx_regions_read(&report, file, &h, &regions));
    if (metadata)
        test_ok(vhdx_metadata_read(&report, file, &regions.metadata, metadata));
    vhdx_regions_free(&regions); /* the list: the two that are asked for stay */
    file_close(file);
    return regions;
}

static void vhdx_headers(struct scene *scene, unsigned file)
{
    scene_window(scene, file, VHDX_HEADER_AT(0), offsetof(struct vhdx_header, reserved));
    scene_window(scene, file, VHDX_HEADER_AT(1), offsetof(struct vhdx_header, reserved));
}

/* regions: of the image, or of one like it whose metadata is not in the log. */
static void vhdx_tables(struct scene *scene, const struct vhdx_regions *regions)
{
    scene_window(scene, 0, VHDX_REGION_TABLE_AT(0), 16 + 3 * sizeof(struct vhdx_region_entry));
    scene_window(scene, 0, VHDX_REGION_TABLE_AT(1), 16 + 3 * sizeof(struct vhdx_region_entry));
    scene_window(scene, 0, regions->metadata.position, 32 + 7 * sizeof(struct vhdx_metadata_entry));
    scene_window(scene, 0, regions->metadata.position + VHDX_TABLE_SIZE, 64);
}

static void vhdx_blocks(struct scene *scene, const struct vhdx_regions *regions, const struct vhdx_metadata *metadata)
{
    struct vhdx_shape shape = vhdx_shape_of(metadata);
    uint64_t at = regions->bat.position + 8 * vhdx_shape_bitmap_index(&shape, 0);
    struct le64 entry;

    scene_window(scene, 0, regions->bat.position, 96);
    if (at + 8 > regions->bat.position + regions->bat.length)
        return;
    scene_window(scene, 0, at, 8);
    medium_read(scene->base[0], &entry, sizeof(entry), at);
    if (vhdx_entry_owns(le64_get(entry)))
        scene_window(scene, 0, le64_get(entry) & VHDX_ENTRY_POSITION, 32);
}

static void vhdx_all(struct scene *scene)
{
    struct vhdx_metadata metadata;
    struct vhdx_regions regions = regions_of(scene->base[0], &metadata);

    scene_window(scene, 0, 0, 16);
    vhdx_headers(scene, 0);
    vhdx_tables(scene, &regions);
    vhdx_blocks(scene, &regions, &metadata);
}

void images_add_vhdx(void)
{
    struct image_shape small = {"vhdx", DISK_DYNAMIC, (5 << 20) + 8192, 1 << 20, 512, NULL, NULL};
    struct image_shape large = {"vhdx", DISK_DYNAMIC, 9 << 20, 2 << 20, 4096, NULL, NULL};
    struct image_shape fixed = {"vhdx", DISK_FIXED, 3 << 20, 1 << 20, 512, NULL, NULL};
    struct image_shape child = {"vhdx", DISK_DIFFERENCING, 4 << 20, 1 << 20, 512, NULL, "parent.vhdx"};
    struct image_shape parent = {"vhdx", DISK_DYNAMIC, 4 << 20, 1 << 20, 512, NULL, NULL};

    vhdx_all(add_scene(&small, "small.vhdx", NULL));
    vhdx_all(add_scene(&large, "large.vhdx", NULL));
    vhdx_all(add_scene(&fixed, "fixed.vhdx", NULL));
    child.parent = image_make(&parent);
    vhdx_all(add_scene(&child, "child.vhdx", "parent.vhdx"));
}

/* ---- Logs ---- */

/* An entry's sectors: what marks them, and what they hold for the BAT and for the metadata items. */
static void log_sectors(struct scene *scene, uint64_t log, uint64_t length, uint64_t offset, unsigned count)
{
    scene_window(scene, 0, log + offset, sizeof(struct vhdx_log_header) + 3 * sizeof(struct vhdx_log_descriptor));
    for (unsigned i = 1; i <= count; i++) {
        uint64_t sector = log + (offset + i * VHDX_PAGE) % length;

        scene_window(scene, 0, sector, 72);
        scene_window(scene, 0, sector + VHDX_PAGE - 4, 4);
    }
}

void images_add_logs(void)
{
    static const char *const names[] = {"one.vhdx", "wraps.vhdx", "two.vhdx"};

    for (unsigned kind = IMAGE_LOG_ONE; kind <= IMAGE_LOG_TWO; kind++) {
        struct scene *scene = scene_add("vhdx");
        struct medium *base = image_make_logged((enum image_log)kind);
        struct vhdx_regions regions = regions_of(base, NULL);
        struct vhdx_header h;
        uint64_t log, length;

        scene->base[0] = base;
        scene->name[0] = names[kind];
        scene->files = 1;
        medium_read(base, &h, sizeof(h), VHDX_HEADER_AT(0));
        log = le64_get(h.log_offset);
        length = le32_get(h.log_length);
        vhdx_headers(scene, 0);
        if (kind == IMAGE_LOG_TWO) {
            log_sectors(scene, log, length, 8192, 1);
            log_sectors(scene, log, length, 16384, 1);
        } else {
            log_sectors(scene, log, length, kind == IMAGE_LOG_WRAPS ? length - VHDX_PAGE : 0, 2);
        }
        scene_window(scene, 0, regions.metadata.position, 32 + 6 * sizeof(struct vhdx_metadata_entry));
        scene_window(scene, 0, log + 64 * VHDX_PAGE, 96); /* nothing stands there: room for one more */
    }
}

/* ---- Locators and chains ---- */

static void vhdx_parent(struct scene *scene, unsigned file)
{
    struct vhdx_metadata metadata;
    struct vhdx_regions regions = regions_of(scene->base[file], &metadata);

    scene_window(scene, file, regions.metadata.position, 32 + 7 * sizeof(struct vhdx_metadata_entry));
    scene_window(scene, file, regions.metadata.position + VHDX_TABLE_SIZE, 8);
    scene_window(scene, file, metadata.locator_position, metadata.locator_length);
}

void images_add_locators(void)
{
    struct image_shape child = {"vhd", DISK_DIFFERENCING, 1 << 20, 64 << 10, 512, NULL, "parent.vhd"};
    struct image_shape parent = {"vhd", DISK_DYNAMIC, 1 << 20, 64 << 10, 512, NULL, NULL};
    struct scene *scene;

    child.parent = image_make(&parent);
    scene = add_scene(&child, "child.vhd", "parent.vhd");
    scene_window(scene, 0, VHD_SECTOR + offsetof(struct vhd_header, parent_id), 24);
    vhd_parent(scene, 0);
    child = (struct image_shape){"vhdx", DISK_DIFFERENCING, 4 << 20, 1 << 20, 512, NULL, "parent.vhdx"};
    parent = (struct image_shape){"vhdx", DISK_DYNAMIC, 4 << 20, 1 << 20, 512, NULL, NULL};
    child.parent = image_make(&parent);
    scene = add_scene(&child, "child.vhdx", "parent.vhdx");
    vhdx_parent(scene, 0);
}

static void add_chain(const char *format, uint32_t block_size, uint64_t size, const char *const names[3])
{
    struct image_shape shape = {format, DISK_DYNAMIC, size, block_size, 512, NULL, NULL};
    struct scene *scene = scene_add(format);

    scene->files = 3;
    for (unsigned i = 3; i-- > 0;) {
        scene->name[i] = names[i];
        scene->base[i] = image_make(&shape);
        shape.type = DISK_DIFFERENCING;
        shape.parent = scene->base[i];
        shape.parent_name = names[i];
    }
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(format, "vhdx") == 0)
            vhdx_headers(scene, i);
        else
            vhd_footers(scene, i, false);
        if (i == 2)
            continue;
        if (strcmp(format, "vhdx") == 0) {
            vhdx_parent(scene, i);
        } else {
            vhd_blocks(scene, i);
            vhd_parent(scene, i);
        }
    }
}

void images_add_chains(void)
{
    static const char *const vhd[] = {"c.vhd", "b.vhd", "a.vhd"}, *const vhdx[] = {"c.vhdx", "b.vhdx", "a.vhdx"};

    add_chain("vhd", 64 << 10, 512 << 10, vhd);
    add_chain("vhdx", 1 << 20, 3 << 20, vhdx);
}
