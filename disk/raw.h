/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DISK_RAW_H
#define DISK_RAW_H

#include "disk.h"

extern const struct disk_format raw_format;

#endif
