/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands on a disk that another process has open: it does what is asked (docs/control.md). */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "cli/cli.h"
#include "control/client.h"

/* Asks the holder of the image, if there is one that can be asked, with a progress bar, until the work is done or a signal
 * cancels it. Takes request. 1: done, *result is the caller's; 0: nobody to ask, the command does the work itself; or
 * -errno, said. What changes the disk is refused on a file beneath one that is in use. */
int cli_ask(struct cli *cli, const char *path, json_t *request, json_t **result);

/* The same for work on a link of a chain: nobody may have the file itself open as a disk, but as what is beneath one,
 * and then is asked for its "link". *beneath: so it was. */
int cli_ask_link(struct cli *cli, const char *path, json_t *request, bool *beneath, json_t **result);

/* Whether a disk over the file is in use; then an error says by whom. */
bool cli_ask_beneath(struct cli *cli, const char *path);

/* "dynamic vhdx, 127 GiB (136365211648 bytes), blocks of 32 MiB, requests waited 0.4 ms", from an operation's result. */
void cli_ask_describe(const json_t *result, char text[200]);

/* A path as the holder has to be given it, from the root; malloced, of a file that need not exist. NULL: out of memory. */
char *cli_ask_path(const char *path);

#endif
