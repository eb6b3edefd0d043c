/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring's backend that does all that a kernel may: it moves pieces late and in any order, a part of them, or not yet
 * (-EAGAIN, -EINTR, -ECANCELED), and tells of what it has moved later still. Seeded.
 */
#ifndef TESTS_CHAOS_H
#define TESTS_CHAOS_H

#include "tests/support.h"

struct file;

/* Takes the place of an idle ring's backend, until the ring is closed. */
void chaos_install(struct vdisk_ring *ring, uint64_t seed);

/* Pieces of this file, which has no descriptor, go through the backend from now on. */
void chaos_route(struct file *file);

#endif
