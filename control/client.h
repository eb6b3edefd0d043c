/* SPDX-License-Identifier: BSD-2-Clause */
/* Asking the process that holds an image open (docs/control.md). */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

#include <jansson.h>
#include <sys/types.h>

#include "disk/vdisk.h"

struct control;

/* Connects to the holder of the image at path. -ENOENT: there is none that can be asked, which does not mean that there is
 * none: the lock tells that. */
int control_open(const char *image, struct control **control);
/* The same for a file that is beneath the disk in the holder's chain. */
int control_open_beneath(const char *file, struct control **control);
void control_close(struct control *control); /* NULL is allowed; cancels what is being done */

pid_t control_holder_pid(const struct control *control); /* 0: not known here */

/* Asks for an operation and waits for its end. request: an object with "do" and the operation's members; it is taken.
 * progress (may be NULL) is told and may cancel; what the holder says meanwhile, an error's sentence too, goes to log.
 * *result, on success, is the caller's. 0 or -errno, said. */
int control_call(struct control *control, json_t *request, const struct vdisk_progress *progress,
                 const struct vdisk_log *log, json_t **result);

#endif
