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
#define MUTANT(name) mutant_chosen(name)
#define MUTANT_CODE(format, code) mutant_code_chosen(format, code)
#else
#define MUTANT(name) false
#define MUTANT_CODE(format, code) false
#endif

#endif
