/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages: "<program>: <text>", one line each, to standard error. An error is said once, by whoever knows most. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* C0, DEL, and C1 as UTF-8 has it. */
static bool is_control(const unsigned char *text)
{
    return *text < 0x20 || *text == 0x7f || (text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0);
}

void cli_put_text(FILE *stream, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (is_control(p))
            fprintf(stream, "\\x%02x", *p);
        else
            putc(*p, stream);
    }
}

static void log_print(void *arg, enum vdisk_level level, const char *text)
{
    static const char *const words[] = {"", "warning: ", "note: "};
    struct cli *cli = arg;

    pthread_mutex_lock(&cli->lock);
    if (level == VDISK_ERROR)
        cli->errors++;
    if (level == VDISK_ERROR || (level == VDISK_WARNING && !cli->quiet) || (level == VDISK_NOTE && cli->verbose)) {
        cli_progress_hide(cli);
        fflush(stdout);
        flockfile(stderr);
        fprintf(stderr, "%s: %s", cli->program->name, words[level]);
        cli_put_text(stderr, text);
        fputs(cli->raw_terminal ? "\r\n" : "\n", stderr);
        funlockfile(stderr);
    }
    pthread_mutex_unlock(&cli->lock);
}

void cli_message_init(struct cli *cli)
{
    pthread_mutex_init(&cli->lock, NULL);
    cli->log = (struct vdisk_log){log_print, cli};
}

static void say(struct cli *cli, enum vdisk_level level, const char *format, va_list args)
{
    char *text;

    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    log_print(cli, level, text ? text : "out of memory");
    free(text);
}

void cli_say(struct cli *cli, enum vdisk_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(cli, level, format, args);
    va_end(args);
}

int cli_fail(struct cli *cli, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(cli, VDISK_ERROR, format, args);
    va_end(args);
    return cli->command->failure;
}

int cli_error(struct cli *cli, const char *name, int error)
{
    if (error == -ECANCELED && cli_cancel)
        return cli_fail(cli, "interrupted");
    if (cli->errors == 0)
        return cli_fail(cli, "%s: %s", name, strerror(-error));
    return cli->command->failure;
}

int cli_finish_output(struct cli *cli, int status)
{
    int error;

    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    error = errno ? errno : EIO;
    if (error != EPIPE)
        cli_say(cli, VDISK_ERROR, "standard output: %s", strerror(error));
    return status != EXIT_SUCCESS ? status : cli->command ? cli->command->failure : EXIT_FAILURE;
}
