/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Deliberate faults, for the tests of the tests: each MUTANT("name") in the sources is a place where the code can be
 * told to be wrong. In a build with -DVDISK_MUTANTS the environment variable VDISK_MUTANT names the one that is;
 * in every other build they are not there. tests/mutants.sh finds the names by reading the sources.
 *
 * Each thing that is verified in a file is such a place too, named by the format and the fault's code,
 * "vhdx/header-checksum": where that is chosen, the fault is not seen.
 */
#ifndef DISK_MUTANT_H
#define DISK_MUTANT_H

#include <stdbool.h>

#ifdef VDISK_MUTANTS
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static inline bool mutant_chosen(const char *name)
{
    const char *chosen = getenv("VDISK_MUTANT");

    return chosen && strcmp(chosen, name) == 0;
}

static inline bool mutant_code_chosen(const char *format, const char *code)
{
    const char *chosen = getenv("VDISK_MUTANT");
    size_t length = strlen(format);

    return chosen && strncmp(chosen, format, length) == 0 && chosen[length] == '/' &&
           strcmp(chosen + length + 1, code) == 0;
}
/* Asked once at each place: some are between two instructions that must not be far from each other. */
#define MUTANT(name)                                                                                                   \
    ({                                                                                                                 \
        static _Atomic signed char mutant = -1;                                                                        \
        if (atomic_load_explicit(&mutant, memory_order_relaxed) < 0)                                                   \
            atomic_store_explicit(&mutant, mutant_chosen(name), memory_order_relaxed);                                 \
        atomic_load_explicit(&mutant, memory_order_relaxed);                                                           \
    })
#define MUTANT_CODE(format, code) mutant_code_chosen(format, code)
#else
#define MUTANT(name) false
#define MUTANT_CODE(format, code) false
#endif

#endif
