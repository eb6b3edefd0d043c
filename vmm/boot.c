/* SPDX-License-Identifier: BSD-2-Clause */
/* How a machine begins: see boot.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot.h"

static void boot_close(void *owner)
{
    struct boot *boot = owner;

    fwcfg_close(&boot->fwcfg);
    if (boot->rom)
        munmap(boot->rom, boot->rom_size);
    if (boot->kernel >= 0)
        close(boot->kernel);
    if (boot->initrd >= 0)
        close(boot->initrd);
    free(boot);
}

int boot_file_open(struct machine *machine, const char *path, uint64_t *size)
{
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return machine_error(machine, -errno, "%s: %s", path, strerror(errno));
    if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size > 0) {
        *size = (uint64_t)stat.st_size;
        return fd;
    }
    close(fd);
    return machine_error(machine, -EINVAL, "%s: not a file with something in it", path);
}

int boot_open(struct machine *machine)
{
    struct boot *boot = calloc(1, sizeof(*boot));
    int err;

    if (!boot)
        return machine_error(machine, -ENOMEM, "out of memory");
    machine->boot = boot;
    boot->kernel = boot->initrd = -1;
    err = fwcfg_open(&boot->fwcfg, machine);
    boot->part = (struct machine_part){.name = "fw_cfg", .close = boot_close, .owner = boot};
    machine_part_add(machine, &boot->part);
    if (err < 0)
        return machine_error(machine, err, "fw_cfg: its ports are taken");
    acpi_build(&boot->acpi, machine);
    return machine->options->kernel ? linux_open(machine) : seabios_open(machine);
}

int boot_start(struct machine *machine)
{
    machine->boot->fwcfg.state = (struct fwcfg_state){0};
    return machine->options->kernel ? linux_start(machine) : seabios_start(machine);
}

/* From the EBDA to 1 MiB is the firmware's and the tables'. */
unsigned boot_memory_map(const struct machine *machine, struct boot_e820_entry range[BOOT_RANGES_MAX])
{
    const struct memory *memory = &machine->memory;
    unsigned count = 0;

    range[count++] = (struct boot_e820_entry){0, BOOT_LOW_END, BOOT_RAM};
    range[count++] = (struct boot_e820_entry){BOOT_LOW_END, 0xa0000 - BOOT_LOW_END, BOOT_RESERVED};
    range[count++] = (struct boot_e820_entry){BOOT_TABLES, BOOT_TABLES_END - BOOT_TABLES, BOOT_RESERVED};
    range[count++] = (struct boot_e820_entry){BOOT_TABLES_END, memory->region[0].size - BOOT_TABLES_END, BOOT_RAM};
    for (unsigned i = 1; i < memory->region_count; i++)
        range[count++] = (struct boot_e820_entry){memory->region[i].start, memory->region[i].size, BOOT_RAM};
    return count;
}
