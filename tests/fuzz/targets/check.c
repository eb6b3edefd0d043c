/* SPDX-License-Identifier: BSD-2-Clause */
/* Check alone, which is fast, over everything but chains; what it calls clean must open and be readable. */
#include "tests/fuzz/common/target.h"

static void add_all(void)
{
    images_add_vhd();
    images_add_vhdx();
}

FUZZ_TARGET(TRIAL_CHECK | TRIAL_READ, add_all())
