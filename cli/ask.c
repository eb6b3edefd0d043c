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

char *cli_ask_path(const char *path)
{
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0), *whole = NULL;

    if (asprintf(&whole, "%s%s%s", here ? here : "", here ? "/" : "", path) < 0)
        whole = NULL;
    free(here);
    return whole;
}
