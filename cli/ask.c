/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int cli_ask(struct cli *cli, const char *path, json_t *request, json_t **result)
{
    struct vdisk_progress progress;
    struct control *control;
    int err = control_open(path, &control);

    if (err < 0) {
        json_decref(request);
        return err == -ENOENT ? 0 : err;
    }
    cli_progress_begin(cli, &progress);
    err = control_call(control, request, &progress, &cli->log, result);
    cli_progress_end(cli);
    control_close(control);
    return err < 0 ? err : 1;
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
