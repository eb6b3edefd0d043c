/* SPDX-License-Identifier: BSD-2-Clause */
/* The VHDX format, for the library's list of formats. [MS-VHDX] */
#ifndef VHDX_FORMAT_H
#define VHDX_FORMAT_H

#include "disk/disk.h"

extern const struct disk_format vhdx_format;

#endif
