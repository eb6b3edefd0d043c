/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One machine, one process: an i440FX and PIIX chassis with virtio devices, on KVM.
 *
 * machine->lock is held around everything that emulates: the callbacks of the buses (vCPU threads) and of the main
 * loop. I/O threads have queues of their own and never take it.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <pthread.h>
#include <signal.h>

#include "base/loop.h"
#include "bus.h"
#include "disk/vdisk.h"
#include "irq.h"
#include "memory.h"
#include "pci.h"

#define MACHINE_CPUS_MAX 64u
#define MACHINE_DISKS_MAX 64u
#define MACHINE_NICS_MAX 8u

enum machine_disk_bus { MACHINE_VIRTIO, MACHINE_SCSI, MACHINE_IDE };

/* The port is opened by the caller, who closes it after the machine. */
struct machine_disk {
    struct vdisk_port *port;
    enum machine_disk_bus bus;
    bool readonly;
    unsigned queues;                 /* 0: one a vCPU, at most 4 */
    char serial[21];                 /* "": made from its place */
    uint64_t iops, bytes_per_second; /* 0: no limit */
};

enum machine_nic_backend { MACHINE_USER, MACHINE_TAP };

struct machine_nic {
    enum machine_nic_backend backend;
    char tap[16];
    const char *forward; /* USER: "tcp:8080:80[,...]" or NULL */
    uint8_t mac[6];      /* all zero: made from the machine's name */
    unsigned queues;     /* pairs; 0: one */
};

struct machine;

struct machine_options {
    const char *name;
    uint64_t memory;
    unsigned cpus;
    const char *kernel, *initrd, *append;                 /* kernel NULL: SeaBIOS */
    const char *firmware;                                 /* NULL: where the package seabios has it */
    const char *boot;                                     /* "disk,net" */
    bool no_reboot;                                       /* end where the guest would start again */
    int serial_in, serial_out;                            /* descriptors of COM1, the caller's; -1: none */
    bool (*typed)(struct machine *machine, uint8_t byte); /* under the lock; true: not for the guest. NULL: all is */
    struct machine_disk disk[MACHINE_DISKS_MAX];
    unsigned disk_count;
    struct machine_nic nic[MACHINE_NICS_MAX];
    unsigned nic_count;
    const char *const *readable, *const *writable; /* what the process may open while it runs: sandbox_files */
    struct vdisk_log log;
};

/* Why a machine has stopped. */
enum machine_end {
    MACHINE_RUNS,
    MACHINE_POWERED_OFF, /* by the guest; also its reset where no reboot is wanted */
    MACHINE_KILLED,      /* by the user */
    MACHINE_PANICKED,    /* the guest says so (pvpanic) */
    MACHINE_CRASHED,     /* KVM cannot go on; also a triple fault where no reboot is wanted */
};

/* What every device that is opened leaves with the machine: how it is closed. The struct is the device's. */
struct machine_part {
    const char *name;
    void (*close)(void *owner);                                    /* NULL: nothing to do */
    void (*resized)(void *owner, const struct machine_disk *disk); /* under the lock; NULL: it has no disk */
    void *owner;
    struct machine_part *next;
};

struct chips;
struct chipset;
struct cpus;
struct boot;

struct machine {
    const struct machine_options *options;
    int kvm, vm; /* descriptors */
    pthread_mutex_t lock;
    struct memory memory;
    struct bus pio, mmio;
    struct irq irq;
    struct pci pci;
    struct loop loop; /* main */
    struct loop_source signals;
    sigset_t signals_before;
    struct chips *chips; /* KVM's own: PICs, IOAPIC, PIT */
    struct chipset *chipset;
    struct boot *boot;
    struct cpus *cpus;
    struct machine_part *parts; /* the last opened first: closed in this order */
    enum machine_end end;       /* under lock, as the next */
    bool restart;
    _Atomic uint64_t guest_minute; /* of the monotonic clock, in which it was heard last */
    _Atomic unsigned guest_heard;  /* so often, or not any more */
};

/* options live as long as the machine. Run returns when the machine has ended. Close allows NULL. */
int machine_open(const struct machine_options *options, struct machine **machine);
enum machine_end machine_run(struct machine *machine);
void machine_close(struct machine *machine);

/* The disk of this number has another size now: the guest is told. Not by a thread of the machine. */
void machine_disk_resized(struct machine *machine, unsigned number);

/* The disk's, or one made from its place: "scsi3". */
void machine_disk_serial(const struct machine_disk *disk, const char *kind, unsigned number, char serial[21]);

/* Says "<name>: <text>"; any thread. machine_error returns error. What the guest can bring about as often as it likes is
 * said only where machine_guest_heard: so many times in a minute. */
void machine_say(struct machine *machine, enum vdisk_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int machine_error(struct machine *machine, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool machine_guest_heard(struct machine *machine);

/* Called once by each device while the machine is opened. */
void machine_part_add(struct machine *machine, struct machine_part *part);

/* Under the lock, from any callback: the machine ends, or starts again from its firmware, once the callback has
 * returned. */
void machine_stop(struct machine *machine, enum machine_end end);
void machine_reset(struct machine *machine);

/* Under the lock. What a person does: the power button (a second press switches off), and the NMI button. */
void machine_power_button(struct machine *machine);
void machine_nmi(struct machine *machine);

#endif
