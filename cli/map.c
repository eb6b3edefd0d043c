/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk map: where each range of the disk lives. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/export.h"
#include "cli/json.h"

#define ROW "%14s %14s  %-5s  %-17s  %5s  %14s  "

static struct {
    bool json, alone, holes;
    const char *picture;
} given;

static const struct cli_option options[] = {
    {"json", CLI_FLAG, NULL, &given.json, "print one JSON array"},
    {"alone", CLI_FLAG, NULL, &given.alone, "this file only: what a parent answers is \"below\""},
    {"holes", CLI_FLAG, NULL, &given.holes, "data that lies in a hole of the file is zero"},
    {"picture", CLI_TEXT, "PATH", &given.picture, "draw it: an SVG to PATH, or with - on the terminal"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static const char *const kinds[] = {
    [VDISK_EXTENT_DATA] = "data",
    [VDISK_EXTENT_ZERO] = "zero",
    [VDISK_EXTENT_BELOW] = "below",
};

static int extent_json(const struct vdisk_extent *extent, struct cli_json_array *array)
{
    json_t *object = json_pack("{s:I, s:I, s:s, s:s}", "offset", (json_int_t)extent->offset, "length",
                               (json_int_t)extent->length, "kind", kinds[extent->kind], "state", extent->state);

    if (extent->kind != VDISK_EXTENT_BELOW) {
        json_object_set_new(object, "depth", json_integer(extent->depth));
        json_object_set_new(object, "file", cli_json_text(vdisk_path(extent->owner)));
    }
    if (extent->kind == VDISK_EXTENT_DATA)
        json_object_set_new(object, "position", json_integer((json_int_t)extent->position));
    return cli_json_array_put(array, object);
}

static void extent_text(const struct vdisk_extent *extent)
{
    char offset[32], length[32], position[32] = "-", depth[16] = "-";

    snprintf(offset, sizeof(offset), "0x%" PRIx64, extent->offset);
    snprintf(length, sizeof(length), "0x%" PRIx64, extent->length);
    if (extent->kind == VDISK_EXTENT_DATA)
        snprintf(position, sizeof(position), "0x%" PRIx64, extent->position);
    if (extent->kind != VDISK_EXTENT_BELOW)
        snprintf(depth, sizeof(depth), "%u", extent->depth);
    printf(ROW, offset, length, kinds[extent->kind], extent->state, depth, position);
    cli_put_text(stdout, extent->kind != VDISK_EXTENT_BELOW ? vdisk_path(extent->owner) : "-");
    putchar('\n');
}

static int extent_print(const struct vdisk_extent *extent, struct cli_json_array *array)
{
    if (extent->length == 0)
        return 0;
    if (given.json)
        return extent_json(extent, array);
    extent_text(extent);
    return 0;
}

static bool continues(const struct vdisk_extent *a, const struct vdisk_extent *b)
{
    return a->length > 0 && a->kind == b->kind && a->owner == b->owner && strcmp(a->state, b->state) == 0 &&
           (a->kind != VDISK_EXTENT_DATA || a->position + a->length == b->position);
}

static unsigned map_flags(void)
{
    return (given.alone ? VDISK_MAP_ALONE : 0) | (given.holes ? VDISK_MAP_HOLES : 0);
}

static int map(struct vdisk *disk, struct cli_json_array *array)
{
    struct vdisk_extent extent, whole = {.length = 0};
    uint64_t size = vdisk_size(disk);
    int err = 0;

    for (uint64_t at = 0; at < size && err == 0; at += extent.length) {
        if (cli_cancel)
            return -ECANCELED;
        err = vdisk_map(disk, at, size - at, map_flags(), &extent);
        if (err < 0)
            return err;
        if (continues(&whole, &extent)) {
            whole.length += extent.length;
            continue;
        }
        err = extent_print(&whole, array);
        whole = extent;
    }
    return err < 0 ? err : extent_print(&whole, array);
}

static int map_print(struct vdisk *disk)
{
    struct cli_json_array array = {0};
    int err;

    if (!given.json)
        printf(ROW "%s\n", "OFFSET", "LENGTH", "KIND", "STATE", "DEPTH", "POSITION", "FILE");
    err = map(disk, &array);
    if (given.json) {
        cli_json_array_end(&array);
        putchar('\n');
    }
    return err;
}

static int run(struct cli *cli, char **operand)
{
    struct vdisk *disk;
    int err;

    if (given.json && given.picture)
        return cli_fail(cli, "--json or --picture, not both");
    err = cli_open(cli, operand[0], given.alone ? VDISK_OPEN_ALONE : 0, &disk);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    err = given.picture ? cli_picture(cli, disk, map_flags(), given.picture) : map_print(disk);
    vdisk_close(disk);
    return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
}

const struct cli_command cli_map = {
    .name = "map",
    .summary = "show where each range of a disk lives",
    .operands = "FILE",
    .description =
        "Print the extents of a disk: offset and length in the disk, whether it is data or zero, the format's\n"
        "word for its state, the depth in the chain (0 is FILE), and where it stands in which file.",
    .examples = "vdisk map disk.vhdx\n"
                "vdisk map child.vhdx --alone\n"
                "vdisk map child.vhdx --picture child.svg\n"
                "vdisk map disk.vhdx --json | jq 'map(select(.kind == \"data\").length) | add'",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
