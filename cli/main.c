/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk: the table of commands, and how a run begins and ends. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct cli_command *const commands[] = {
    &cli_create, &cli_info,  &cli_map,  &cli_convert, &cli_compare, &cli_check,
    &cli_read,   &cli_write, &cli_hash, &cli_resize, &cli_bench,   &cli_mount, &cli_umount, &cli_serve,
    &cli_snapshot, &cli_stats, &cli_top, NULL,
};

volatile sig_atomic_t cli_cancel;

static void cancel(int number)
{
    (void)number;
    cli_cancel = 1;
}

/* A signal asks the work to undo itself: no SA_RESTART, so that a blocked read returns. SIGHUP stays ignored under
 * nohup; SIGINT is taken even by a script's background job. A closed pipe is an error of write, not a death. */
static void signals_init(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = cancel};

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        struct sigaction old;
        if (sigaction(numbers[i], NULL, &old) == 0 && (numbers[i] != SIGHUP || old.sa_handler != SIG_IGN))
            sigaction(numbers[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

/* A disk must not be opened as what a message is printed to: where a standard descriptor is closed, one stands in that
 * fails. */
static void descriptors_init(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            exit(EXIT_FAILURE);
}

static const struct cli_command *command_find(const char *name)
{
    for (unsigned i = 0; commands[i]; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static void overview(FILE *stream)
{
    fputs("Usage: vdisk COMMAND [OPTION]... FILE...\n"
          "Create, read, write, convert and check virtual disks (VHD, VHDX, raw).\n\n"
          "Commands:\n",
          stream);
    for (unsigned i = 0; commands[i]; i++)
        fprintf(stream, "  %-10s%s\n", commands[i]->name, commands[i]->summary);
    fputs("\nvdisk COMMAND --help tells its options and gives examples; vdisk --version tells the version.\n"
          "\nA minute's tour:\n"
          "  vdisk create base.vhdx --size 127G          a dynamic disk: takes space as it is filled\n"
          "  vdisk create child.vhdx --parent base.vhdx  a differencing disk: keeps changes apart\n"
          "  vdisk convert child.vhdx flat.vhd           the whole content in another format\n"
          "  vdisk compare child.vhdx flat.vhd           the same bytes?\n"
          "  vdisk check child.vhdx                      is the file sound?\n",
          stream);
}

static int unknown(struct cli *cli, const char *name)
{
    cli_say(cli, VDISK_ERROR, "%s: no such %s (vdisk --help lists the commands)", name,
            name[0] == '-' ? "option" : "command");
    return EXIT_FAILURE;
}

static int help(struct cli *cli, const char *name)
{
    const struct cli_command *command = name ? command_find(name) : NULL;

    if (name && !command)
        return unknown(cli, name);
    if (command)
        cli_help(command);
    else
        overview(stdout);
    return EXIT_SUCCESS;
}

static int command_run(struct cli *cli, int argc, char **argv)
{
    char **operand;
    int err = cli_parse(cli, argc, argv, &operand);

    if (err < 0)
        return cli->command->failure;
    return err == 0 ? EXIT_SUCCESS : cli->command->run(cli, operand);
}

static int dispatch(struct cli *cli, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;

    if (!word) {
        overview(stderr);
        return EXIT_FAILURE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return help(cli, argv[2]);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("vdisk %s\n", vdisk_version());
        return EXIT_SUCCESS;
    }
    cli->command = command_find(word);
    return cli->command ? command_run(cli, argc - 1, argv + 1) : unknown(cli, word);
}

int main(int argc, char **argv)
{
    static struct cli cli;

    descriptors_init();
    signals_init();
    cli_message_init(&cli);
    return cli_finish_output(&cli, dispatch(&cli, argc, argv));
}
