/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where control sockets are: in a directory that only their owner may enter, under a name that begins with the image's
 * device and inode and ends with a number drawn by lot. The image is what is known to who asks, whatever path led
 * there; the number tells several holders of one image (readers) apart and is never used again, so a socket on which
 * nobody listens is dead and may be removed by anybody who finds it. The files beneath the image are further names of
 * its socket.
 */
#ifndef CONTROL_PLACE_H
#define CONTROL_PLACE_H

#include <stdint.h>
#include <sys/types.h>

#define PLACE_NAME_MAX 64

struct stat;

/* Opens this process's own directory, making it if need be: $VDISK_RUNTIME_DIR; or as root /run/vdisk; or
 * $XDG_RUNTIME_DIR/vdisk; or /tmp/vdisk-UID. A descriptor or -errno. path, if not NULL, is what it is called; also where
 * the call fails. */
int place_open_own(char path[4096]);

/* What a file is to the holder: the disk itself, or a link beneath it. The character stands in the socket's name. */
enum place_role { PLACE_DISK = '.', PLACE_BENEATH = '+' };

uint64_t place_lot(void);
void place_name(const struct stat *file, enum place_role role, uint64_t lot, char name[PLACE_NAME_MAX]);

/* Removes the names that a socket has for the files beneath. */
void place_forget_beneath(int directory, uint64_t lot);

/* A socket that listens in the directory under name, for its owner only. A descriptor or -errno. */
int place_listen(int directory, const char *name);

/* A holder of the file whose socket answers: a connected descriptor, or -ENOENT. */
int place_connect(const char *file, enum place_role role);

#endif
