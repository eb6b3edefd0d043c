/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk merge: what a child holds goes into its parent; or a whole chain into a new image. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/ask.h"

static struct {
    const char *into, *link, *child;
} given;

static const struct cli_option options[] = {
    {"into", CLI_TEXT, "FILE", &given.into,
     "a file of the chain: everything above it goes into it;\n"
     "or a file that does not exist: the whole chain as a new\n"
     "image, and the chain stays as it is"},
    {"link", CLI_TEXT, "FILE", &given.link, "merge this file of CHILD's chain, and leave CHILD itself"},
    {"child", CLI_TEXT, "FILE", &given.child,
     "another child of what is merged, that gets its parent;\nthose beside it are found"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

static void summary(struct cli *cli, const char *path, const char *into, const struct vdisk_merge_result *result)
{
    char text[1400], size[64];

    snprintf(text, sizeof(text), "merged into %.1000s: moved %s, removed %u file%s", into,
             cli_size_full(size, result->bytes_moved), result->links, result->links == 1 ? "" : "s");
    cli_report(cli, path, text);
}

static int merge(struct cli *cli, const char *path, struct vdisk_port *port, struct vdisk_merge_result *result)
{
    const char *const children[] = {given.child, NULL};
    struct vdisk_open_options search;
    struct vdisk_merge_options how = {.link = given.link,
                                      .into = given.into,
                                      .children = given.child ? children : NULL,
                                      .search = &search,
                                      .last = true};
    struct vdisk_progress progress;
    int err;

    cli_open_options(cli, 0, &search);
    cli_say_backend(cli);
    cli_progress_begin(cli, &progress);
    err = vdisk_merge(port, &how, &progress, result);
    cli_progress_end(cli);
    if (err == -ECANCELED)
        cli_say(cli, VDISK_NOTE, "%s: the chain is as it was; merge again to go on", path);
    return err;
}

/* The path of what the port's disk, or the link, is merged into, to be told afterwards. */
static char *target_path(struct vdisk_port *port)
{
    struct vdisk *parent = vdisk_parent(vdisk_port_disk(port));

    if (given.into || given.link)
        return strdup(given.into ? given.into : "its parent");
    return strdup(parent ? vdisk_path(parent) : "");
}

static int add_path(json_t *request, const char *name, const char *path)
{
    char *whole = path ? cli_ask_path(path) : NULL;
    int err = path && (!whole || json_object_set_new(request, name, json_string(whole)) < 0) ? -ENOMEM : 0;

    free(whole);
    return err;
}

/* By who has the disk open: 1; 0: nobody; or -errno, said. */
static int ask(struct cli *cli, const char *path)
{
    json_t *request = json_pack("{s:s}", "do", "merge"), *result;
    bool beneath;
    struct vdisk_merge_result merged;
    const char *into;
    int err = add_path(request, "link", given.link);

    err = err ? err : add_path(request, "into", given.into);
    err = err ? err : add_path(request, "child", given.child);
    if (err) {
        json_decref(request);
        return err;
    }
    err = cli_ask_link(cli, path, request, &beneath, &result);
    if (err <= 0)
        return err;
    merged = (struct vdisk_merge_result){
        .bytes_moved = (uint64_t)json_integer_value(json_object_get(result, "moved")),
        .links = (unsigned)json_integer_value(json_object_get(result, "links")),
    };
    into = json_string_value(json_object_get(result, "file"));
    summary(cli, given.link ? given.link : path,
            given.into                       ? given.into
            : given.link || beneath || !into ? "its parent"
                                             : into,
            &merged);
    json_decref(result);
    return 1;
}

static int merge_chain(struct cli *cli, const char *path)
{
    struct vdisk_merge_result result;
    struct vdisk_open_options how;
    struct vdisk_port *port;
    char *into;
    int err, closed;

    err = ask(cli, path);
    if (err != 0)
        return err < 0 ? cli_error(cli, path, err) : EXIT_SUCCESS;
    cli_open_options(cli, VDISK_OPEN_WRITE, &how);
    err = vdisk_port_open(path, &how, &port);
    if (err < 0)
        return cli_error(cli, path, err);
    into = target_path(port);
    err = into ? merge(cli, path, port, &result) : -ENOMEM;
    closed = vdisk_port_close(port);
    err = err < 0 ? err : closed;
    if (err < 0)
        cli_error(cli, path, err);
    else
        summary(cli, given.link ? given.link : path, into, &result);
    free(into);
    return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* A new image that holds what the chain shows. */
static int copy_chain(struct cli *cli, struct vdisk *chain, uint64_t *moved)
{
    struct vdisk_create_options create = {.size = vdisk_size(chain),
                                          .sector_size = vdisk_sector_size(chain),
                                          .physical_sector_size = vdisk_physical_sector_size(chain),
                                          .log = cli->log};
    struct vdisk_copy_result copied;
    struct vdisk_progress progress;
    struct vdisk *target;
    int err = vdisk_create(given.into, &create, &target);

    if (err < 0)
        return err;
    cli_say_backend(cli);
    cli_progress_begin(cli, &progress);
    err = vdisk_copy(chain, target, 0, &progress, &copied);
    cli_progress_end(cli);
    if (err == 0 && cli_cancel)
        err = -ECANCELED;
    *moved = copied.bytes_written + copied.bytes_shared;
    if (err == 0)
        return vdisk_commit(target);
    vdisk_close(target);
    return err;
}

static int merge_new(struct cli *cli, const char *path)
{
    struct vdisk_merge_result result = {0};
    struct vdisk *chain;
    int err = cli_open(cli, path, 0, &chain);

    if (err < 0)
        return cli_error(cli, path, err);
    err = copy_chain(cli, chain, &result.bytes_moved);
    vdisk_close(chain);
    if (err < 0)
        return cli_error(cli, given.into, err);
    summary(cli, path, given.into, &result);
    return EXIT_SUCCESS;
}

static int run(struct cli *cli, char **operand)
{
    bool fresh = given.into && access(given.into, F_OK) < 0 && errno == ENOENT;

    if (fresh && (given.link || given.child))
        return cli_fail(cli, "%s: does not exist: the whole chain would go there, without --link and --child",
                        given.into);
    return fresh ? merge_new(cli, operand[0]) : merge_chain(cli, operand[0]);
}

const struct cli_command cli_merge = {
    .name = "merge",
    .summary = "put what a child holds into its parent",
    .operands = "CHILD",
    .description = "Put what CHILD holds into its parent, which then shows what CHILD showed, and remove CHILD.\n"
                   "Other disks whose parent is CHILD get its parent instead. Only CHILD's own bytes are moved.\n"
                   "A chain that is in use goes on being used, whichever of its files CHILD is.\n"
                   "Interrupted at any moment, by a power cut too, the chain shows what it showed: merge again.",
    .examples = "vdisk merge monday.avhdx\n"
                "vdisk merge friday.avhdx --into disk.vhdx           a whole week\n"
                "vdisk merge friday.avhdx --link tuesday.avhdx       one of them; wednesday's parent is monday then\n"
                "vdisk merge friday.avhdx --into copy.vhdx           the chain as one new image",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
