/* SPDX-License-Identifier: BSD-2-Clause */
#include "job.h"

static void print(void *arg, enum vdisk_level level, const char *text)
{
    struct control_log *log = arg;

    if (log->next.print)
        log->next.print(log->next.arg, level, text);
    pthread_mutex_lock(&log->lock);
    if (log->server)
        queue_say(server_queue(log->server), level, text);
    pthread_mutex_unlock(&log->lock);
}

struct vdisk_log control_log(struct control_log *log)
{
    return (struct vdisk_log){print, log};
}
