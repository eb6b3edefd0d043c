/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `hv` share. */
#ifndef CLI_HV_H
#define CLI_HV_H

#include "cli/cli.h"
#include "vmm/machine.h"

/* ---- hv_parse.c ---- */

/* "FILE[,option]...": cuts the text into words at commas; two commas stand for one. Returns how many words, each
 * malloced, or -errno, said. */
#define HV_WORDS_MAX 16
int hv_words(struct cli *cli, const char *text, char *words[HV_WORDS_MAX]);
void hv_words_free(char *words[HV_WORDS_MAX], int count);

/* What --disk and --nic say: fill the machine's part. Said. A disk is opened here. */
int hv_disk_open(struct cli *cli, const char *text, bool plain, struct machine_disk *disk);
int hv_nic_parse(struct cli *cli, const char *text, struct machine_nic *nic);

#endif
