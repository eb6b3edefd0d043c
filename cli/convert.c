/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk convert: any disk to any other. The chain is flattened, or kept with --type differencing: then only what the
 * source itself holds is copied, onto the same parent or onto one that is proved to hold the same bytes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/cli.h"

static struct {
    uint64_t block_size, sector_size, physical_sector_size;
    const char *format, *type;
    bool hydrate, azure, force;
} given;

static const struct cli_option options[] = {
    {"format", CLI_TEXT, "FORMAT", &given.format, "of DST: vhd, vhdx or raw; otherwise by its suffix"},
    {"type", CLI_TEXT, "TYPE", &given.type,
     "of DST: fixed, dynamic (the default; these flatten the chain),\n"
     "or differencing: keep the chain, copy this link only"},
    {"block-size", CLI_SIZE, "SIZE", &given.block_size, "unit of allocation of a dynamic disk"},
    {"sector-size", CLI_SIZE, "SIZE", &given.sector_size, "logical sector: 512 or 4096 (VHDX)"},
    {"physical-sector-size", CLI_SIZE, "SIZE", &given.physical_sector_size,
     "what the guest is told: 512 or 4096 (VHDX)"},
    {"hydrate", CLI_FLAG, NULL, &given.hydrate, "leave no holes in the file (Windows refuses sparse files)"},
    {"azure", CLI_FLAG, NULL, &given.azure, "a fixed VHD with its size rounded up to 1 MiB"},
    {"force", CLI_FLAG, NULL, &given.force, "replace an existing DST"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static bool keeps_chain(void)
{
    return given.type && strcmp(given.type, "differencing") == 0;
}

static int options_refuse(struct cli *cli)
{
    if (given.block_size > UINT32_MAX || given.sector_size > UINT32_MAX || given.physical_sector_size > UINT32_MAX)
        return cli_fail(cli, "a block or sector of 4 GiB or more does not exist");
    if (given.azure && given.format && strcmp(given.format, "vhd") != 0)
        return cli_fail(cli, "--azure makes a VHD, not %s", given.format);
    if (given.azure && given.type && strcmp(given.type, "fixed") != 0)
        return cli_fail(cli, "--azure makes a fixed disk, not a %s one", given.type);
    return 0;
}

static bool in_chain(struct vdisk *chain, const char *path)
{
    struct stat file, link;

    if (stat(path, &file) < 0)
        return false;
    for (; chain; chain = vdisk_parent(chain))
        if (stat(vdisk_path(chain), &link) == 0 && link.st_dev == file.st_dev && link.st_ino == file.st_ino)
            return true;
    return false;
}

/* The parent of DST: a --parent that the source does not use, else the source's own. */
static const char *target_parent(struct cli *cli, struct vdisk *source, bool *other)
{
    *other = false;
    for (unsigned i = 0; i < cli->parent_count; i++) {
        if (!in_chain(source, cli->parents[i])) {
            *other = true;
            return cli->parents[i];
        }
    }
    return vdisk_path(vdisk_parent(source));
}

/* What the source does not hold itself must read from the new parent as from the old one. */
static int parent_prove(struct cli *cli, struct vdisk *source, struct vdisk *parent)
{
    struct vdisk_progress progress;
    uint64_t where;
    int err;

    cli_progress_begin(cli, &progress);
    err = vdisk_compare(vdisk_parent(source), parent, &progress, &where);
    cli_progress_end(cli);
    if (err <= 0)
        return err;
    cli_say(cli, VDISK_ERROR, "%s: differs from %s, the source's parent, at byte %llu: not taken as the parent",
            vdisk_path(parent), vdisk_path(vdisk_parent(source)), (unsigned long long)where);
    return -EINVAL;
}

/* VHDX records the sector size and keeps the source's; the others have sectors of 512 bytes. */
static uint64_t target_sector_size(const char *path, struct vdisk *source)
{
    const char *dot = strrchr(path, '.');
    bool vhdx = given.format ? strcmp(given.format, "vhdx") == 0
                             : dot && (strcasecmp(dot, ".vhdx") == 0 || strcasecmp(dot, ".avhdx") == 0);

    if (given.sector_size)
        return given.sector_size;
    return vhdx || keeps_chain() ? vdisk_sector_size(source) : 512;
}

static int target_create(struct cli *cli, const char *path, struct vdisk *source, struct vdisk **target)
{
    struct vdisk_open_options parent_options;
    struct vdisk_create_options create = {
        .flags = (given.force ? VDISK_CREATE_OVERWRITE : 0) | (given.azure ? VDISK_CREATE_AZURE : 0),
        .format = given.format || !given.azure ? given.format : "vhd",
        .type = given.type || !given.azure ? given.type : "fixed",
        .block_size = (uint32_t)given.block_size,
        .sector_size = (uint32_t)target_sector_size(path, source),
        .physical_sector_size = (uint32_t)given.physical_sector_size,
        .log = cli->log,
    };
    bool other = false;
    int err;

    create.size = (vdisk_size(source) + create.sector_size - 1) / create.sector_size * create.sector_size;
    if (keeps_chain()) {
        cli_open_options(cli, 0, &parent_options);
        parent_options.format = NULL;
        create.parent = target_parent(cli, source, &other);
        create.parent_options = &parent_options;
    }
    err = vdisk_create(path, &create, target);
    if (err < 0 || !other)
        return err;
    err = parent_prove(cli, source, vdisk_parent(*target));
    if (err < 0)
        vdisk_close(*target);
    return err;
}

static int source_refuse(struct cli *cli, struct vdisk *source, const char *path)
{
    if (keeps_chain() && !vdisk_parent(source))
        return cli_fail(cli, "%s: is not a differencing disk: there is no chain to keep", vdisk_path(source));
    return cli_check_chain(cli, path, source) < 0 ? cli->command->failure : 0;
}

static int copy(struct cli *cli, struct vdisk *source, struct vdisk *target, struct vdisk_copy_result *result)
{
    struct vdisk_progress progress;
    int err;

    cli_say_backend(cli);
    if (vdisk_sector_size(target) != vdisk_sector_size(source) && strcmp(vdisk_format(target), "raw") != 0)
        cli_say(cli, VDISK_WARNING, "logical sectors change from %u to %u bytes: a partition table counts in them",
                vdisk_sector_size(source), vdisk_sector_size(target));
    cli_progress_begin(cli, &progress);
    err = vdisk_copy(source, target, keeps_chain() ? VDISK_COPY_ALONE : 0, &progress, result);
    cli_progress_end(cli);
    if (err == 0 && given.hydrate)
        err = vdisk_hydrate(target);
    return err == 0 && cli_cancel ? -ECANCELED : err;
}

static void summary(struct cli *cli, const char *path, const char *disk, const struct vdisk_copy_result *result)
{
    char text[360], sizes[4][32];

    snprintf(text, sizeof(text), "%s: read %s, wrote %s, skipped %s%s%s", disk,
             cli_size_text(sizes[0], result->bytes_read), cli_size_text(sizes[1], result->bytes_written),
             cli_size_text(sizes[2], result->bytes_skipped), result->bytes_shared ? ", shared " : "",
             result->bytes_shared ? cli_size_text(sizes[3], result->bytes_shared) : "");
    cli_report(cli, path, text);
}

static int convert(struct cli *cli, struct vdisk *source, const char *path)
{
    struct vdisk_copy_result result = {0};
    struct vdisk *target;
    char text[160];
    int err = target_create(cli, path, source, &target);

    if (err < 0)
        return cli_error(cli, path, err);
    err = cli_check_chain(cli, path, vdisk_parent(target));
    if (err == 0)
        err = copy(cli, source, target, &result);
    if (err < 0) {
        vdisk_close(target);
        return cli_error(cli, path, err);
    }
    cli_describe(target, text);
    err = vdisk_commit(target);
    if (err < 0)
        return cli_error(cli, path, err);
    summary(cli, path, text, &result);
    return EXIT_SUCCESS;
}

static int run(struct cli *cli, char **operand)
{
    struct vdisk *source;
    int err, status = options_refuse(cli);

    if (status != 0)
        return status;
    if (cli_check_free(cli, operand[1], given.force) < 0)
        return EXIT_FAILURE;
    err = cli_open(cli, operand[0], 0, &source);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    status = source_refuse(cli, source, operand[1]);
    if (status == 0)
        status = convert(cli, source, operand[1]);
    vdisk_close(source);
    return status;
}

const struct cli_command cli_convert = {
    .name = "convert",
    .summary = "copy a disk into another format or type",
    .operands = "SRC DST",
    .description = "Copy what SRC shows to a new disk DST. Holes stay holes: what is known to be zero is neither\n"
                   "read nor written. DST appears when it is whole.",
    .examples = "vdisk convert disk.img disk.vhdx\n"
                "vdisk convert child.vhdx flat.vhd              the chain becomes one disk\n"
                "vdisk convert server.vhdx server.vhd --azure   ready for upload\n"
                "vdisk convert c.vhdx c2.vhdx --type differencing --block-size 1M",
    .parent_help = "a file that may be a parent in the chain; may be repeated.\n"
                   "With --type differencing, one that SRC does not use becomes\n"
                   "DST's parent, if it holds the same bytes",
    .options = options,
    .operand_count = 2,
    .failure = EXIT_FAILURE,
    .run = run,
};
