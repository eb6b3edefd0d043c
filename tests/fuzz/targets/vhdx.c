/* SPDX-License-Identifier: BSD-2-Clause */
/* VHDX: identifier, headers, region tables, metadata, BAT, sector bitmaps. */
#include "tests/fuzz/common/target.h"

FUZZ_TARGET(TRIAL_CHECK | TRIAL_READ | TRIAL_WRITE, images_add_vhdx())
