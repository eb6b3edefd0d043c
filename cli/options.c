/* SPDX-License-Identifier: BSD-2-Clause */
/* Options: one table a command, beside those that every command knows. Parsing and help come from the same tables. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define OPTIONS_MAX 24

/* What getopt_long returns for the options of every command; those of the command's own follow COMMAND. */
enum { HELP = 'h', QUIET = 'q', VERBOSE = 'v', INPUT_FORMAT = 0x100, PARENT, PARENT_DIR, PARENT_MAP, COMMAND };

static const struct option common[] = {
    {"input-format", required_argument, NULL, INPUT_FORMAT},
    {"parent", required_argument, NULL, PARENT},
    {"parent-dir", required_argument, NULL, PARENT_DIR},
    {"parent-map", required_argument, NULL, PARENT_MAP},
    {"quiet", no_argument, NULL, QUIET},
    {"verbose", no_argument, NULL, VERBOSE},
    {"help", no_argument, NULL, HELP},
};

#define COMMON_COUNT (sizeof(common) / sizeof(*common))

static void help_option(const char *name, const char *argument, const char *text)
{
    char left[40];

    snprintf(left, sizeof(left), "--%s%s%s", name, argument ? " " : "", argument ? argument : "");
    while (text) {
        const char *end = strchrnul(text, '\n');
        printf("  %-29s%.*s\n", left, (int)(end - text), text);
        left[0] = '\0';
        text = *end ? end + 1 : NULL;
    }
}

void cli_help(const struct cli *cli)
{
    const struct cli_command *command = cli->command;
    const char *parent =
        command->parent_help ? command->parent_help : "a file that may be a parent in the chain; may be repeated";

    printf("Usage: %s %s %s [OPTION]...\n%s\n", cli->program->name, command->name, command->operands,
           command->description);
    if (command->options->name)
        printf("\nOptions:\n");
    for (const struct cli_option *option = command->options; option->name; option++)
        help_option(option->name, option->argument, option->help);

    printf("\nOptions of every command:\n");
    help_option("input-format", "FORMAT", "vhd, vhdx or raw, instead of what the file's signature says");
    help_option("parent", "FILE", parent);
    help_option("parent-dir", "DIR", "a directory beneath which parents are looked for");
    help_option("parent-map", "OLD=NEW",
                "where recorded paths of parents are now: 'D:\\VMs=/mnt/vms';\nmay be repeated");
    help_option("quiet", NULL, "errors only: no warnings, notes, summaries, progress");
    help_option("verbose", NULL, "also notes, such as how I/O is done");
    help_option("help", NULL, "this text");

    printf("\nExamples:\n");
    for (const char *line = command->examples; line && *line;) {
        const char *end = strchrnul(line, '\n');
        printf("  %.*s\n", (int)(end - line), line);
        line = *end ? end + 1 : end;
    }
}

static int bad(struct cli *cli, const char *text)
{
    cli_say(cli, VDISK_ERROR, "%s (%s %s --help tells more)", text, cli->program->name, cli->command->name);
    return -EINVAL;
}

static int option_set(struct cli *cli, const struct cli_option *option, char *argument)
{
    const char *why;
    int err;

    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->value = true;
        return 0;
    case CLI_TEXT:
        *(const char **)option->value = argument;
        return 0;
    case CLI_LIST: {
        struct cli_list *list = option->value;

        if (list->count == CLI_LIST_MAX)
            return bad(cli, "an option is given too often");
        list->item[list->count++] = argument;
        return 0;
    }
    case CLI_SIZE:
        err = cli_size_parse(argument, option->value, &why);
        if (err < 0)
            cli_say(cli, VDISK_ERROR, "--%s %s: %s", option->name, argument, why);
        return err;
    }
    return 0;
}

static int common_set(struct cli *cli, int which, char *argument)
{
    switch (which) {
    case QUIET:
        cli->quiet = true;
        return 0;
    case VERBOSE:
        cli->verbose = true;
        return 0;
    case INPUT_FORMAT:
        cli->input_format = argument;
        return 0;
    case PARENT_DIR:
        cli->parent_dir = argument;
        return 0;
    case PARENT_MAP:
        if (!strchr(argument, '=') || cli->map_count == CLI_MAP_MAX)
            return bad(cli, "--parent-map: OLD=NEW is needed, at most 64 times");
        cli->parent_map[cli->map_count++] = argument;
        return 0;
    default:
        if (cli->parent_count == CLI_PARENTS_MAX)
            return bad(cli, "--parent: given too often");
        cli->parents[cli->parent_count++] = argument;
        return 0;
    }
}

/* '?': an option that is not known, or is not told apart; ':': one without its argument. */
static int refuse(struct cli *cli, int which, const char *word)
{
    char text[160], letter[3] = {'-', (char)optopt, '\0'};

    if (which == '?' && optopt > 0 && optopt < 0x100)
        word = letter;
    snprintf(text, sizeof(text), "%.100s: %s", word,
             which == ':'                  ? "an argument is needed"
             : strchr(word, '=') && optopt ? "takes no argument"
                                           : "no such option");
    return bad(cli, text);
}

static void table_make(const struct cli_command *command, struct option table[OPTIONS_MAX])
{
    size_t count = 0;

    memset(table, 0, OPTIONS_MAX * sizeof(*table));
    memcpy(table, common, sizeof(common));
    for (const struct cli_option *option = command->options; option->name; option++, count++) {
        if (COMMON_COUNT + count + 1 >= OPTIONS_MAX)
            abort();
        table[COMMON_COUNT + count] = (struct option){
            option->name, option->kind == CLI_FLAG ? no_argument : required_argument, NULL, COMMAND + (int)count};
    }
}

static int operands_check(struct cli *cli, int count, char **operand)
{
    char text[120];

    for (int i = 0; i < count; i++)
        if (operand[i][0] == '\0')
            return bad(cli, "a file name is empty");
    if (count <= cli->command->operand_count && count >= cli->command->operand_count - cli->command->operand_optional)
        return 1;
    snprintf(text, sizeof(text), "%s: usage: %s %s %s",
             count < cli->command->operand_count ? "too few files" : "too many files", cli->program->name, cli->command->name,
             cli->command->operands);
    return bad(cli, text);
}

/* Cuts what stands after "--" off for a command that gives it to another program. */
static int rest_cut(struct cli *cli, int argc, char **argv)
{
    cli->rest = argv + argc;
    for (int i = 1; i < argc && cli->command->rest; i++) {
        if (strcmp(argv[i], "--") != 0)
            continue;
        argv[i] = NULL;
        cli->rest = argv + i + 1;
        return i;
    }
    return argc;
}

int cli_parse(struct cli *cli, int argc, char **argv, char ***operand)
{
    struct option table[OPTIONS_MAX];
    int which, err;

    argc = rest_cut(cli, argc, argv);
    table_make(cli->command, table);
    opterr = 0;
    while ((which = getopt_long(argc, argv, ":hqv", table, NULL)) != -1) {
        if (which == '?' || which == ':')
            return refuse(cli, which, argv[optind - 1]);
        if (which == HELP) {
            cli_help(cli);
            return 0;
        }
        err = which >= COMMAND ? option_set(cli, &cli->command->options[which - COMMAND], optarg)
                               : common_set(cli, which, optarg);
        if (err < 0)
            return err;
    }
    *operand = argv + optind;
    return operands_check(cli, argc - optind, *operand);
}
