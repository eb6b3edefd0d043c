/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VHD format, for the library's list of formats.
 */
#ifndef VHD_FORMAT_H
#define VHD_FORMAT_H

#include "disk/disk.h"

extern const struct disk_format vhd_format;

#endif
