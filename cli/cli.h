/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the commands of `vdisk` and `hv` share: one table entry a command, options as tables (from which parsing and help both
 * come), messages, progress, and reading a disk in order.
 *
 * A command is one file: static options, a table of them, and run. It returns its exit status. Every error is said
 * exactly once: by the library, or by cli_error where the library said nothing.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "disk/vdisk.h"

#define CLI_PARENTS_MAX 255 /* as deep as a chain can be */
#define CLI_MAP_MAX 64
#define CLI_NONE UINT64_MAX /* a size that was not given */

struct cli;

enum cli_option_kind { CLI_FLAG, CLI_TEXT, CLI_SIZE, CLI_LIST };

#define CLI_LIST_MAX 64

/* What an option that may be repeated was given. */
struct cli_list {
    const char *item[CLI_LIST_MAX];
    unsigned count;
};

/* value: bool, const char *, uint64_t or struct cli_list of the command's own, by kind. */
struct cli_option {
    const char *name;
    enum cli_option_kind kind;
    const char *argument; /* as help shows it; NULL for a flag */
    void *value;
    const char *help; /* lines are separated by newlines */
};

struct cli_command {
    const char *name, *summary, *operands;
    const char *description;          /* sentences for --help */
    const char *examples;             /* lines, indented by help */
    const char *parent_help;          /* what --parent means here; NULL: the usual */
    const struct cli_option *options; /* ends with an entry without a name */
    int operand_count;
    int operand_optional; /* so many of them, at the end, may be left out: they are NULL */
    bool rest; /* words after "--" are not its own: cli->rest */
    int failure; /* exit status when the work could not be done */
    int (*run)(struct cli *cli, char **operand);
};

struct cli_program {
    const char *name, *operands, *summary;
    const char *tour; /* lines, for the overview */
    const struct cli_command *const *commands; /* ends with NULL */
};

/* One invocation. */
struct cli {
    const struct cli_program *program;
    const struct cli_command *command;

    /* The options of every command. */
    const char *input_format, *parent_dir;
    const char *parents[CLI_PARENTS_MAX + 1];
    unsigned parent_count;
    const char *parent_map[CLI_MAP_MAX + 1];
    unsigned map_count;
    bool quiet, verbose;
    bool raw_terminal; /* a newline needs a carriage return */
    char **rest; /* ends with NULL */

    struct vdisk_log log; /* counts errors, prints the rest as asked */
    pthread_mutex_t lock; /* of what follows: messages come from any thread */
    unsigned errors;
    struct {
        bool active, shown;
        double began, last; /* seconds */
        double rate;        /* bytes a second, smoothed */
        uint64_t last_done;
    } bar;
};

/* ---- program.c ---- */

/* The main function of a program; returns its exit status. */
int cli_main(const struct cli_program *program, int argc, char **argv);

/* ---- options.c ---- */

/* Fills cli and the command's options from argv (argv[0] is the command's name). 1: go on, with the operands at
 * *operand; 0: help was given; -EINVAL: said. */
int cli_parse(struct cli *cli, int argc, char **argv, char ***operand);
void cli_help(const struct cli *cli); /* of cli->command */

/* ---- size.c ---- */

/* "127G", "1.5T", "512K", "64KiB", "4096", "0x1000": bytes, exactly. On -EINVAL or -ERANGE *why says what is wrong. */
int cli_size_parse(const char *text, uint64_t *bytes, const char **why);

/* "127 GiB", or "1.2 GiB" where it is not exact. */
const char *cli_size_text(char text[32], uint64_t bytes);

/* "127 GiB (136365211648 bytes)" */
const char *cli_size_full(char text[64], uint64_t bytes);

/* ---- message.c ---- */

void cli_message_init(struct cli *cli);
void cli_say(struct cli *cli, enum vdisk_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* An error of our own: says it and returns the command's failure status. */
int cli_fail(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* After a failed call about name: says what error means unless the library said more; "interrupted" after a signal.
 * Returns the command's failure status. */
int cli_error(struct cli *cli, const char *name, int error);

/* Writes text from an image or a path so that no control character reaches the terminal. */
void cli_put_text(FILE *stream, const char *text);

/* Flushes standard output: a full disk must not look like success. A reader that went away is not a fault to tell. */
int cli_finish_output(struct cli *cli, int status);

/* ---- progress.c ---- */

/* Fills progress. A bar appears after a second, on a terminal and without --quiet. Pairs with cli_progress_end. */
void cli_progress_begin(struct cli *cli, struct vdisk_progress *progress);
void cli_progress_end(struct cli *cli);
void cli_progress_hide(struct cli *cli); /* under cli->lock; the next step shows it again */

/* Not 0 after SIGINT, SIGTERM or SIGHUP. */
extern volatile sig_atomic_t cli_cancel;

/* ---- open.c ---- */

void cli_open_options(struct cli *cli, unsigned flags, struct vdisk_open_options *options);
int cli_open(struct cli *cli, const char *path, unsigned flags, struct vdisk **disk);

/* Both refuse an output, before anything is done: a path that is taken (force: only what is not a regular file), and
 * one that is a link of the chain. 0 or -errno, said. */
int cli_check_free(struct cli *cli, const char *path, bool force);
int cli_check_chain(struct cli *cli, const char *path, struct vdisk *chain);

/* "dynamic vhdx, 127 GiB (136365211648 bytes), blocks of 32 MiB" */
void cli_describe(struct vdisk *disk, char text[160]);

/* "<path>: <text>" to standard output, unless --quiet. */
void cli_report(struct cli *cli, const char *path, const char *text);

/* --verbose: by which means this system does I/O. */
void cli_say_backend(struct cli *cli);

/* ---- stream.c ---- */

/* The next bytes, in order; data is NULL for zeros. Anything but 0 ends the stream with it. */
typedef int cli_stream_fn(void *arg, const void *data, uint64_t length);

/* Reads [offset, offset + length) in order, several requests ahead; what the map knows to be zero is not read.
 * Offset and length may be any inside the disk. */
int cli_stream(struct vdisk *disk, uint64_t offset, uint64_t length, const struct vdisk_progress *progress,
               cli_stream_fn *consume, void *arg);

/* ---- The commands ---- */

extern const struct cli_command cli_bench, cli_changes, cli_check, cli_compact, cli_compare, cli_convert, cli_create, cli_hash, cli_info, cli_map, cli_merge, cli_mount, cli_move,
    cli_point, cli_read, cli_relink, cli_resize, cli_serve, cli_snapshot, cli_stats, cli_top, cli_umount, cli_write;

extern const struct cli_command cli_hv_run;

#endif
