/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a machine begins: a Linux kernel directly (linux.c), or the firmware SeaBIOS (seabios.c) from its disks. What is
 * needed is opened once; start, at first and after each reset, puts it into memory and the first processor at its
 * beginning.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "acpi.h"
#include "fwcfg.h"
#include "machine.h"

/* Areas below 1 MiB. */
#define BOOT_LOW_END 0x9fc00u /* usable memory; the EBDA follows */
#define BOOT_TABLES 0xe0000u  /* ACPI tables of a direct boot */
#define BOOT_TABLES_END 0x100000u

/* A range of the memory map (E820 types). */
struct boot_range {
    uint64_t start, size;
    uint32_t type;
} __attribute__((packed));

#define BOOT_RANGES_MAX 8u
#define BOOT_RAM 1u
#define BOOT_RESERVED 2u

#define BOOT_ORDER_SIZE 4096u

struct boot {
    struct acpi acpi;
    struct fwcfg fwcfg;
    struct machine_part part;

    /* linux.c */
    int kernel, initrd; /* descriptors; -1: none */
    uint64_t kernel_size, initrd_size;

    /* seabios.c */
    uint8_t *rom; /* mapped: what lies below 4 GiB */
    uint64_t rom_size;
    struct boot_range map[BOOT_RANGES_MAX];
    char order[BOOT_ORDER_SIZE];
};

int boot_open(struct machine *machine);  /* said */
int boot_start(struct machine *machine); /* the processors are as after power-on. Said */

int linux_open(struct machine *machine);
int linux_start(struct machine *machine);
int seabios_open(struct machine *machine);
int seabios_start(struct machine *machine);

unsigned boot_memory_map(const struct machine *machine, struct boot_range range[BOOT_RANGES_MAX]);

#endif
