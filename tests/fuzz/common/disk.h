/* SPDX-License-Identifier: BSD-2-Clause */
/* A small disk in memory for targets that fuzz what stands before a disk: the same for every input, and fresh. */
#ifndef FUZZ_DISK_H
#define FUZZ_DISK_H

#include "tests/fuzz/common/target.h"

#define FUZZ_DISK_SIZE (8u << 20)

struct fuzz_disk {
    struct medium *memory;
    struct vdisk_port *port;
};

void fuzz_disk_open(struct fuzz_disk *disk);
void fuzz_disk_close(struct fuzz_disk *disk);

/* In the environment FUZZ_SEEDS: a directory, where the input is put. */
void fuzz_disk_seed(const char *name, const void *input, size_t size);

/* The next bytes of an input; zeros when it has ended. */
struct fuzz_bytes {
    const uint8_t *at;
    size_t left;
};

void fuzz_take(struct fuzz_bytes *bytes, void *into, size_t size);

#endif
