/* SPDX-License-Identifier: BSD-2-Clause */
/* Check and repair, over everything but logs and chains. */
#include "tests/fuzz/common/target.h"

static void add_all(void)
{
    images_add_vhd();
    images_add_vhdx();
}

FUZZ_TARGET(TRIAL_CHECK | TRIAL_READ | TRIAL_REPAIR, add_all())
