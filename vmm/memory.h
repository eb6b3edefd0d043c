/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's memory: one memfd, mapped once, shown to the guest in two regions around the hole below 4 GiB.
 *
 * The guest is hostile: an address or a length that comes from it goes through memory_range and nothing else. Its
 * memory changes while it is read: what is to be checked is copied first (memory_read), and the copy is checked and
 * used. What the monitor writes into it is marked dirty, as the hardware does for the guest's own writes.
 *
 * Threads: any, but for open, close and memory_track (the machine stands still).
 */
#ifndef VMM_MEMORY_H
#define VMM_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_PAGE 4096u
#define MEMORY_HOLE UINT64_C(0xc0000000)  /* RAM below 4 GiB ends here at the latest; PCI and firmware above */
#define MEMORY_HIGH UINT64_C(0x100000000) /* where the rest of it begins */
#define MEMORY_REGIONS_MAX 2u

struct memory_region {
    uint64_t start, size; /* guest-physical */
    uint64_t position;    /* in the memfd and from base */
};

struct memory {
    int fd;
    uint64_t size;
    uint8_t *base;
    unsigned region_count;
    struct memory_region region[MEMORY_REGIONS_MAX];
    _Atomic uint64_t *dirty; /* a bit for each page by its position; NULL: nobody asks */
};

/* size: a multiple of 1 MiB. The pages are taken when they are touched. */
int memory_open(struct memory *memory, uint64_t size);
void memory_close(struct memory *memory);

/* The one accessor: where [address, address + length) is, or NULL where it is empty or not wholly inside one region. */
void *memory_range(const struct memory *memory, uint64_t address, uint64_t length);

/* Copies; memory_write marks what it writes. 0, or -EFAULT for a range that memory_range refuses. */
int memory_read(const struct memory *memory, uint64_t address, void *buffer, size_t length);
int memory_write(const struct memory *memory, uint64_t address, const void *buffer, size_t length);

/* The monitor has written [host, host + length), which memory_range gave. */
void memory_mark(const struct memory *memory, const void *host, size_t length);

/* Begins (clean) or ends the record of what the monitor writes. */
int memory_track(struct memory *memory, bool on);

#endif
