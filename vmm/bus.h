/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports and memory-mapped registers: which device answers at an address. Two of them in a machine, for PIO and MMIO.
 *
 * Everything here, the callbacks included, is under the machine's lock.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdint.h>

#define BUS_RANGES_MAX 192u

struct bus_range {
    uint64_t start, size;
    void *owner; /* given to the callbacks */

    /* offset: from start; size: 1, 2, 4 or 8 bytes, aligned only if the guest does so, and wholly inside the range. */
    uint64_t (*read)(void *owner, uint64_t offset, unsigned size);
    void (*write)(void *owner, uint64_t offset, unsigned size, uint64_t value);
};

struct bus {
    unsigned count;
    struct bus_range *range[BUS_RANGES_MAX]; /* by start; none overlaps another */
};

/* The range is its owner's and stays where it is until removed. -EEXIST: another one is there; -ENOSPC. */
int bus_add(struct bus *bus, struct bus_range *range);
void bus_remove(struct bus *bus, struct bus_range *range); /* one that was not added is ignored */

/* Where nobody answers a read gives ones and a write is lost, as on the hardware. */
uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size);
void bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value);

#endif
