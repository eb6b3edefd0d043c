/* SPDX-License-Identifier: BSD-2-Clause */
/* A machine, from its parts to its end. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "boot.h"
#include "chipset.h"
#include "cpu.h"
#include "devices.h"
#include "kvm.h"

#define GUEST_MESSAGES 20u /* in a minute */
#define MINUTE UINT64_C(60000000000)
#define PCI_WINDOW_LOW 0x80000000u /* SeaBIOS places BARs from here where memory ends below */

/* ---- Messages and parts ---- */

static void say(struct machine *machine, enum vdisk_level level, const char *format, va_list args)
{
    char text[512];
    int length = snprintf(text, sizeof(text), "%s: ", machine->options->name);

    if (length < 0 || length > (int)sizeof(text) / 2)
        length = 0;
    vsnprintf(text + length, sizeof(text) - (size_t)length, format, args);
    if (machine->options->log.print)
        machine->options->log.print(machine->options->log.arg, level, text);
}

void machine_say(struct machine *machine, enum vdisk_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(machine, level, format, args);
    va_end(args);
}

int machine_error(struct machine *machine, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(machine, VDISK_ERROR, format, args);
    va_end(args);
    return error;
}

bool machine_guest_heard(struct machine *machine)
{
    uint64_t minute = loop_now() / MINUTE;
    unsigned before;

    if (atomic_exchange(&machine->guest_minute, minute) != minute)
        atomic_store(&machine->guest_heard, 0);
    before = atomic_fetch_add(&machine->guest_heard, 1);
    if (before == GUEST_MESSAGES)
        machine_say(machine, VDISK_WARNING, "the guest gives cause for many messages: no more of them in this minute");
    return before < GUEST_MESSAGES;
}

void machine_part_add(struct machine *machine, struct machine_part *part)
{
    part->next = machine->parts;
    machine->parts = part;
}

void machine_disk_serial(const struct machine_disk *disk, const char *kind, unsigned number, char serial[21])
{
    if (disk->serial[0])
        memcpy(serial, disk->serial, 21);
    else
        snprintf(serial, 21, "%s%u", kind, number);
}

/* ---- What ends a machine, or starts it again ---- */

void machine_stop(struct machine *machine, enum machine_end end)
{
    if (machine->end == MACHINE_RUNS)
        machine->end = end;
    cpus_pause_ask(machine);
    loop_stop(&machine->loop);
}

void machine_reset(struct machine *machine)
{
    if (machine->options->no_reboot) {
        machine_stop(machine, MACHINE_POWERED_OFF);
        return;
    }
    machine->restart = true;
    cpus_pause_ask(machine);
    loop_stop(&machine->loop);
}

void machine_power_button(struct machine *machine)
{
    pm_power_button(&machine->chipset->pm);
}

void machine_nmi(struct machine *machine)
{
    machine_say(machine, VDISK_WARNING, "NMI button: pressed");
    cpus_nmi(machine);
}

void machine_disk_resized(struct machine *machine, unsigned number)
{
    pthread_mutex_lock(&machine->lock);
    for (struct machine_part *part = machine->parts; part; part = part->next)
        if (part->resized)
            part->resized(part->owner, &machine->options->disk[number]);
    pthread_mutex_unlock(&machine->lock);
}

/* A signal is the power button. */
static void signalled(struct loop_source *source)
{
    struct signalfd_siginfo info;

    if (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        machine_power_button(source->owner);
}

/* ---- The parts ---- */

/* Before any thread is made, so that every one inherits the mask. */
static int signals_open(struct machine *machine)
{
    sigset_t set;
    int err;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    machine->signals = (struct loop_source){signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), signalled, machine};
    if (machine->signals.fd < 0)
        return machine_error(machine, -errno, "signals: %s", strerror(errno));
    err = loop_add(&machine->loop, &machine->signals, EPOLLIN);
    return err < 0 ? machine_error(machine, err, "signals: %s", strerror(-err)) : 0;
}

static int loop_part_open(struct machine *machine)
{
    int err = loop_open(&machine->loop, &machine->lock);

    return err < 0 ? machine_error(machine, err, "event loop: %s", strerror(-err)) : 0;
}

static int memory_part_open(struct machine *machine)
{
    int err = memory_open(&machine->memory, machine->options->memory);

    if (err < 0)
        return machine_error(machine, err, "%llu bytes of memory: %s", (unsigned long long)machine->options->memory,
                             strerror(-err));
    return kvm_memory_show(machine);
}

static int buses_open(struct machine *machine)
{
    uint64_t low = machine->memory.region[0].size;
    uint32_t window = low <= PCI_WINDOW_LOW ? PCI_WINDOW_LOW : (uint32_t)MEMORY_HOLE;
    int err = irq_open(&machine->irq, machine->vm);

    if (err == 0)
        err = pci_open(&machine->pci, machine, &machine->pio, &machine->mmio, &machine->irq, window);
    return err < 0 ? machine_error(machine, err, "buses: %s", strerror(-err)) : 0;
}

