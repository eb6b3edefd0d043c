/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a disk must hold, as a number for each sector: 0 means zeros, any other number is the generation of the write
 * that was last. A written sector carries its own number and generation in every 8 bytes, so that whatever comes back
 * from a disk says where it is from: the right write, an older one, another sector's, or nobody's.
 */
#ifndef TESTS_CONTENT_H
#define TESTS_CONTENT_H

#include <stdatomic.h>

#include "tests/support.h"

#define CONTENT_MAYBE 0x80000000u /* discarded: the generation, or zeros; pinned by the first read */
#define CONTENT_BAD 0xffffffffu

struct content {
    uint64_t size, sectors;
    uint32_t sector_size;
    _Atomic uint32_t *value; /* by sector */
    _Atomic uint32_t generation; /* the newest given out */
};

void content_open(struct content *content, uint64_t size, uint32_t sector_size);
void content_close(struct content *content);

/* As a child of this size shows it at first: shorter or longer, zeros behind. */
void content_copy(struct content *to, const struct content *from, uint64_t size);

/* Writes the sectors' stamps of this generation. */
void content_fill(const struct content *content, void *buffer, uint64_t sector, uint64_t count, uint32_t generation);

/* What one sector's bytes are: 0 zeros, a generation, or CONTENT_BAD. bytes NULL: zeros. */
uint32_t content_decode(const struct content *content, const void *bytes, uint64_t sector);

/* Is every word of the sector zero (if zero), or of generation old (if not 0), or newer than newer? For a read that met
 * writes: words of several are all right. */
bool content_mixed(const struct content *content, const void *bytes, uint64_t sector, bool zero, uint32_t old,
                   uint32_t newer);

/* Is this what the sector must hold? Pins a discarded one. */
bool content_match(struct content *content, const void *bytes, uint64_t sector);

/* To stderr: what must be there and what is. */
void content_explain(const struct content *content, const void *bytes, uint64_t sector);

/* Reads the whole disk by its map and asks about each sector, in order; what the map calls DATA is also read from the
 * owner's file, what it calls ZERO must be zeros. far: does not read what the map calls ZERO. */
typedef bool content_accept(void *arg, uint64_t sector, const void *bytes);
void content_walk(const struct content *content, struct vdisk *disk, struct vdisk_ring *ring, bool far,
                  content_accept *accept, void *arg);

/* content_walk with content_match. */
void content_verify(struct content *content, struct vdisk *disk, struct vdisk_ring *ring, bool far);

#endif
