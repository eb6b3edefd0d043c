/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that are only memory, sparse, and cheap to copy; and the few names under which the library finds them: the link
 * of a fuzz target replaces file_open by one that knows these names and no others.
 *
 * Writing to a file that was not opened for writing ends the process: that is a finding.
 */
#ifndef FUZZ_MEDIUM_H
#define FUZZ_MEDIUM_H

#include "disk/file.h"

struct medium;

struct medium *medium_new(void);
/* Shows what base shows now; base must stay as it is, and live longer. */
struct medium *medium_over(struct medium *base);
struct medium *medium_copy(const struct medium *memory);
void medium_free(struct medium *memory);

uint64_t medium_size(const struct medium *memory);
void medium_read(const struct medium *memory, void *buffer, size_t length,
                 uint64_t position); /* zeros behind the end */
void medium_write(struct medium *memory, const void *buffer, size_t length, uint64_t position); /* grows */
int medium_resize(struct medium *memory, uint64_t size);

/* A file over it, under the library's own rules. */
struct file *medium_open(struct medium *memory, const char *name, bool writable, const struct vdisk_log *log);

/* The names. At most MEDIUM_NAMES; name is not copied; memory NULL takes it away. */
#define MEDIUM_NAMES 8
void medium_name(unsigned slot, const char *name, struct medium *memory);

#endif
