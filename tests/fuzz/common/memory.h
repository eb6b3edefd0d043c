/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that are only memory, sparse, and cheap to copy; and the few names under which the library finds them: the link
 * of a fuzz target replaces file_open by one that knows these names and no others.
 *
 * Writing to a file that was not opened for writing ends the process: that is a finding.
 */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

#include "disk/file.h"

struct memory;

struct memory *memory_new(void);
/* Shows what base shows now; base must stay as it is, and live longer. */
struct memory *memory_over(struct memory *base);
struct memory *memory_copy(const struct memory *memory);
void memory_free(struct memory *memory);

uint64_t memory_size(const struct memory *memory);
void memory_read(const struct memory *memory, void *buffer, size_t length,
                 uint64_t position); /* zeros behind the end */
void memory_write(struct memory *memory, const void *buffer, size_t length, uint64_t position); /* grows */
int memory_resize(struct memory *memory, uint64_t size);

/* A file over it, under the library's own rules. */
struct file *memory_open(struct memory *memory, const char *name, bool writable, const struct vdisk_log *log);

/* The names. At most MEMORY_NAMES; name is not copied; memory NULL takes it away. */
#define MEMORY_NAMES 8
void memory_name(unsigned slot, const char *name, struct memory *memory);

#endif
