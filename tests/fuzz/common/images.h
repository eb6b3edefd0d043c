/* SPDX-License-Identifier: BSD-2-Clause */
/* The images that fuzzing begins with: made by the library, in memory, and the same in every run. */
#ifndef FUZZ_IMAGES_H
#define FUZZ_IMAGES_H

#include "disk/disk.h"
#include "tests/fuzz/common/scene.h"

struct image_shape {
    const char *format;
    enum disk_type type;
    uint64_t size;
    uint32_t block_size, sector_size;
    struct medium *parent; /* DIFFERENCING: known as parent_name */
    const char *parent_name;
};

/* With data at the beginning, around the edge of the first block, and at the end. */
struct medium *image_make(const struct image_shape *shape);

/* A VHDX whose log holds the first page of its BAT and of its metadata items, which stand only there. */
enum image_log { IMAGE_LOG_ONE, IMAGE_LOG_WRAPS, IMAGE_LOG_TWO };
struct medium *image_make_logged(enum image_log kind);

/* Scenes with the windows of each format. All but the first file are only read. */
void images_add_vhd(void);
void images_add_vhdx(void);
void images_add_logs(void);
void images_add_locators(void);
void images_add_chains(void);

#endif
