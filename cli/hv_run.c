/* SPDX-License-Identifier: BSD-2-Clause */
/* hv run: a machine on this terminal, from its disks to its end. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/hv.h"

#define EXIT_PANICKED 3
#define EXIT_CRASHED 4
#define EXIT_KILLED 5

#define MEMORY_LEAST (UINT64_C(2) << 20)

static struct {
    uint64_t memory, cpus;
    struct cli_list disks, nics, allow;
    const char *kernel, *initrd, *append, *firmware, *boot, *serial, *name;
    bool no_reboot, dry_run;
} given = {.memory = UINT64_C(1) << 30, .cpus = 1, .serial = "stdio"};

static const struct cli_option options[] = {
    {"memory", CLI_SIZE, "SIZE", &given.memory, "1G without it"},
    {"cpus", CLI_SIZE, "COUNT", &given.cpus, "1 without it; at most 64"},
    {"disk", CLI_LIST, "FILE[,...]", &given.disks,
     "a disk; may be repeated. overlay keeps the file as it is, changes are\n"
     "lost; readonly; bus=virtio, scsi or ide; direct; serial=TEXT;\n"
     "queues=N; iops=N and rate=BYTES limit it. Two commas stand for one"},
    {"nic", CLI_LIST, "user[,...]", &given.nics,
     "or tap=NAME, or none; user without it; may be repeated. forward=tcp:8080:80;\n"
     "mac=ADDRESS; queues=N"},
    {"allow", CLI_LIST, "DIR", &given.allow,
     "vdisk move and snapshot may use it while the machine runs, besides the\n"
     "directories of the disks; may be repeated"},
    {"kernel", CLI_TEXT, "FILE", &given.kernel, "boot this Linux kernel, without firmware"},
    {"initrd", CLI_TEXT, "FILE", &given.initrd, "its initial file system"},
    {"append", CLI_TEXT, "TEXT", &given.append, "its command line"},
    {"firmware", CLI_TEXT, "FILE", &given.firmware, "instead of the package seabios's"},
    {"boot", CLI_TEXT, "ORDER", &given.boot, "disk,net without it"},
    {"serial", CLI_TEXT, "WHERE", &given.serial, "COM1: stdio, none, or file=PATH (appended)"},
    {"name", CLI_TEXT, "NAME", &given.name, "of the machine; the first disk's without it"},
    {"no-reboot", CLI_FLAG, NULL, &given.no_reboot, "end where the guest would start again"},
    {"dry-run", CLI_FLAG, NULL, &given.dry_run, "say what the machine would be, and do nothing"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

/* ---- The machine's description ---- */

static int numbers_check(struct cli *cli)
{
    if (given.cpus < 1 || given.cpus > MACHINE_CPUS_MAX)
        return cli_say(cli, VDISK_ERROR, "--cpus: 1 to %u", MACHINE_CPUS_MAX), -EINVAL;
    if (given.memory < MEMORY_LEAST || given.memory % (1 << 20) != 0)
        return cli_say(cli, VDISK_ERROR, "--memory: at least 2 MiB, in whole MiB"), -EINVAL;
    if (!given.kernel && (given.initrd || given.append))
        return cli_say(cli, VDISK_ERROR, "--initrd and --append go with --kernel"), -EINVAL;
    return 0;
}

static int disks_open(struct cli *cli, const char *first, struct hv *hv)
{
    struct machine_options *machine = &hv->machine;
    int err = 0;

    if (first) {
        err = hv_disk_open(cli, first, true, &machine->disk[0], &hv->hold[0]);
        machine->disk_count = err == 0;
    }
    for (unsigned i = 0; i < given.disks.count && err == 0; i++) {
        if (machine->disk_count == MACHINE_DISKS_MAX)
            return cli_say(cli, VDISK_ERROR, "--disk: at most %u", MACHINE_DISKS_MAX), -EINVAL;
        err = hv_disk_open(cli, given.disks.item[i], false, &machine->disk[machine->disk_count],
                           &hv->hold[machine->disk_count]);
        machine->disk_count += err == 0;
    }
    return err;
}

static int nics_parse(struct cli *cli, struct machine_options *machine)
{
    int err = given.nics.count == 0 ? hv_nic_parse(cli, "user", &machine->nic[0]) : 0;

    machine->nic_count = given.nics.count == 0 && err == 0;
    for (unsigned i = 0; i < given.nics.count && err == 0; i++) {
        if (strcmp(given.nics.item[i], "none") == 0 && given.nics.count == 1)
            break;
        if (machine->nic_count == MACHINE_NICS_MAX)
            return cli_say(cli, VDISK_ERROR, "--nic: at most %u", MACHINE_NICS_MAX), -EINVAL;
        err = hv_nic_parse(cli, given.nics.item[i], &machine->nic[machine->nic_count]);
        machine->nic_count += err == 0;
    }
    return err;
}

