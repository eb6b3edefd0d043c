/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI tables of the machine ([ACPI] is version 6.4). They are built once, as two files of fw_cfg, with a note of
 * each place that needs an address or a checksum. A firmware follows the notes (fw_cfg's table loader); for a direct
 * boot acpi_place does.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLES_SIZE 0x4000u
#define ACPI_RSDP_SIZE 36u
#define ACPI_ENTRIES_MAX 32u

struct machine;

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

#endif
