/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Takes control and request. */
static int call(struct cli *cli, struct control *control, json_t *request, json_t **result)
{
    struct vdisk_progress progress;
    int err;

    cli_progress_begin(cli, &progress);
    err = control_call(control, request, &progress, &cli->log, result);
    cli_progress_end(cli);
    control_close(control);
    return err < 0 ? err : 1;
}

/* Whether it is of no use to open the file instead. */
static bool is_for_the_disk(const json_t *request)
{
    static const char *const operations[] = {"compact", "move", "point", "resize"};
    const char *name = json_string_value(json_object_get(request, "do"));

    for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
        if (name && strcmp(name, operations[i]) == 0)
            return true;
    return false;
}

int cli_ask(struct cli *cli, const char *path, json_t *request, json_t **result)
{
    struct control *control;
    int err = control_open(path, &control);

    if (err == 0)
        return call(cli, control, request, result);
    if (err == -ENOENT && is_for_the_disk(request) && cli_ask_beneath(cli, path))
        err = -EBUSY;
    json_decref(request);
    return err == -ENOENT ? 0 : err;
}

int cli_ask_link(struct cli *cli, const char *path, json_t *request, bool *beneath, json_t **result)
{
    struct control *control;
    char *link;
    int err = control_open(path, &control);

    *beneath = err == -ENOENT && control_open_beneath(path, &control) == 0;
    if (*beneath) {
        link = cli_ask_path(path);
        err = link && json_object_set_new(request, "link", json_string(link)) == 0 ? 0 : -ENOMEM;
        free(link);
        if (err < 0)
            control_close(control);
    }
    if (err == 0)
        return call(cli, control, request, result);
    json_decref(request);
    return err == -ENOENT ? 0 : err;
}

bool cli_ask_beneath(struct cli *cli, const char *path)
{
    char name[64] = "a program", from[64];
    struct control *control;
    FILE *comm;
    pid_t pid;

    if (control_open_beneath(path, &control) < 0)
        return false;
    pid = control_holder_pid(control);
    control_close(control);
    snprintf(from, sizeof(from), "/proc/%d/comm", (int)pid);
    comm = fopen(from, "re");
    if (comm && fgets(name, sizeof(name), comm))
        name[strcspn(name, "\n")] = '\0';
    if (comm)
        fclose(comm);
    cli_fail(cli, "%s: is beneath the disk that %s (process %d) has open", path, name, (int)pid);
    return true;
}

void cli_ask_describe(const json_t *result, char text[200])
{
    const char *format = json_string_value(json_object_get(result, "format"));
    const char *type = json_string_value(json_object_get(result, "type"));
    uint64_t block_size = (uint64_t)json_integer_value(json_object_get(result, "block-size"));
    uint64_t size_bytes = (uint64_t)json_integer_value(json_object_get(result, "virtual-size"));
    double pause = (double)json_integer_value(json_object_get(result, "pause-ns")) / 1e6;
    char size[64], block[32];

    snprintf(text, 200, "%s %s, %s%s%s, requests waited %.1f ms", type ? type : "", format ? format : "",
             cli_size_full(size, size_bytes), block_size > 0 ? ", blocks of " : "",
             block_size > 0 ? cli_size_text(block, block_size) : "", pause);
}

char *cli_ask_path(const char *path)
{
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0), *whole = NULL;

    if (asprintf(&whole, "%s%s%s", here ? here : "", here ? "/" : "", path) < 0)
        whole = NULL;
    free(here);
    return whole;
}
