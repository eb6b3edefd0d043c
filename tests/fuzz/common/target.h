/* SPDX-License-Identifier: BSD-2-Clause */
/* A libFuzzer target in three lines: the scenes it adds, and what is tried on them. */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include "tests/fuzz/common/images.h"
#include "tests/fuzz/common/trial.h"

/* In the environment FUZZ_SEEDS: a directory, where the inputs that change nothing are put. */
void target_seeds(void);

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define FUZZ_TARGET(what, scenes)                                                                                      \
    int LLVMFuzzerInitialize(int *argc, char ***argv)                                                                  \
    {                                                                                                                  \
        (void)argc, (void)argv;                                                                                        \
        scenes;                                                                                                        \
        target_seeds();                                                                                                \
        return 0;                                                                                                      \
    }                                                                                                                  \
    int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)                                                      \
    {                                                                                                                  \
        return trial_run(input, size, what);                                                                           \
    }

#endif
