/* SPDX-License-Identifier: BSD-2-Clause */
/* The ACPI tables: see boot.h. Integers are the guest's: little-endian, as x86 is. */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "boot.h"
#include "chipset.h"
#include "vmm/dsdt.hex" /* dsdt_aml_code: what iasl makes of dsdt.asl */

#define IOAPIC 0xfec00000u
#define LOCAL_APIC 0xfee00000u
#define RESET_PORT 0xcf9u
#define RESET_VALUE 6u
#define CENTURY_INDEX 0x32u

#define BOOT_LEGACY_DEVICES 1u /* IAPC_BOOT_ARCH, [ACPI] 5.2.9.3 */
#define BOOT_NO_VGA 4u

#define FADT_WBINVD (1u << 0) /* flags, [ACPI] 5.2.9 */
#define FADT_C1 (1u << 2)
#define FADT_NO_SLEEP_BUTTON (1u << 5)
#define FADT_NO_RTC_WAKE (1u << 6)
#define FADT_TIMER_32 (1u << 8)
#define FADT_RESET (1u << 10)

#define ALLOCATE 1u /* commands of the table loader */
#define POINTER 2u
#define CHECKSUM 3u
#define ZONE_HIGH 1u
#define ZONE_FSEG 2u

#define LEVEL_HIGH 0xdu /* MADT: level-triggered, active high */

struct header { /* [ACPI] 5.2.6 */
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision;
    char creator[4];
    uint32_t creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct header) == 36, "table header");

#define FADT_SIZE 244u /* of revision 3 */
#define FADT_FACS 36u
#define FADT_DSDT 40u
#define FADT_X_DSDT 140u

/* A port as a generic address ([ACPI] 5.2.3.2), in one little-endian word: space, bits, offset, size of an access. */
#define PORT_8 0x01000801u
#define PORT_16 0x02001001u
#define PORT_32 0x03002001u

/* [ACPI] 5.2.9, in revision 3; everything else is zero. There is no C2 and no C3. */
static const struct {
    uint8_t at, size;
    uint32_t value;
} fadt_fields[] = {
    {46, 2, ISA_IRQ_ACPI}, /* SCI */
    {56, 4, PM_BASE},
    {64, 4, PM_BASE + 4},
    {76, 4, PM_BASE + 8}, /* event and control of PM1a, timer */
    {88, 1, 4},
    {89, 1, 2},
    {91, 1, 4}, /* and their lengths */
    {96, 2, 0xfff},
    {98, 2, 0xfff}, /* latency of C2, C3 */
    {108, 1, CENTURY_INDEX},
    {109, 2, BOOT_LEGACY_DEVICES | BOOT_NO_VGA},
    {112, 4, FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_RTC_WAKE | FADT_TIMER_32 | FADT_RESET},
    {116, 4, PORT_8},
    {120, 4, RESET_PORT},
    {128, 1, RESET_VALUE},
    {148, 4, PORT_32},
    {152, 4, PM_BASE}, /* the same as above, as generic addresses */
    {172, 4, PORT_16},
    {176, 4, PM_BASE + 4},
    {208, 4, PORT_32},
    {212, 4, PM_BASE + 8},
};

/* ---- The file of tables and its notes ---- */

static void *room(struct acpi *acpi, uint32_t length)
{
    void *at = acpi->tables + acpi->length;

    assert(length <= ACPI_TABLES_SIZE - acpi->length);
    acpi->length += length;
    return at;
}

static uint32_t table_begin(struct acpi *acpi, const char *signature, uint8_t revision)
{
    uint32_t start = acpi->length = (acpi->length + 15) & ~15u;
    struct header *header = room(acpi, sizeof(*header));

    memcpy(header->signature, signature, 4);
    memcpy(header->oem, "VDISK ", 6);
    memcpy(header->oem_table, "HV      ", 8);
    memcpy(header->creator, "HV  ", 4);
    header->revision = revision;
    header->oem_revision = header->creator_revision = 1;
    return start;
}

static struct acpi_entry *note(struct acpi *acpi, uint32_t command, const char *file)
{
    struct acpi_entry *entry = &acpi->entry[acpi->entry_count++];

