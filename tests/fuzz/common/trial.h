/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done with an image that anybody may have made, and what must hold: no crash, no write where nothing may be
 * written, a message for each refusal, extents inside their file, and: what check calls clean opens, can be read and
 * written, reads back, and is clean afterwards.
 */
#ifndef FUZZ_TRIAL_H
#define FUZZ_TRIAL_H

#include "tests/fuzz/common/scene.h"

#define TRIAL_CHECK 0x1u /* vdisk_check */
#define TRIAL_READ 0x2u  /* open for reading: info, map, reads */
#define TRIAL_WRITE 0x4u /* open for writing on a copy: a guest's work, then all of it again */
#define TRIAL_REPAIR 0x8u /* repair of a copy: nothing that could be read reads otherwise */

/* Lays the input and tries it. The result is what LLVMFuzzerTestOneInput returns. */
int trial_run(const uint8_t *input, size_t size, unsigned what);

#endif
