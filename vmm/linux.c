/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Direct boot of a Linux kernel by its 64-bit protocol (Documentation/arch/x86/boot.rst, "64-bit BOOT PROTOCOL"): the
 * kernel and the initrd in memory, a zero page with the memory map and the place of the ACPI tables, and the first
 * processor in long mode with the low 4 GiB mapped as they are. The file's header is not trusted: each place is checked
 * to be in memory.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "boot.h"
#include "cpu.h"

#define SETUP_HEADER 0x1f1u         /* in the file */
#define SETUP_SIGNATURE 0x53726448u /* "HdrS" */
#define PROTOCOL_64_BIT 0x020cu     /* the first with xloadflags */
#define SECTOR 512u
#define ENTRY_64 0x200u /* from where the kernel was loaded */

#define PAGE_TABLES 0x9000u /* six pages: PML4, PDPT, four of 2 MiB entries */
#define ZERO_PAGE 0x7000u
#define COMMAND_LINE 0x20000u
#define COMMAND_LINE_MAX 2048u

#define PRESENT_WRITABLE 3u
#define LARGE 0x80u

static int file_read(struct machine *machine, int fd, const char *path, uint64_t offset, uint64_t address,
                     uint64_t length)
{
    uint8_t *host = memory_range(&machine->memory, address, length);

    if (!host)
        return machine_error(machine, -ENOMEM,
                             "%s: %llu bytes do not fit into the machine's memory at 0x%llx (--memory gives it more)",
                             path, (unsigned long long)length, (unsigned long long)address);
    for (uint64_t done = 0; done < length;) {
        ssize_t got = pread(fd, host + done, length - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return machine_error(machine, got < 0 ? -errno : -EIO, "%s: %s", path,
                                 got < 0 ? strerror(errno) : "ends early");
        done += (uint64_t)got;
    }
    memory_mark(&machine->memory, host, length);
    return 0;
}

/* The header of the file, of which setup_header's own length says how much there is. */
static int header_read(struct machine *machine, struct setup_header *header)
{
    struct boot *boot = machine->boot;
    const char *path = machine->options->kernel;
    uint8_t sector[2 * SECTOR] = {0};
    ssize_t got = pread(boot->kernel, sector, sizeof(sector), 0);

    if (got < 0)
        return machine_error(machine, -errno, "%s: %s", path, strerror(errno));
    memcpy(header, sector + SETUP_HEADER, sizeof(*header));
    if (got < (ssize_t)sizeof(sector) || header->header != SETUP_SIGNATURE || header->boot_flag != 0xaa55)
        return machine_error(machine, -EINVAL, "%s: not a Linux kernel (a bzImage, as /boot/vmlinuz is)", path);
    if (header->version < PROTOCOL_64_BIT || !(header->xloadflags & XLF_KERNEL_64))
        return machine_error(machine, -EINVAL, "%s: a kernel without the 64-bit boot protocol", path);
    return 0;
}

int linux_open(struct machine *machine)
{
    const struct machine_options *options = machine->options;
    struct boot *boot = machine->boot;
    struct setup_header header;

    if (options->append && strlen(options->append) >= COMMAND_LINE_MAX)
        return machine_error(machine, -EINVAL, "--append: longer than %u bytes", COMMAND_LINE_MAX - 1);
    boot->kernel = boot_file_open(machine, options->kernel, &boot->kernel_size);
    if (boot->kernel < 0)
        return boot->kernel;
    if (options->initrd) {
        boot->initrd = boot_file_open(machine, options->initrd, &boot->initrd_size);
        if (boot->initrd < 0)
            return boot->initrd;
    }
    return header_read(machine, &header);
}

/* Where the kernel goes, and how much memory it takes there before it knows of the memory map. */
static int kernel_load(struct machine *machine, const struct setup_header *header, uint64_t *address, uint64_t *end)
{
    struct boot *boot = machine->boot;
    uint64_t setup = ((uint64_t)(header->setup_sects ? header->setup_sects : 4) + 1) * SECTOR;

    if (setup >= boot->kernel_size)
        return machine_error(machine, -EINVAL, "%s: ends inside its header", machine->options->kernel);
    *address = header->pref_address;
    *end = *address + header->init_size;
    if (*address < BOOT_TABLES_END || *end < *address || !memory_range(&machine->memory, *address, header->init_size))
        return machine_error(machine, -ENOMEM, "%s: wants memory to 0x%llx (--memory gives it more)",
                             machine->options->kernel, (unsigned long long)*end);
    if (*end < *address + (boot->kernel_size - setup))
        *end = *address + (boot->kernel_size - setup);
    return file_read(machine, boot->kernel, machine->options->kernel, setup, *address, boot->kernel_size - setup);
}

/* As high as it may lie, and not over the kernel. */
static int initrd_load(struct machine *machine, struct setup_header *header, uint64_t kernel_end)
{
    struct boot *boot = machine->boot;
    uint64_t top = machine->memory.region[0].size, address;

    if (boot->initrd < 0)
        return 0;
    if (top > (uint64_t)header->initrd_addr_max + 1)
        top = (uint64_t)header->initrd_addr_max + 1;
    if (boot->initrd_size > top || ((top - boot->initrd_size) & ~(uint64_t)(MEMORY_PAGE - 1)) < kernel_end)
        return machine_error(machine, -ENOMEM, "%s: does not fit into the machine's memory (--memory gives it more)",
                             machine->options->initrd);
    address = (top - boot->initrd_size) & ~(uint64_t)(MEMORY_PAGE - 1);
    header->ramdisk_image = (uint32_t)address;
    header->ramdisk_size = (uint32_t)boot->initrd_size;
    return file_read(machine, boot->initrd, machine->options->initrd, 0, address, boot->initrd_size);
}

static int page_tables_write(struct machine *machine)
{
    uint64_t *table = memory_range(&machine->memory, PAGE_TABLES, 6 * MEMORY_PAGE);
    unsigned entries = MEMORY_PAGE / sizeof(*table);

    if (!table)
        return -ENOMEM;
    memset(table, 0, 6 * MEMORY_PAGE);
    table[0] = (PAGE_TABLES + MEMORY_PAGE) | PRESENT_WRITABLE;
    for (unsigned i = 0; i < 4; i++)
        table[entries + i] = (PAGE_TABLES + (2 + i) * MEMORY_PAGE) | PRESENT_WRITABLE;
    for (uint64_t i = 0; i < 4 * entries; i++)
        table[2 * entries + i] = i << 21 | LARGE | PRESENT_WRITABLE;
    memory_mark(&machine->memory, table, 6 * MEMORY_PAGE);
    return 0;
}

static int tables_write(struct machine *machine)
{
    struct boot *boot = machine->boot;
    uint8_t rsdp[ACPI_RSDP_SIZE], tables[ACPI_TABLES_SIZE];

    acpi_place(&boot->acpi, BOOT_TABLES + 64, rsdp, tables);
    memory_write(&machine->memory, BOOT_TABLES, rsdp, sizeof(rsdp));
    return memory_write(&machine->memory, BOOT_TABLES + 64, tables, boot->acpi.length);
}

static int zero_page_write(struct machine *machine, const struct setup_header *header)
{
    struct boot_params page = {.hdr = *header};
    const char *append = machine->options->append ? machine->options->append : "";
    int err = tables_write(machine);

    page.hdr.type_of_loader = 0xff;
    page.hdr.loadflags |= LOADED_HIGH;
    page.hdr.cmd_line_ptr = COMMAND_LINE;
    page.acpi_rsdp_addr = BOOT_TABLES;
    page.e820_entries = (uint8_t)boot_memory_map(machine, page.e820_table);
    if (err == 0)
        err = memory_write(&machine->memory, COMMAND_LINE, append, strlen(append) + 1);
    return err < 0 ? err : memory_write(&machine->memory, ZERO_PAGE, &page, sizeof(page));
}

int linux_start(struct machine *machine)
{
    struct setup_header header;
    uint64_t address = 0, end = 0;
    int err = header_read(machine, &header);

    header.ramdisk_image = header.ramdisk_size = 0;
    if (err == 0)
        err = kernel_load(machine, &header, &address, &end);
    if (err == 0)
        err = initrd_load(machine, &header, end);
    if (err < 0)
        return err;
    err = zero_page_write(machine, &header);
    if (err == 0)
        err = page_tables_write(machine);
    if (err == 0)
        err = cpus_start_long(machine, address + ENTRY_64, ZERO_PAGE, PAGE_TABLES);
    return err < 0 ? machine_error(machine, err, "direct boot: %s", strerror(-err)) : 0;
}
