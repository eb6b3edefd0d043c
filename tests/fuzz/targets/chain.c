/* SPDX-License-Identifier: BSD-2-Clause */
/* Three links: identities, names, sizes, types. */
#include "tests/fuzz/common/target.h"

FUZZ_TARGET(TRIAL_CHECK | TRIAL_READ | TRIAL_WRITE, images_add_chains())
