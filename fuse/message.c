/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages: "vdisk: <text>" to standard error, as the other commands say them; to syslog once nobody reads that. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

#include "export.h"

bool message_quiet, message_verbose;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool to_system;
static unsigned errors;

static void put(FILE *stream, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            fprintf(stream, "\\x%02x", *p);
        else
            putc(*p, stream);
    }
}

void message_print(void *arg, enum vdisk_level level, const char *text)
{
    static const char *const words[] = {"", "warning: ", "note: "};
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO};

    (void)arg;
    pthread_mutex_lock(&lock);
    errors += level == VDISK_ERROR;
    if (to_system) {
        syslog(priorities[level], "%s", text);
    } else if (level == VDISK_ERROR || (level == VDISK_WARNING && !message_quiet) ||
               (level == VDISK_NOTE && message_verbose)) {
        fprintf(stderr, "vdisk: %s", words[level]);
        put(stderr, text);
        putc('\n', stderr);
    }
    pthread_mutex_unlock(&lock);
}

void message_say(enum vdisk_level level, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    message_print(NULL, level, text ? text : "out of memory");
    free(text);
}

unsigned message_errors(void)
{
    unsigned count;

    pthread_mutex_lock(&lock);
    count = errors;
    pthread_mutex_unlock(&lock);
    return count;
}

void message_to_system(void)
{
    openlog("vdisk", LOG_PID, LOG_DAEMON);
    pthread_mutex_lock(&lock);
    to_system = true;
    pthread_mutex_unlock(&lock);
}
