/* SPDX-License-Identifier: BSD-2-Clause */
/* fw_cfg: files for the firmware, by ports and by DMA. Under the machine's lock. */
#ifndef VMM_FWCFG_H
#define VMM_FWCFG_H

#include <stdint.h>

#include "bus.h"

#define FWCFG_FILES_MAX 16u

struct machine;

struct fwcfg_item {
    uint16_t key;
    const void *data;
    uint32_t size;
};

/* What a saved machine holds of it. */
struct fwcfg_state {
    uint16_t key;
    uint32_t at;
    uint32_t dma_high;
};

struct fwcfg {
    struct machine *machine;
    struct bus_range ports, dma;
    unsigned item_count, file_count;
    struct fwcfg_item item[FWCFG_FILES_MAX + 16];
    uint8_t directory[4 + FWCFG_FILES_MAX * 64];
    uint8_t numbers[64]; /* of fixed items */
    uint32_t number_size;
    struct fwcfg_state state;
};

int fwcfg_open(struct fwcfg *fwcfg, struct machine *machine);
void fwcfg_close(struct fwcfg *fwcfg);

/* The data is the caller's and stays. Too many, or too long a name, is our bug. */
void fwcfg_file_add(struct fwcfg *fwcfg, const char *name, const void *data, uint32_t size);
void fwcfg_number_add(struct fwcfg *fwcfg, uint16_t key, uint64_t value, unsigned size);

#endif
