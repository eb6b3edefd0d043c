/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a machine begins: a Linux kernel directly (linux.c), or the firmware SeaBIOS (seabios.c) from its disks. What is
 * needed is opened once; start, at first and after each reset, puts it into memory and the first processor at its
 * beginning.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <asm/bootparam.h>
#include <stddef.h>
#include <stdint.h>

#include "fwcfg.h"
#include "machine.h"

/* ---- acpi.c ----
 *
 * The tables ([ACPI] is version 6.4) are built once, as two files of fw_cfg, with a note of each place that needs an
 * address or a checksum. A firmware follows the notes (fw_cfg's table loader); for a direct boot acpi_place does. */

#define ACPI_TABLES_SIZE 0x4000u
#define ACPI_RSDP_SIZE 36u
#define ACPI_ENTRIES_MAX 32u

#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_RSDP_FILE "etc/acpi/rsdp"

/* A note, in the form of fw_cfg's table loader: an area for a file; an offset at a place of the file that becomes an
 * address in the target; a byte that makes the sum of [start, start + length) zero. */
struct acpi_entry {
    uint32_t command;
    char file[56];
    union {
        struct acpi_allocate {
            uint32_t alignment;
            uint8_t zone;
        } __attribute__((packed)) allocate;
        struct {
            char target[56];
            uint32_t place;
            uint8_t size;
        } __attribute__((packed)) pointer;
        struct {
            uint32_t place, start, length;
        } checksum;
        uint8_t all[68];
    };
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_entry) == 128, "table loader");

struct acpi {
    uint8_t rsdp[ACPI_RSDP_SIZE];
    uint8_t tables[ACPI_TABLES_SIZE];
    uint32_t length; /* of tables */
    unsigned entry_count;
    struct acpi_entry entry[ACPI_ENTRIES_MAX];
};

void acpi_build(struct acpi *acpi, const struct machine *machine);

/* rsdp and tables as they are to lie at these addresses. */
void acpi_place(const struct acpi *acpi, uint64_t tables_at, uint8_t rsdp[ACPI_RSDP_SIZE],
                uint8_t tables[ACPI_TABLES_SIZE]);

/* ---- boot.c ---- */

/* Areas below 1 MiB. */
#define BOOT_LOW_END 0x9fc00u /* usable memory; the EBDA follows */
#define BOOT_TABLES 0xe0000u  /* ACPI tables of a direct boot */
#define BOOT_TABLES_END 0x100000u

#define BOOT_RANGES_MAX 8u
#define BOOT_RAM 1u /* E820 types */
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
    struct boot_e820_entry map[BOOT_RANGES_MAX];
    char order[BOOT_ORDER_SIZE];
};

int boot_open(struct machine *machine);  /* said */
int boot_start(struct machine *machine); /* the processors are as after power-on. Said */

int boot_file_open(struct machine *machine, const char *path, uint64_t *size); /* for reading; or -errno, said */

int linux_open(struct machine *machine);
int linux_start(struct machine *machine);
int seabios_open(struct machine *machine);
int seabios_start(struct machine *machine);

unsigned boot_memory_map(const struct machine *machine, struct boot_e820_entry range[BOOT_RANGES_MAX]);

#endif
