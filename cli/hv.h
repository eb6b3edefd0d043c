/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `hv` share. */
#ifndef CLI_HV_H
#define CLI_HV_H

#include "cli/cli.h"
#include "control/server.h"
#include "vmm/machine.h"

struct hv;

/* What is known of a disk besides what the machine is told. */
struct hv_hold {
    struct control_log words; /* it is opened with this log */
    bool nameless;            /* an overlay: nobody can ask for it */
    struct control_holder holder;
    struct control_server *server; /* NULL: none */
    struct hv *hv;
    unsigned number;
};

struct hv_paths {
    const char **path; /* NULL-terminated */
    unsigned count;
};

/* A machine that is to run, and what stands around it. */
struct hv {
    struct machine_options machine;
    char name[64];
    struct hv_hold hold[MACHINE_DISKS_MAX];
    struct hv_paths readable, writable;
    struct machine *running;
};

/* ---- hv_parse.c ---- */

/* "FILE[,option]...": cuts the text into words at commas; two commas stand for one. Returns how many words, each
 * malloced, or -errno, said. */
#define HV_WORDS_MAX 16
int hv_words(struct cli *cli, const char *text, char *words[HV_WORDS_MAX]);
void hv_words_free(char *words[HV_WORDS_MAX], int count);

/* What --disk and --nic say: fill the machine's part. Said. A disk is opened here; plain: text is its file's name. */
int hv_disk_open(struct cli *cli, const char *text, bool plain, struct machine_disk *disk, struct hv_hold *hold);
int hv_nic_parse(struct cli *cli, const char *text, struct machine_nic *nic);

/* ---- hv_console.c ---- */

/* Of a machine on a person's terminal, which passes on what is typed between begin and end. */
bool hv_console_typed(struct machine *machine, uint8_t byte);
void hv_console_begin(struct cli *cli);
void hv_console_end(struct cli *cli);

/* ---- hv_control.c ---- */

/* What the process may open while the machine runs, from what it is and --allow. Said. */
int hv_paths_make(struct cli *cli, struct hv *hv, const struct cli_list *allow);
void hv_paths_free(struct hv *hv);

/* A socket for each disk that has a name, for commands of `vdisk`. Between the opening of the machine and its running;
 * closed before it is. */
void hv_control_open(struct hv *hv, struct machine *machine);
void hv_control_close(struct hv *hv);

#endif
