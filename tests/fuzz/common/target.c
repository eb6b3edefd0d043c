/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/fuzz/common/target.h"

void target_seeds(void)
{
    const char *dir = getenv("FUZZ_SEEDS");
    static uint8_t input[4096];

    for (unsigned i = 0; i < fuzz_scene_count && dir && *dir; i++) {
        size_t size = scene_seed(i, input, sizeof(input));
        char path[TEST_PATH];
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", dir, fuzz_scene[i].name[0]);
        file = fopen(path, "w");
        test_true(file && fwrite(input, 1, size, file) == size && fclose(file) == 0);
    }
}
