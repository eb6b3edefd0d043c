/* SPDX-License-Identifier: BSD-2-Clause */
/* How a run of a program begins and ends, and how its command is found. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

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

static const struct cli_command *command_find(const struct cli_program *program, const char *name)
{
    for (unsigned i = 0; program->commands[i]; i++)
        if (strcmp(program->commands[i]->name, name) == 0)
            return program->commands[i];
    return NULL;
}

static void overview(const struct cli_program *program, FILE *stream)
{
    fprintf(stream, "Usage: %s COMMAND [OPTION]... %s\n%s\n\nCommands:\n", program->name, program->operands,
            program->summary);
    for (unsigned i = 0; program->commands[i]; i++)
        fprintf(stream, "  %-10s%s\n", program->commands[i]->name, program->commands[i]->summary);
    fprintf(stream,
            "\n%s COMMAND --help tells its options and gives examples; %s --version tells the version.\n"
            "\nA minute's tour:\n%s",
            program->name, program->name, program->tour);
}

static int unknown(struct cli *cli, const char *name)
{
    cli_say(cli, VDISK_ERROR, "%s: no such %s (%s --help lists the commands)", name,
            name[0] == '-' ? "option" : "command", cli->program->name);
    return EXIT_FAILURE;
}

static int help(struct cli *cli, const char *name)
{
    cli->command = name ? command_find(cli->program, name) : NULL;
    if (name && !cli->command)
        return unknown(cli, name);
    if (cli->command)
        cli_help(cli);
    else
        overview(cli->program, stdout);
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
        overview(cli->program, stderr);
        return EXIT_FAILURE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return help(cli, argv[2]);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("%s %s\n", cli->program->name, vdisk_version());
        return EXIT_SUCCESS;
    }
    cli->command = command_find(cli->program, word);
    return cli->command ? command_run(cli, argc - 1, argv + 1) : unknown(cli, word);
}

int cli_main(const struct cli_program *program, int argc, char **argv)
{
    static struct cli cli;

    cli.program = program;
    descriptors_init();
    signals_init();
    cli_message_init(&cli);
    return cli_finish_output(&cli, dispatch(&cli, argc, argv));
}