    assert(acpi->entry_count <= ACPI_ENTRIES_MAX);
    entry->command = command;
    strcpy(entry->file, file);
    return entry;
}

static void checksum_note(struct acpi *acpi, const char *file, uint32_t place, uint32_t start, uint32_t length)
{
    struct acpi_entry *entry = note(acpi, CHECKSUM, file);

    entry->checksum.place = place;
    entry->checksum.start = start;
    entry->checksum.length = length;
}

static void table_end(struct acpi *acpi, uint32_t start)
{
    struct header *header = (struct header *)(acpi->tables + start);

    header->length = acpi->length - start;
    checksum_note(acpi, ACPI_TABLES_FILE, start + offsetof(struct header, checksum), start, header->length);
}

/* Writes an offset that is to become an address. */
static void pointer_set(struct acpi *acpi, void *place, uint32_t target, uint8_t size)
{
    uint8_t *at = place;
    bool rsdp = at >= acpi->rsdp && at < acpi->rsdp + sizeof(acpi->rsdp);
    uint64_t value = target;
    struct acpi_entry *entry;

    memcpy(at, &value, size);
    entry = note(acpi, POINTER, rsdp ? ACPI_RSDP_FILE : ACPI_TABLES_FILE);
    strcpy(entry->pointer.target, ACPI_TABLES_FILE);
    entry->pointer.place = (uint32_t)(at - (rsdp ? acpi->rsdp : acpi->tables));
    entry->pointer.size = size;
}

/* ---- Tables ---- */

/* The one thing in it that depends on the machine is the window for memory BARs ([ACPI] 6.4.3.5.2). */
static uint32_t dsdt(struct acpi *acpi, uint32_t window)
{
    static const uint32_t compiled[] = {0, 0x80000000, PCI_MEMORY_END - 1, 0, PCI_MEMORY_END - 0x80000000};
    const uint32_t wanted[] = {0, window, PCI_MEMORY_END - 1, 0, PCI_MEMORY_END - window};
    uint32_t start = acpi->length = (acpi->length + 15) & ~15u, size = sizeof(dsdt_aml_code);
    uint8_t *table = room(acpi, size), *at;

    memcpy(table, dsdt_aml_code, size);
    at = memmem(table, size, compiled, sizeof(compiled));
    assert(at);
    memcpy(at, wanted, sizeof(wanted));
    table_end(acpi, start);
    return start;
}

static uint32_t fadt(struct acpi *acpi, uint32_t facs_at, uint32_t dsdt_at)
{
    uint32_t start = table_begin(acpi, "FACP", 3);
    uint8_t *fadt = acpi->tables + start;

    room(acpi, FADT_SIZE - sizeof(struct header));
    for (size_t i = 0; i < sizeof(fadt_fields) / sizeof(*fadt_fields); i++)
        memcpy(fadt + fadt_fields[i].at, &fadt_fields[i].value, fadt_fields[i].size);
    pointer_set(acpi, fadt + FADT_FACS, facs_at, 4);
    pointer_set(acpi, fadt + FADT_DSDT, dsdt_at, 4);
    pointer_set(acpi, fadt + FADT_X_DSDT, dsdt_at, 8);
    table_end(acpi, start);
    return start;
}

static void entry(struct acpi *acpi, const void *bytes, uint32_t length)
{
    memcpy(room(acpi, length), bytes, length);
}

/* [ACPI] 5.2.12: the local APICs, the IOAPIC, what is not as ISA has it, and where NMI comes in. */
static uint32_t madt(struct acpi *acpi, unsigned cpus)
{
    static const uint8_t level[] = {ISA_IRQ_ACPI, 10, 11};
    const uint8_t timer[10] = {2, 10, 0, 0, 2}, nmi[6] = {4, 6, 0xff, 0, 0, 1};
    uint8_t ioapic[12] = {1, 12, 0, 0};
    uint32_t start = table_begin(acpi, "APIC", 3), local[2] = {LOCAL_APIC, 1}, address = IOAPIC;

    entry(acpi, local, sizeof(local));
    for (unsigned i = 0; i < cpus; i++) {
        const uint8_t processor[8] = {0, 8, (uint8_t)i, (uint8_t)i, 1};

        entry(acpi, processor, sizeof(processor));
    }
    memcpy(ioapic + 4, &address, sizeof(address));
    entry(acpi, ioapic, sizeof(ioapic));
    entry(acpi, timer, sizeof(timer));
    for (unsigned i = 0; i < sizeof(level); i++) {
        const uint8_t irq[10] = {2, 10, 0, level[i], level[i], 0, 0, 0, LEVEL_HIGH};

        entry(acpi, irq, sizeof(irq));
    }
    entry(acpi, nmi, sizeof(nmi));
    table_end(acpi, start);
    return start;
}

