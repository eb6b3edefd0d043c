/* SPDX-License-Identifier: BSD-2-Clause */
/* The log of VHDX: replay in memory and in the file. */
#include "tests/fuzz/common/target.h"

FUZZ_TARGET(TRIAL_CHECK | TRIAL_READ | TRIAL_WRITE | TRIAL_REPAIR, images_add_logs())
