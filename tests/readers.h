/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Readers that are not ours, as processes with a time limit: what do they find in an image file? Each is used where it is
 * installed and right (docs/formats.md says where they are not).
 */
#ifndef TESTS_READERS_H
#define TESTS_READERS_H

#include "disk/disk.h"
#include "tests/support.h"

enum reader { READER_QEMU, READER_QEMU_REPLAY, READER_7ZIP, READER_VHDI, READERS };

const char *reader_name(enum reader reader);

/* Can this reader be asked about such a file? dirty: with a log to be replayed. */
bool reader_knows(enum reader reader, const char *format, enum disk_type type, bool dirty);

/* Writes what the disk in dir/name shows to dir/name.out, which the caller removes. False: it could not; why has the
 * reason. READER_QEMU_REPLAY changes the file. */
bool reader_read(enum reader reader, const char *dir, const char *name, const char *format, char why[256]);

#endif
