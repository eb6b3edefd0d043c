/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where control sockets are: in a directory that only their owner may enter, under a name that begins with the image's
 * device and inode and ends with a number drawn by lot. The image is what is known to who asks, whatever path led there;
 * the number tells several holders of one image (readers) apart and is never used again, so a socket on which nobody
 * listens is dead and may be removed by anybody who finds it.
 */
#ifndef CONTROL_PLACE_H
#define CONTROL_PLACE_H

#include <sys/types.h>

#define PLACE_NAME_MAX 64

struct stat;

/* Opens this process's own directory, making it if need be: $VDISK_RUNTIME_DIR; or as root /run/vdisk; or
 * $XDG_RUNTIME_DIR/vdisk; or /tmp/vdisk-UID. A descriptor or -errno. path, if not NULL, is what it is called; also where
 * the call fails. */
int place_open_own(char path[4096]);

void place_name(const struct stat *image, char name[PLACE_NAME_MAX]);

/* A socket that listens in the directory under name, for its owner only. A descriptor or -errno. */
int place_listen(int directory, const char *name);

/* A holder of the image at path whose socket answers: a connected descriptor, or -ENOENT. */
int place_connect(const char *image);

#endif
