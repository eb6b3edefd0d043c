/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk info: everything the headers say, of one link or of the whole chain. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/json.h"
#include "control/info.h"

static struct {
    bool chain, json;
} given;

static const struct cli_option options[] = {
    {"chain", CLI_FLAG, NULL, &given.chain, "every link, from FILE down to the last parent"},
    {"json", CLI_FLAG, NULL, &given.json, "print JSON: one object, or an array with --chain"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

/* ---- Text: measured first, so that one column fits all ---- */

struct text {
    char group[64];
    int width;
};

static void measure(void *arg, const struct vdisk_field *field)
{
    struct text *text = arg;
    int width = (int)strlen(field->name);

    if (width > text->width)
        text->width = width;
}

static void print_text(void *arg, const struct vdisk_field *field)
{
    struct text *text = arg;
    char size[64];

    if (strncmp(text->group, field->group, sizeof(text->group) - 1) != 0) {
        snprintf(text->group, sizeof(text->group), "%s", field->group);
        printf("  %s\n", field->group);
    }
    printf("    %-*s  ", text->width, field->name);
    switch (field->type) {
    case VDISK_FIELD_TEXT:
        cli_put_text(stdout, field->text);
        break;
    case VDISK_FIELD_NUMBER:
        printf("%" PRIu64, field->number);
        break;
    case VDISK_FIELD_BYTES:
        fputs(cli_size_full(size, field->number), stdout);
        break;
    case VDISK_FIELD_FLAG:
        fputs(field->number ? "yes" : "no", stdout);
        break;
    }
    putchar('\n');
}

static int link_text(const json_t *link, unsigned depth)
{
    const char *path = json_string_value(json_object_get(link, "file"));
    struct text text = {.width = 0};
    int err = path ? control_info_each(link, measure, &text) : -EPROTO;

    if (err < 0)
        return err;
    if (depth > 0)
        putchar('\n');
    cli_put_text(stdout, path);
    putchar('\n');
    return control_info_each(link, print_text, &text);
}

/* ---- JSON: the common facts at the top, the headers' by group ---- */

/* A name that comes twice in a group becomes an array. */
static void member_add(json_t *object, const char *name, json_t *value)
{
    json_t *old = json_object_get(object, name);

    if (!old) {
        json_object_set_new(object, name, value);
        return;
    }
    if (!json_is_array(old)) {
        json_t *array = json_array();
        json_array_append(array, old);
        json_object_set_new(object, name, array);
        old = array;
    }
    json_array_append_new(old, value);
}

static void print_json(void *arg, const struct vdisk_field *field)
{
    json_t *object = arg, *headers, *group, *value;

    if (field->type == VDISK_FIELD_TEXT)
        value = cli_json_text(field->text);
    else
        value = field->type == VDISK_FIELD_FLAG ? json_boolean(field->number) : json_integer((json_int_t)field->number);
    if (strcmp(field->group, "disk") == 0) {
        member_add(object, field->name, value);
        return;
    }
    headers = json_object_get(object, "headers");
    group = json_object_get(headers, field->group);
    if (!group) {
        group = json_object();
        json_object_set_new(headers, field->group, group);
    }
    member_add(group, field->name, value);
}

static int link_json(const json_t *link, unsigned depth, struct cli_json_array *array)
{
    json_t *object = json_pack("{s:O, s:i}", "file", json_object_get(link, "file"), "depth", (int)depth);
    json_t *headers = json_object();
    int err;

    json_object_set(object, "headers", headers);
    err = control_info_each(link, print_json, object);
    json_object_del(object, "headers"); /* to stand last */
    json_object_set_new(object, "headers", headers);
    if (err == 0 && given.chain)
        return cli_json_array_put(array, object);
    if (err == 0)
        err = json_dumpf(object, stdout, JSON_INDENT(2)) < 0 ? -ENOMEM : 0;
    json_decref(object);
    return err;
}

static int links_print(const json_t *links)
{
    struct cli_json_array array = {0};
    json_t *link;
    size_t depth;
    int err = 0;

    json_array_foreach (links, depth, link)
        if (err == 0)
            err = given.json ? link_json(link, (unsigned)depth, &array) : link_text(link, (unsigned)depth);
    if (given.json && given.chain)
        cli_json_array_end(&array);
    if (given.json)
        putchar('\n');
    return err;
}

/* From the holder, which knows what is not in the file yet, or from the file. */
static int links_get(struct cli *cli, const char *path, json_t **links)
{
    json_t *result;
    struct vdisk *disk;
    int err = cli_ask(cli, path, json_pack("{s:s, s:b}", "do", "info", "chain", given.chain), &result);

    if (err > 0) {
        *links = json_incref(json_object_get(result, "links"));
        json_decref(result);
    }
    if (err != 0)
        return err < 0 ? err : 0;
    err = cli_open(cli, path, given.chain ? 0 : VDISK_OPEN_ALONE, &disk);
    if (err < 0)
        return err;
    *links = control_info(disk, given.chain);
    vdisk_close(disk);
    return 0;
}

static int run(struct cli *cli, char **operand)
{
    json_t *links = NULL;
    int err = links_get(cli, operand[0], &links);

    if (err == 0)
        err = links_print(links);
    json_decref(links);
    return err < 0 ? cli_error(cli, operand[0], err) : EXIT_SUCCESS;
}

const struct cli_command cli_info = {
    .name = "info",
    .summary = "show everything the headers of a disk say",
    .operands = "FILE",
    .description =
        "Print the format, type and sizes of a disk, and all fields of its headers. Without --chain a parent is\n"
        "not needed.",
    .examples = "vdisk info disk.vhdx\n"
                "vdisk info child.vhdx --chain\n"
                "vdisk info disk.vhd --json | jq '.\"virtual-size\"'",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
