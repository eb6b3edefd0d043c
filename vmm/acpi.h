/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI tables of the machine ([ACPI] is version 6.4). They are built once, as two files of fw_cfg, with a note of
 * each place that needs an address or a checksum. A firmware gets the notes as fw_cfg's table loader has them; for a
 * direct boot acpi_place follows them itself.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES_SIZE 0x4000u
#define ACPI_RSDP_SIZE 36u
#define ACPI_NOTES_MAX 32u

struct machine;

/* A place in the tables (rsdp: in the RSDP) that holds an offset in the tables and is to hold an address. */
struct acpi_pointer {
    uint32_t place;
    uint8_t size;
    uint8_t rsdp;
};

/* A byte at place that makes the sum of [start, start + length) zero. */
struct acpi_checksum {
    uint32_t place, start, length;
    uint8_t rsdp;
};

struct acpi {
    uint8_t rsdp[ACPI_RSDP_SIZE];
    uint8_t tables[ACPI_TABLES_SIZE];
    uint32_t length; /* of tables */
    struct acpi_pointer pointer[ACPI_NOTES_MAX];
    struct acpi_checksum checksum[ACPI_NOTES_MAX];
    unsigned pointer_count, checksum_count;
};

void acpi_build(struct acpi *acpi, const struct machine *machine);

/* rsdp and tables as they are to lie at these addresses. */
void acpi_place(const struct acpi *acpi, uint64_t tables_at, uint8_t rsdp[ACPI_RSDP_SIZE],
                uint8_t tables[ACPI_TABLES_SIZE]);

#endif
