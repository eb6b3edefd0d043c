/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk of some kind on simulated storage, its parent, a ring, and a guest that remembers: what the tests of power
 * cuts and faults begin with.
 */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "disk/disk.h"
#include "tests/guest.h"

struct rig_config {
    const char *format;
    enum disk_type type;
    uint32_t block_size, sector_size;
    uint64_t size;
};

extern const struct rig_config rig_configs[];
extern const size_t rig_config_count;

/* Of a large disk one block in so many is used. */
unsigned rig_stride(const struct rig_config *config);

/* Is it of the format that RIG_ONLY in the environment names, if it does? A large one is called "many". */
bool rig_wanted(const struct rig_config *config);

/* Of every sector of the parent of a differencing disk. */
#define RIG_PARENT_GENERATION 1u

struct rig {
    const struct rig_config *config;
    const struct disk_format *format;
    struct storage *parent, *storage; /* parent: NULL where there is none */
    struct guest *guest;
    struct vdisk_ring *ring;
    struct rng rng;
    uint64_t seed;
    uint32_t *values[2];   /* room for guest_read, once the guest has run */
    bool chaos;            /* the ring is chaos.h's */
    bool quiet;            /* errors are counted, not shown */
    _Atomic unsigned said; /* errors that the library told */
    char where[160];       /* for messages */
};

/* A fresh disk; what the backend is, and whether the storage knows holes, is by the seed. */
void rig_open(struct rig *rig, const struct rig_config *config, uint64_t seed);
void rig_close(struct rig *rig);

/* Room in values for what the guest has touched by now. */
void rig_ready(struct rig *rig);

/* A disk on the storage (with rig's parent) or -errno; rig_disk ends the test instead. */
int rig_try(struct rig *rig, struct storage *storage, bool writable, struct vdisk **disk);
struct vdisk *rig_disk(struct rig *rig, struct storage *storage, bool writable);
void rig_shut(struct rig *rig, struct vdisk *disk); /* must succeed */

void rig_check(struct rig *rig, struct storage *storage); /* must be clean */

/* All that the guest touched. */
void rig_read(struct rig *rig, struct vdisk *disk, uint32_t *values);

/* The n-th way to choose among count pending operations of a cut (enum storage_keep each), the plain ones first, seeded
 * from there on. */
void rig_choose(struct rng *rng, uint64_t n, size_t count, uint8_t *keep);

/* Writes the parent beside a file of the storage's bytes, under the name by which the child knows it. */
void rig_save(struct rig *rig, struct storage *storage, const char *dir, const char *name);

#endif
