/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual processors: see cpu.h. cpu_state.c has what is in them. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "cpu.h"

#define KICK SIGUSR1

/* ---- What the guest does that KVM does not do for it ---- */

static void exit_pio(struct cpu *cpu)
{
    struct kvm_run *run = cpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    struct bus *bus = &cpu->machine->pio;

    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        uint64_t value = 0;

        if (run->io.direction == KVM_EXIT_IO_IN) {
            value = bus_read(bus, run->io.port, run->io.size);
            memcpy(data, &value, run->io.size);
        } else {
            memcpy(&value, data, run->io.size);
            bus_write(bus, run->io.port, run->io.size, value);
        }
    }
}

static void exit_mmio(struct cpu *cpu)
{
    struct kvm_run *run = cpu->run;
    unsigned size = run->mmio.len < 8 ? run->mmio.len : 8;
    uint64_t value = 0;

    if (run->mmio.is_write) {
        memcpy(&value, run->mmio.data, size);
        bus_write(&cpu->machine->mmio, run->mmio.phys_addr, size, value);
    } else {
        value = bus_read(&cpu->machine->mmio, run->mmio.phys_addr, size);
        memcpy(run->mmio.data, &value, size);
    }
}

static void crash(struct cpu *cpu, const char *what, uint64_t detail)
{
    struct kvm_regs registers = {0};

    ioctl(cpu->fd, KVM_GET_REGS, &registers);
    machine_say(cpu->machine, VDISK_ERROR, "processor %u cannot go on: %s (0x%llx) at 0x%llx", cpu->index, what,
                (unsigned long long)detail, registers.rip);
    machine_stop(cpu->machine, MACHINE_CRASHED);
}

static void triple_fault(struct cpu *cpu)
{
    bool last = cpu->machine->options->no_reboot;

    if (last || machine_guest_heard(cpu->machine))
        machine_say(cpu->machine, last ? VDISK_ERROR : VDISK_WARNING, "processor %u: triple fault%s", cpu->index,
                    last ? "" : ": the machine starts again");
    if (last)
        machine_stop(cpu->machine, MACHINE_CRASHED);
    else
        machine_reset(cpu->machine);
}

static void exit_handle(struct cpu *cpu)
{
    struct kvm_run *run = cpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        exit_pio(cpu);
        break;
    case KVM_EXIT_MMIO:
        exit_mmio(cpu);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_HLT:
        break;
    case KVM_EXIT_SHUTDOWN:
        triple_fault(cpu);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        crash(cpu, "the hardware refuses its state", run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        crash(cpu,
              run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? "an instruction that KVM cannot emulate"
                                                                     : "an internal error of KVM",
              run->internal.suberror);
        break;
    default:
        crash(cpu, "an exit that is not known", run->exit_reason);
    }
}

/* ---- Threads ---- */

/* Stands still while a pause is asked for. False: the end. An access that was answered is first completed by KVM: that
 * is the first thing KVM_RUN does, and with immediate_exit the last. */
static bool park(struct cpu *cpu)
{
    struct cpus *cpus = cpu->machine->cpus;
    bool end;

    pthread_mutex_lock(&cpus->lock);
    if (cpus->nmi && cpu->index == 0) {
        cpus->nmi = false;
        cpu->run->immediate_exit = 0;
        ioctl(cpu->fd, KVM_NMI, 0);
    }
    if (cpus->pause) {
        cpu->run->immediate_exit = 1;
        ioctl(cpu->fd, KVM_RUN, 0);
        cpus->parked++;
        pthread_cond_broadcast(&cpus->changed);
        while (cpus->pause && !cpus->end)
            pthread_cond_wait(&cpus->changed, &cpus->lock);
        cpus->parked--;
        cpu->run->immediate_exit = 0;
    }
    end = cpus->end;
    pthread_mutex_unlock(&cpus->lock);
    return !end;
}

static void *cpu_main(void *arg)
{
    struct cpu *cpu = arg;
    struct machine *machine = cpu->machine;
    char name[16];

    snprintf(name, sizeof(name), "cpu %u", cpu->index);
    pthread_setname_np(pthread_self(), name);
    if (park(cpu) && sandbox_thread(SANDBOX_CPU) < 0) { /* the first time: the process has its filter */
        pthread_mutex_lock(&machine->lock);
        crash(cpu, "the filter of system calls", 0);
        pthread_mutex_unlock(&machine->lock);
    }
    while (park(cpu)) {
        int result = ioctl(cpu->fd, KVM_RUN, 0);
        int error = result < 0 ? errno : 0;

        if (error == EINTR || error == EAGAIN)
            continue;
        pthread_mutex_lock(&machine->lock);
        if (error)
            crash(cpu, strerror(error), (uint64_t)error);
        else
            exit_handle(cpu);
        pthread_mutex_unlock(&machine->lock);
    }
    return NULL;
}

static void kicked(int number)
{
    (void)number; /* it ends KVM_RUN by being there */
}

