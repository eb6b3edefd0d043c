/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands on a disk that another process has open: it does what is asked (docs/control.md). */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "cli/cli.h"
#include "control/client.h"

/* Asks the holder of the image, if there is one that can be asked, with a progress bar, until the work is done or a signal
 * cancels it. Takes request. 1: done, *result is the caller's; 0: nobody to ask, the command does the work itself; or
 * -errno, said. */
int cli_ask(struct cli *cli, const char *path, json_t *request, json_t **result);

/* "dynamic vhdx, 127 GiB (136365211648 bytes), blocks of 32 MiB, requests waited 0.4 ms", from an operation's result. */
void cli_ask_describe(const json_t *result, char text[200]);

/* A path as the holder has to be given it, from the root; malloced, of a file that need not exist. NULL: out of memory. */
char *cli_ask_path(const char *path);

#endif
