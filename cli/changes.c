/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk changes: what has changed since a point; without one, the points that there are. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "cli/ask.h"
#include "cli/json.h"

static struct {
    const char *since, *until;
    bool json;
} given;

static const struct cli_option options[] = {
    {"since", CLI_TEXT, "NAME", &given.since, "what has changed since this point; without it, the points are listed"},
    {"until", CLI_TEXT, "NAME", &given.until, "up to this later point, and not up to now"},
    {"json", CLI_FLAG, NULL, &given.json, "print one JSON array"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

struct printer {
    struct cli_json_array array;
    uint64_t extents, bytes;
};

static int change_print(void *arg, uint64_t offset, uint64_t length)
{
    struct printer *printer = arg;
    char text[2][32];

    if (cli_cancel)
        return -ECANCELED;
    if (printer->extents++ == 0 && !given.json)
        printf("%16s %16s\n", "OFFSET", "LENGTH");
    printer->bytes += length;
    if (given.json)
        return cli_json_array_put(&printer->array,
                                  json_pack("{s:I, s:I}", "offset", (json_int_t)offset, "length", (json_int_t)length));
    snprintf(text[0], sizeof(text[0]), "0x%" PRIx64, offset);
    snprintf(text[1], sizeof(text[1]), "0x%" PRIx64, length);
    printf("%16s %16s\n", text[0], text[1]);
    return 0;
}

/* An error before the first row leaves nothing printed. */
static void changes_end(struct printer *printer, int err)
{
    char text[64];

    if (given.json && (!err || printer->extents > 0)) {
        cli_json_array_end(&printer->array);
        putchar('\n');
    } else if (!err && !given.json && given.since) {
        printf("%" PRIu64 " extent%s, %s\n", printer->extents, printer->extents == 1 ? "" : "s",
               cli_size_full(text, printer->bytes));
    }
}

static int changes_print(struct vdisk *disk)
{
    struct printer printer = {0};
    int err = vdisk_changes(disk, given.since, given.until, change_print, &printer);

    changes_end(&printer, err);
    return err;
}

struct point {
    const char *name, *file;
    json_int_t created; /* seconds since 1970 */
    int whole;
};

static int point_row(struct printer *printer, const struct point *point)
{
    time_t created = (time_t)point->created;
    char when[32] = "-";
    struct tm tm;

    printer->extents++;
    if (gmtime_r(&created, &tm))
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (given.json)
        return cli_json_array_put(&printer->array,
                                  json_pack("{s:o, s:s, s:b, s:o}", "name", cli_json_text(point->name), "created", when,
                                            "whole", point->whole, "file", cli_json_text(point->file)));
    printf("%s  %s  ", when, point->whole ? "whole" : "exact");
    cli_put_text(stdout, point->name);
    fputs("  ", stdout);
    cli_put_text(stdout, point->file);
    putchar('\n');
    return 0;
}

static int point_print(void *arg, const struct vdisk_point *point)
{
    struct point row = {.name = point->name,
                        .file = vdisk_path(point->link),
                        .created = (json_int_t)point->created,
                        .whole = point->whole};

    return point_row(arg, &row);
}

static int points_print(struct vdisk *disk)
{
    struct printer printer = {0};
    int err = vdisk_points(disk, point_print, &printer);

    changes_end(&printer, err);
    return err;
}

/* Of a disk in use. */
static int reply_print(const json_t *result)
{
    struct printer printer = {0};
    const json_t *list = json_object_get(result, given.since ? "changes" : "points"), *each;
    size_t i;
    int err = json_is_array(list) ? 0 : -EPROTO;

    json_array_foreach (list, i, each) {
        struct point point;

        if (given.since)
            err = change_print(&printer, (uint64_t)json_integer_value(json_array_get(each, 0)),
                               (uint64_t)json_integer_value(json_array_get(each, 1)));
        else if (json_unpack((json_t *)each, "[s, I, b, s]", &point.name, &point.created, &point.whole, &point.file))
            err = -EPROTO;
        else
            err = point_row(&printer, &point);
        if (err)
            break;
    }
    changes_end(&printer, err);
    return err;
}

static int work(struct cli *cli, const char *path)
{
    struct vdisk *disk;
    int err = cli_open(cli, path, 0, &disk);

    if (err < 0)
        return err;
    err = given.since ? changes_print(disk) : points_print(disk);
    vdisk_close(disk);
    return err;
}

static int run(struct cli *cli, char **operand)
{
    json_t *result = NULL;
    int err;

    if (given.until && !given.since)
        return cli_fail(cli, "--until goes with --since");
    err = cli_ask(cli, operand[0],
                  json_pack("{s:s, s:s*, s:s*}", "do", "changes", "since", given.since, "until", given.until), &result);
    if (err >= 0)
        err = err ? reply_print(result) : work(cli, operand[0]);
    json_decref(result);
    return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
}

const struct cli_command cli_changes = {
    .name = "changes",
    .summary = "tell what has changed since a point",
    .operands = "FILE",
    .description =
        "Print the ranges of a disk that have changed since a point that \"vdisk point\" made, of FILE or of one\n"
        "of its parents. More may be told than did change, in units of 64 KiB and after a crash; never less.\n"
        "Without --since, list the points: \"whole\" is one since which all of the disk counts as changed.",
    .examples = "vdisk changes disk.vhdx\n"
                "vdisk changes disk.vhdx --since monday\n"
                "vdisk changes disk.vhdx --since monday --until tuesday --json",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