static int thread_start(struct cpu *cpu)
{
    struct sigaction action = {.sa_handler = kicked};
    sigset_t mask, before;
    int err;

    sigaction(KICK, &action, NULL);
    sigfillset(&mask);
    sigdelset(&mask, KICK);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    err = -pthread_create(&cpu->thread, NULL, cpu_main, cpu);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    cpu->started = err == 0;
    return err;
}

static int cpu_open(struct machine *machine, struct cpu *cpu, unsigned index)
{
    int err;

    cpu->machine = machine;
    cpu->index = index;
    cpu->fd = ioctl(machine->vm, KVM_CREATE_VCPU, (unsigned long)index);
    if (cpu->fd < 0)
        return -errno;
    cpu->run = mmap(NULL, machine->cpus->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (cpu->run == MAP_FAILED) {
        cpu->run = NULL;
        return -errno;
    }
    err = cpuid_set(cpu);
    if (err == 0)
        err = cpu_state_get(cpu, &cpu->initial);
    return err == 0 ? thread_start(cpu) : err;
}

int cpus_open(struct machine *machine)
{
    struct cpus *cpus = calloc(1, sizeof(*cpus) + machine->options->cpus * sizeof(*cpus->cpu));
    int size = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    int most = ioctl(machine->kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

    machine->cpus = cpus;
    if (!cpus)
        return machine_error(machine, -ENOMEM, "out of memory");
    if (size < (int)sizeof(struct kvm_run))
        return machine_error(machine, -ENOTSUP, "/dev/kvm: no processors");
    if (most > 0 && machine->options->cpus > (unsigned)most)
        return machine_error(machine, -EINVAL, "/dev/kvm: at most %d processors", most);
    cpus->run_size = (size_t)size;
    cpus->pause = true;
    pthread_mutex_init(&cpus->lock, NULL);
    pthread_cond_init(&cpus->changed, NULL);
    for (unsigned i = 0; i < machine->options->cpus; i++) {
        int err;

        cpus->cpu[i].fd = -1;
        cpus->count = i + 1;
        err = cpu_open(machine, &cpus->cpu[i], i);
        if (err < 0)
            return machine_error(machine, err, "/dev/kvm: processor %u: %s", i, strerror(-err));
    }
    return 0;
}

void cpus_close(struct machine *machine)
{
    struct cpus *cpus = machine->cpus;

    if (!cpus)
        return;
    pthread_mutex_lock(&cpus->lock);
    cpus->end = true;
    pthread_cond_broadcast(&cpus->changed);
    pthread_mutex_unlock(&cpus->lock);
    for (unsigned i = 0; i < cpus->count; i++) {
        struct cpu *cpu = &cpus->cpu[i];

        if (cpu->started)
            pthread_join(cpu->thread, NULL);
        if (cpu->run)
            munmap(cpu->run, cpus->run_size);
        if (cpu->fd >= 0)
            close(cpu->fd);
    }
    free(cpus);
    machine->cpus = NULL;
}

void cpus_run(struct machine *machine)
{
    struct cpus *cpus = machine->cpus;

    pthread_mutex_lock(&cpus->lock);
    cpus->pause = false;
    pthread_cond_broadcast(&cpus->changed);
    pthread_mutex_unlock(&cpus->lock);
}

/* immediate_exit is for one that is about to enter the guest, the signal for one that is in it. */
void cpus_pause_ask(struct machine *machine)
{
    struct cpus *cpus = machine->cpus;

    pthread_mutex_lock(&cpus->lock);
    if (!cpus->pause) {
        cpus->pause = true;
        for (unsigned i = 0; i < cpus->count; i++) {
            cpus->cpu[i].run->immediate_exit = 1;
            pthread_kill(cpus->cpu[i].thread, KICK);
        }
    }
    pthread_mutex_unlock(&cpus->lock);
}

void cpus_pause(struct machine *machine)
{
    struct cpus *cpus = machine->cpus;

    cpus_pause_ask(machine);
    pthread_mutex_lock(&cpus->lock);
    while (cpus->parked < cpus->count)
        pthread_cond_wait(&cpus->changed, &cpus->lock);
    pthread_mutex_unlock(&cpus->lock);
}

void cpus_reset(struct machine *machine)
{
    struct cpus *cpus = machine->cpus;

    pthread_mutex_lock(&cpus->lock);
    cpus->nmi = false;
    pthread_mutex_unlock(&cpus->lock);
    for (unsigned i = 0; i < cpus->count; i++)
        cpu_state_set(&cpus->cpu[i], &cpus->cpu[i].initial);
}

/* Its own thread does it: any other would wait until the guest leaves KVM_RUN by itself. */
void cpus_nmi(struct machine *machine)
{
    struct cpus *cpus = machine->cpus;

    pthread_mutex_lock(&cpus->lock);
    cpus->nmi = true;
    cpus->cpu[0].run->immediate_exit = 1;
    pthread_kill(cpus->cpu[0].thread, KICK);
    pthread_mutex_unlock(&cpus->lock);
}