static uint32_t facs(struct acpi *acpi)
{
    static const char signature[] = "FACS";
    uint32_t start = acpi->length = (acpi->length + 63) & ~63u, length = 64;
    uint8_t *at = room(acpi, length);

    memcpy(at, signature, 4);
    memcpy(at + 4, &length, sizeof(length));
    at[32] = 2; /* version */
    return start;
}

static uint32_t list(struct acpi *acpi, const char *signature, uint8_t size, const uint32_t *table, unsigned count)
{
    uint32_t start = table_begin(acpi, signature, 1);

    for (unsigned i = 0; i < count; i++)
        pointer_set(acpi, room(acpi, size), table[i], size);
    table_end(acpi, start);
    return start;
}

static void rsdp(struct acpi *acpi, uint32_t rsdt, uint32_t xsdt)
{
    uint32_t length = ACPI_RSDP_SIZE;

    memcpy(acpi->rsdp, "RSD PTR ", 8);
    memcpy(acpi->rsdp + 9, "VDISK ", 6);
    acpi->rsdp[15] = 2;
    memcpy(acpi->rsdp + 20, &length, sizeof(length));
    pointer_set(acpi, acpi->rsdp + 16, rsdt, 4);
    pointer_set(acpi, acpi->rsdp + 24, xsdt, 8);
    checksum_note(acpi, ACPI_RSDP_FILE, 8, 0, 20);
    checksum_note(acpi, ACPI_RSDP_FILE, 32, 0, ACPI_RSDP_SIZE); /* the first one lies inside it */
}

void acpi_build(struct acpi *acpi, const struct machine *machine)
{
    uint32_t table[2], facs_at;

    memset(acpi, 0, sizeof(*acpi));
    note(acpi, ALLOCATE, ACPI_RSDP_FILE)->allocate = (struct acpi_allocate){16, ZONE_FSEG};
    note(acpi, ALLOCATE, ACPI_TABLES_FILE)->allocate = (struct acpi_allocate){64, ZONE_HIGH};
    facs_at = facs(acpi);
    table[0] = fadt(acpi, facs_at, dsdt(acpi, machine->pci.memory_start));
    table[1] = madt(acpi, machine->options->cpus);
    rsdp(acpi, list(acpi, "RSDT", 4, table, 2), list(acpi, "XSDT", 8, table, 2));
}

void acpi_place(const struct acpi *acpi, uint64_t tables_at, uint8_t root[ACPI_RSDP_SIZE],
                uint8_t tables[ACPI_TABLES_SIZE])
{
    memcpy(root, acpi->rsdp, ACPI_RSDP_SIZE);
    memcpy(tables, acpi->tables, ACPI_TABLES_SIZE);
    for (unsigned i = 0; i < acpi->entry_count; i++) {
        const struct acpi_entry *entry = &acpi->entry[i];
        uint8_t *file = strcmp(entry->file, ACPI_RSDP_FILE) == 0 ? root : tables, sum = 0;
        uint64_t value = 0;

        if (entry->command == POINTER) {
            memcpy(&value, file + entry->pointer.place, entry->pointer.size);
            value += tables_at;
            memcpy(file + entry->pointer.place, &value, entry->pointer.size);
        } else if (entry->command == CHECKSUM) {
            for (uint32_t j = 0; j < entry->checksum.length; j++)
                sum = (uint8_t)(sum + file[entry->checksum.start + j]);
            file[entry->checksum.place] = (uint8_t)(file[entry->checksum.place] - sum);
        }
    }
}