static int virtio_blks_open(struct machine *machine)
{
    int err = 0;

    for (unsigned i = 0; i < machine->options->disk_count && err == 0; i++)
        if (machine->options->disk[i].bus == MACHINE_VIRTIO)
            err = virtio_blk_open(machine, &machine->options->disk[i], i);
    return err;
}

static int virtio_nets_open(struct machine *machine)
{
    int err = 0;

    for (unsigned i = 0; i < machine->options->nic_count && err == 0; i++)
        err = virtio_net_open(machine, &machine->options->nic[i], i);
    return err;
}

/* Before the machine has threads, each of which narrows itself. */
static int sandbox_open(struct machine *machine)
{
    static const char *const devices[] = {"/dev/kvm", "/dev/net/tun", "/dev/null", NULL};
    int err = sandbox_files(machine->options->readable, machine->options->writable, devices);

    if (err == -ENOSYS || err == -EOPNOTSUPP)
        machine_say(machine, VDISK_NOTE,
                    "this kernel has no Landlock: which files the process may use is guarded by nothing but its own checks");
    else if (err < 0)
        return machine_error(machine, err, "Landlock: %s", strerror(-err));
    err = sandbox_process();
    return err < 0 ? machine_error(machine, err, "the filter of system calls: %s", strerror(-err)) : 0;
}

/* What a machine is made of, in the order in which it is opened, and where that is. */
static int (*const parts[])(struct machine *machine) = {
    sandbox_open,     /* base/sandbox.c */
    loop_part_open,   /* base/loop.c */
    signals_open,     /* here */
    kvm_open,         /* kvm.c */
    memory_part_open, /* memory.c */
    buses_open,       /* bus.c, irq.c, pci.c */
    chipset_open,     /* chipset.c: pm.c, cmos.c, serial.c, ports.c */
    virtio_blks_open, /* virtio_blk.c, by io_queue.c, virtio_queue.c and virtio.c, as the next */
    virtio_scsi_open, /* virtio_scsi.c, and scsi/ */
    ide_open,         /* ide.c, ide_dma.c */
    virtio_nets_open, /* virtio_net.c, and net/ */
    virtio_rng_open,  /* virtio_rng.c */
    boot_open,        /* boot.c: linux.c or seabios.c, with fwcfg.c, acpi.c and dsdt.asl */
    cpus_open,        /* cpu.c, cpu_state.c, cpuid.c */
};

int machine_open(const struct machine_options *options, struct machine **result)
{
    struct machine *machine = calloc(1, sizeof(*machine));
    int err = 0;

    if (!machine)
        return -ENOMEM;
    machine->options = options;
    machine->kvm = machine->vm = machine->signals.fd = machine->loop.epoll = -1;
    pthread_mutex_init(&machine->lock, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &machine->signals_before);
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts) && err == 0; i++)
        err = parts[i](machine);
    if (err < 0) {
        machine_close(machine);
        return err;
    }
    *result = machine;
    return 0;
}

void machine_close(struct machine *machine)
{
    if (!machine)
        return;
    cpus_close(machine);
    for (struct machine_part *part = machine->parts, *next; part; part = next) {
        next = part->next;
        if (part->close)
            part->close(part->owner);
    }
    if (machine->pci.pio)
        pci_close(&machine->pci);
    kvm_close(machine);
    memory_close(&machine->memory);
    if (machine->signals.fd >= 0)
        close(machine->signals.fd);
    if (machine->loop.epoll >= 0)
        loop_close(&machine->loop);
    pthread_sigmask(SIG_SETMASK, &machine->signals_before, NULL);
    pthread_mutex_destroy(&machine->lock);
    free(machine);
}

/* ---- Running ---- */

/* Everything as after power-on, the first time too; memory keeps what it holds. The processors stand still. */
static int power_on(struct machine *machine)
{
    int err;

    pthread_mutex_lock(&machine->lock);
    machine->restart = false;
    pci_reset(&machine->pci);
    chipset_reset(machine);
    kvm_reset(machine);
    cpus_reset(machine);
    err = boot_start(machine);
    pthread_mutex_unlock(&machine->lock);
    return err;
}

enum machine_end machine_run(struct machine *machine)
{
    int err = sandbox_thread(SANDBOX_NET);

    if (err < 0) {
        machine_error(machine, err, "the main thread's sandbox: %s", strerror(-err));
        return MACHINE_CRASHED;
    }
    do {
        if (power_on(machine) < 0)
            return MACHINE_CRASHED;
        cpus_run(machine);
        loop_run(&machine->loop);
        cpus_pause(machine);
        if (machine->restart && machine->end == MACHINE_RUNS && machine_guest_heard(machine))
            machine_say(machine, VDISK_NOTE, "reset");
    } while (machine->end == MACHINE_RUNS);
    pthread_mutex_lock(&machine->lock);
    pci_reset(&machine->pci); /* who works on a disk waits for what is in flight, and nobody polls IDE's ring any more */
    pthread_mutex_unlock(&machine->lock);
    return machine->end;
}
