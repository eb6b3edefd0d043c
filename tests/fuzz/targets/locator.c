/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a child says that its parent is, and who. */
#include "tests/fuzz/common/target.h"

FUZZ_TARGET(TRIAL_CHECK | TRIAL_READ | TRIAL_WRITE, images_add_locators())
