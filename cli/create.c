/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk create: a new image, empty, on a parent, or with the content of another. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

static struct {
    uint64_t size, block_size, sector_size, physical_sector_size;
    const char *format, *type, *from;
    bool hydrate, azure, force;
} given = {.size = CLI_NONE, .block_size = 0};

static const struct cli_option options[] = {
    {"size", CLI_SIZE, "SIZE", &given.size,
     "of the disk: bytes, or with K, M, G, T (1.5T is exact);\n"
     "may be omitted with --parent or --from"},
    {"format", CLI_TEXT, "FORMAT", &given.format,
     "vhd, vhdx or raw; otherwise by the suffix of FILE\n"
     "(.vhd .avhd .vhdx .avhdx .raw .img)"},
    {"type", CLI_TEXT, "TYPE", &given.type,
     "fixed, dynamic or differencing; otherwise dynamic,\n"
     "or differencing where a parent is given"},
    {"block-size", CLI_SIZE, "SIZE", &given.block_size, "unit of allocation of a dynamic disk"},
    {"sector-size", CLI_SIZE, "SIZE", &given.sector_size, "logical sector: 512 or 4096 (VHDX)"},
    {"physical-sector-size", CLI_SIZE, "SIZE", &given.physical_sector_size,
     "what the guest is told: 512 or 4096 (VHDX)"},
    {"from", CLI_TEXT, "FILE", &given.from, "copy the content of this raw file or image"},
    {"hydrate", CLI_FLAG, NULL, &given.hydrate, "leave no holes in the file (Windows refuses sparse files)"},
    {"azure", CLI_FLAG, NULL, &given.azure, "a fixed VHD with its size rounded up to 1 MiB"},
    {"force", CLI_FLAG, NULL, &given.force, "replace an existing FILE"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static int create_target(struct cli *cli, const char *path, struct vdisk *from, struct vdisk **disk)
{
    struct vdisk_open_options parent_options;
    struct vdisk_create_options create = {
        .flags = (given.force ? VDISK_CREATE_OVERWRITE : 0) | (given.azure ? VDISK_CREATE_AZURE : 0),
        .format = given.format || !given.azure ? given.format : "vhd",
        .type = given.type || !given.azure ? given.type : "fixed",
        .size = given.size == CLI_NONE ? 0 : given.size,
        .block_size = (uint32_t)given.block_size,
        .sector_size = (uint32_t)given.sector_size,
        .physical_sector_size = (uint32_t)given.physical_sector_size,
        .log = cli->log,
    };

    if (!from && cli->parent_count > 0) {
        cli_open_options(cli, 0, &parent_options);
        parent_options.format = NULL;
        create.parent = cli->parents[0];
        create.parent_format = cli->input_format;
        create.parent_options = &parent_options;
    }
    if (from && given.size == CLI_NONE) {
        uint64_t sector = given.sector_size ? given.sector_size : 512;
        create.size = (vdisk_size(from) + sector - 1) / sector * sector;
    }
    return vdisk_create(path, &create, disk);
}

/* What the options say against each other, before anything is made. */
static int options_refuse(struct cli *cli)
{
    bool differencing = given.type && strcmp(given.type, "differencing") == 0;

    if (given.from && (differencing || cli->parent_count > 0))
        return cli_fail(cli, "--from makes a disk without a parent (vdisk convert --type differencing keeps one)");
    if (differencing && cli->parent_count == 0)
        return cli_fail(cli, "a differencing disk needs --parent");
    if (given.size == CLI_NONE && !given.from && cli->parent_count == 0)
        return cli_fail(cli, "--size is needed");
    if (given.size == 0)
        return cli_fail(cli, "--size 0: a disk has at least one sector");
    if (given.block_size > UINT32_MAX || given.sector_size > UINT32_MAX || given.physical_sector_size > UINT32_MAX)
        return cli_fail(cli, "a block or sector of 4 GiB or more does not exist");
    if (given.azure && given.format && strcmp(given.format, "vhd") != 0)
        return cli_fail(cli, "--azure makes a VHD, not %s", given.format);
    if (given.azure && given.type && strcmp(given.type, "fixed") != 0)
        return cli_fail(cli, "--azure makes a fixed disk, not a %s one", given.type);
    return 0;
}

static int source_open(struct cli *cli, const char *path, struct vdisk **from)
{
    char sizes[2][64];
    int err = cli_open(cli, given.from, 0, from);

    if (err < 0) {
        cli_error(cli, given.from, err);
        return err;
    }
    err = cli_check_chain(cli, path, *from);
    if (err == 0 && given.size != CLI_NONE && given.size < vdisk_size(*from)) {
        cli_say(cli, VDISK_ERROR, "%s: holds %s: more than --size %s", given.from,
                cli_size_full(sizes[0], vdisk_size(*from)), cli_size_full(sizes[1], given.size));
        err = -EINVAL;
    }
    if (err < 0) {
        vdisk_close(*from);
        *from = NULL;
    }
    return err;
}

static int fill(struct cli *cli, struct vdisk *from, struct vdisk *disk)
{
    struct vdisk_progress progress;
    int err = 0;

    if (from) {
        cli_say_backend(cli);
        cli_progress_begin(cli, &progress);
        err = vdisk_copy(from, disk, 0, &progress, NULL);
        cli_progress_end(cli);
    }
    if (err == 0 && given.hydrate)
        err = vdisk_hydrate(disk);
    return err == 0 && cli_cancel ? -ECANCELED : err;
}

static int make(struct cli *cli, const char *path, struct vdisk *from)
{
    struct vdisk *disk;
    char text[160];
    int err = create_target(cli, path, from, &disk);

    if (err < 0)
        return cli_error(cli, path, err);
    err = cli_check_chain(cli, path, vdisk_parent(disk));
    if (err == 0)
        err = fill(cli, from, disk);
    if (err < 0) {
        vdisk_close(disk);
        return cli_error(cli, path, err);
    }
    cli_describe(disk, text);
    err = vdisk_commit(disk);
    if (err < 0)
        return cli_error(cli, path, err);
    cli_report(cli, path, text);
    return EXIT_SUCCESS;
}

static int run(struct cli *cli, char **operand)
{
    struct vdisk *from = NULL;
    int status;

    status = options_refuse(cli);
    if (status != 0)
        return status;
    if (cli_check_free(cli, operand[0], given.force) < 0)
        return EXIT_FAILURE;
    if (given.from && source_open(cli, operand[0], &from) < 0)
        return EXIT_FAILURE;
    status = make(cli, operand[0], from);
    vdisk_close(from);
    return status;
}

const struct cli_command cli_create = {
    .name = "create",
    .summary = "make a new disk: empty, on a parent, or filled from a file",
    .operands = "FILE",
    .description = "Make a new virtual disk. Nothing stands at FILE before the disk is whole.",
    .examples = "vdisk create a.vhdx --size 127G\n"
                "vdisk create a.vhd --size 40G --type fixed\n"
                "vdisk create child.vhdx --parent a.vhdx\n"
                "vdisk create a.vhdx --from disk.img --block-size 1M",
    .parent_help = "the parent of the new disk; repeated: files that may be\nparents in its chain",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