/* In the background a terminal is nobody's to read. */
static int serial_open(struct cli *cli, struct machine_options *machine)
{
    machine->serial_in = machine->serial_out = -1;
    if (strcmp(given.serial, "none") == 0)
        return 0;
    if (strcmp(given.serial, "stdio") == 0) {
        machine->typed = isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp() ? hv_console_typed : NULL;
        machine->serial_in = machine->typed || !isatty(STDIN_FILENO) ? STDIN_FILENO : -1;
        machine->serial_out = STDOUT_FILENO;
        return 0;
    }
    if (strncmp(given.serial, "file=", 5) != 0)
        return cli_say(cli, VDISK_ERROR, "--serial %s: stdio, none or file=PATH", given.serial), -EINVAL;
    machine->serial_out = open(given.serial + 5, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (machine->serial_out < 0)
        return cli_say(cli, VDISK_ERROR, "%s: %s", given.serial + 5, strerror(errno)), -errno;
    return 0;
}

/* The first disk's file name without its directory and suffix. */
static void name_make(const struct machine_options *machine, char name[64])
{
    const char *path = machine->disk_count > 0 ? vdisk_path(vdisk_port_disk(machine->disk[0].port)) : "machine";
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

    snprintf(name, 64, "%.*s", (int)strcspn(base, "."), base);
    if (name[0] == '\0')
        strcpy(name, "machine");
}

static int describe(struct cli *cli, const char *first, struct hv *hv)
{
    struct machine_options *machine = &hv->machine;
    int err = numbers_check(cli);

    *machine = (struct machine_options){.memory = given.memory,
                                        .cpus = (unsigned)given.cpus,
                                        .kernel = given.kernel,
                                        .initrd = given.initrd,
                                        .append = given.append,
                                        .firmware = given.firmware,
                                        .boot = given.boot,
                                        .no_reboot = given.no_reboot,
                                        .serial_in = -1,
                                        .serial_out = -1,
                                        .log = cli->log};
    if (err == 0)
        err = nics_parse(cli, machine);
    if (err == 0)
        err = disks_open(cli, first, hv);
    if (err == 0)
        err = serial_open(cli, machine);
    name_make(machine, hv->name);
    machine->name = given.name ? given.name : hv->name;
    return err;
}

static void release(struct cli *cli, struct hv *hv)
{
    struct machine_options *machine = &hv->machine;

    hv_paths_free(hv);
    for (unsigned i = 0; i < machine->disk_count; i++) {
        int err = vdisk_port_close(machine->disk[i].port);

        if (err < 0)
            cli_error(cli, "closing a disk", err);
    }
    for (unsigned i = 0; i < machine->nic_count; i++)
        free((char *)machine->nic[i].forward);
    if (machine->serial_out >= 0 && machine->serial_out != STDOUT_FILENO)
        close(machine->serial_out);
}

/* ---- --dry-run ---- */

static void machine_print(const struct machine_options *machine)
{
    static const char *const buses[] = {[MACHINE_VIRTIO] = "virtio", [MACHINE_SCSI] = "scsi", [MACHINE_IDE] = "ide"};
    char size[64], text[160];

    printf("machine %s: %u processor%s, %s of memory\n", machine->name, machine->cpus, machine->cpus == 1 ? "" : "s",
           cli_size_full(size, machine->memory));
    printf("  boot: %s\n", machine->kernel ? machine->kernel : machine->firmware ? machine->firmware : "SeaBIOS");
    for (unsigned i = 0; i < machine->disk_count; i++) {
        struct vdisk *disk = vdisk_port_disk(machine->disk[i].port);

        cli_describe(disk, text);
        printf("  disk %u: %s, %s%s: %s\n", i, vdisk_path(disk), buses[machine->disk[i].bus],
               machine->disk[i].readonly ? ", read-only" : "", text);
    }
    for (unsigned i = 0; i < machine->nic_count; i++)
        printf("  nic %u: %s%s\n", i, machine->nic[i].backend == MACHINE_USER ? "user" : "tap ", machine->nic[i].tap);
}

/* ---- Running ---- */

static int run_machine(struct cli *cli, struct hv *hv)
{
    const struct machine_options *options_now = &hv->machine;
    struct machine *machine;
    enum machine_end end;

    if (hv_paths_make(cli, hv, &given.allow) < 0 || machine_open(options_now, &machine) < 0)
        return EXIT_FAILURE;
    if (options_now->typed)
        hv_console_begin(cli);
    hv_control_open(hv, machine);
    malloc_trim(0); /* what opening the disks took */
    end = machine_run(machine);
    hv_control_close(hv);
    machine_close(machine);
    if (options_now->typed)
        hv_console_end(cli);
    switch (end) {
    case MACHINE_PANICKED:
        return EXIT_PANICKED;
    case MACHINE_CRASHED:
        return EXIT_CRASHED;
    case MACHINE_KILLED:
        cli_say(cli, VDISK_WARNING, "%s: switched off", options_now->name);
        return EXIT_KILLED;
    default:
        return EXIT_SUCCESS;
    }
}

static int run(struct cli *cli, char **operand)
{
    static struct hv hv;
    int status = EXIT_FAILURE;

    mallopt(M_ARENA_MAX, 1); /* an arena a thread is memory for speed, and no thread allocates for a request */
    if (describe(cli, operand[0], &hv) == 0) {
        if (given.dry_run)
            machine_print(&hv.machine);
        status = given.dry_run ? EXIT_SUCCESS : run_machine(cli, &hv);
    }
    release(cli, &hv);
    if (status == EXIT_SUCCESS && cli->errors > 0)
        status = EXIT_FAILURE;
    return status;
}

const struct cli_command cli_hv_run = {
    .name = "run",
    .summary = "run a machine on this terminal",
    .operands = "[DISK]",
    .description =
        "Run a virtual machine with DISK as its first disk, until the guest switches it off. COM1 is this terminal;\n"
        "Ctrl-] and then ? tells what can be done from it. SIGTERM presses the power button, a second one switches\n"
        "off. Exit status: 0 the guest switched off, 1 the machine could not be made, 3 the guest panicked, 4 the\n"
        "machine could not go on, 5 it was switched off.",
    .examples = "hv run debian.vhdx\n"
                "hv run debian.vhdx --memory 4G --cpus 4 --nic user,forward=tcp:2222:22\n"
                "hv run --disk template.vhdx,overlay --disk data.vhd,bus=scsi\n"
                "hv run root.vhdx --kernel vmlinuz --initrd initrd.img --append 'root=/dev/vda console=ttyS0'",
    .options = options,
    .operand_count = 1,
    .operand_optional = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
