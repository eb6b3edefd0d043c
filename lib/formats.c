/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The only place that names all formats. A file is asked for each signature in this order; raw, which has none, is last.
 */
#include "disk/raw.h"
#include "vhd/vhd_format.h"
#include "vhdx/vhdx_format.h"

const struct disk_format *const disk_formats[] = {&vhdx_format, &vhd_format, &raw_format, NULL};
