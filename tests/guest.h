/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that remembers what it did and what it was told: which values may a sector have after a cut?
 *
 * A sector may hold the last value that was acknowledged before a flush was asked for that was acknowledged before the
 * cut, or any value submitted later. Requests on one sector never overlap in time.
 */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include "tests/content.h"
#include "tests/storage.h"

struct guest;

/* initial: the value of all sectors at first (a parent's generation, or 0). */
struct guest *guest_new(uint64_t size, uint32_t sector_size, uint32_t initial);
void guest_free(struct guest *guest);

/* Random requests on the open disk, several in flight, then waits for them all. Hot spots at the same places of every
 * block, so that requests meet; what is far from them is written but not watched. Failing requests are legal if errors.
 */
struct guest_load {
    unsigned requests;
    uint32_t block_size;
    unsigned flush_every; /* about */
    unsigned stride;      /* only one block in so many is used; 0: all */
    bool errors;
    bool no_fua;
    struct vdisk_port *port; /* not NULL: what the requests come through */
};
void guest_run(struct guest *guest, struct vdisk *disk, struct vdisk_ring *ring, struct rng *rng,
               const struct guest_load *load);

/* Is this sector looked at, in blocks of so many sectors? */
bool guest_watches(uint64_t number, uint64_t per);

/* Times at which a flush was acknowledged. */
size_t guest_flushes(const struct guest *guest, const uint64_t **times);

/* Beside guest_run something made durable, by done, what was acknowledged by submitted: a close. */
void guest_note_flush(struct guest *guest, uint64_t submitted, uint64_t done);

/* Requests that failed, in all. */
uint64_t guest_errors(const struct guest *guest);

/* Reads every watched sector that was ever written into values (one for each of guest_touched). What reads need of the
 * map is loaded first: no thread is started for it. */
size_t guest_touched(const struct guest *guest);
uint64_t guest_sector(const struct guest *guest, size_t index); /* the number of a touched sector */
int guest_read(const struct guest *guest, struct vdisk *disk, struct vdisk_ring *ring, uint32_t *values);

/* Is every value possible after a cut at time? If not, *sector is the first that is not, and why is a sentence. */
bool guest_possible(const struct guest *guest, const uint32_t *values, uint64_t time, char why[256]);

/* The same without a cut: everything acknowledged is there. */
bool guest_holds(const struct guest *guest, const uint32_t *values, char why[256]);

/* What guest_read read is from now on what there is. */
void guest_pin(struct guest *guest, const uint32_t *values);

#endif
