/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines and messages: see irq.h. The routes of a VM are one table for KVM: each change hands in all of it. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "irq.h"

#define PIC_LINES 16u
#define PIC_SLAVE 8u

struct routes {
    struct kvm_irq_routing header;
    struct kvm_irq_routing_entry entry[PIC_LINES + IRQ_LINES + IRQ_MESSAGES];
};

int irq_open(struct irq *irq, int vm)
{
    memset(irq, 0, sizeof(*irq));
    irq->vm = vm;
    pthread_mutex_init(&irq->lock, NULL);
    return 0;
}

void irq_close(struct irq *irq)
{
    pthread_mutex_destroy(&irq->lock);
}

static void level_tell(struct irq *irq, unsigned gsi, bool level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = level};

    if (irq->vm >= 0)
        ioctl(irq->vm, KVM_IRQ_LINE, &line);
}

void irq_line_set(struct irq_line *line, bool level)
{
    struct irq *irq = line->irq;
    unsigned before;

    pthread_mutex_lock(&irq->lock);
    if (line->level != level) {
        line->level = level;
        before = irq->asserted[line->gsi];
        irq->asserted[line->gsi] += level ? 1u : -1u;
        if ((before > 0) != (irq->asserted[line->gsi] > 0))
            level_tell(irq, line->gsi, level);
    }
    pthread_mutex_unlock(&irq->lock);
}

/* KVM's table: the two PICs and the IOAPIC on the first lines (the timer is GSI 0 on pin 0 of the PIC and 2 of the
 * IOAPIC), then the messages. */
static int routes_tell(struct irq *irq)
{
    struct routes *routes = calloc(1, sizeof(*routes));
    struct kvm_irq_routing_entry *entry = routes ? routes->entry : NULL;
    int err;

    if (!routes)
        return -ENOMEM;
    for (unsigned gsi = 0; gsi < IRQ_LINES; gsi++) {
        if (gsi < PIC_LINES && gsi != 2)
            *entry++ = (struct kvm_irq_routing_entry){
                .gsi = gsi,
                .type = KVM_IRQ_ROUTING_IRQCHIP,
                .u.irqchip = {.irqchip = gsi < PIC_SLAVE ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
                              .pin = gsi % PIC_SLAVE}};
        if (gsi != 2)
            *entry++ =
                (struct kvm_irq_routing_entry){.gsi = gsi,
                                               .type = KVM_IRQ_ROUTING_IRQCHIP,
                                               .u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = gsi == 0 ? 2 : gsi}};
    }
    for (unsigned i = 0; i < IRQ_MESSAGES; i++) {
        const struct irq_message *message = irq->message[i];

        if (message && message->routed)
            *entry++ = (struct kvm_irq_routing_entry){.gsi = message->gsi,
                                                      .type = KVM_IRQ_ROUTING_MSI,
                                                      .u.msi = {.address_lo = (uint32_t)message->address,
                                                                .address_hi = (uint32_t)(message->address >> 32),
                                                                .data = message->data}};
    }
    routes->header.nr = (uint32_t)(entry - routes->entry);
    err = irq->vm >= 0 && ioctl(irq->vm, KVM_SET_GSI_ROUTING, routes) < 0 ? -errno : 0;
    free(routes);
    return err;
}

static int irqfd_tell(struct irq_message *message, uint32_t flags)
{
    struct kvm_irqfd irqfd = {.fd = (uint32_t)message->eventfd, .gsi = message->gsi, .flags = flags};

    return message->irq->vm >= 0 && ioctl(message->irq->vm, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

int irq_message_open(struct irq *irq, struct irq_message *message)
{
    int err = -ENOSPC;

    memset(message, 0, sizeof(*message));
    message->irq = irq;
    message->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (message->eventfd < 0)
        return -errno;
    pthread_mutex_lock(&irq->lock);
    for (unsigned i = 0; i < IRQ_MESSAGES && message->gsi == 0; i++) {
        if (irq->message[i])
            continue;
        message->gsi = IRQ_LINES + i;
        err = irqfd_tell(message, 0);
        if (err == 0)
            irq->message[i] = message;
    }
    pthread_mutex_unlock(&irq->lock);
    if (err < 0)
        close(message->eventfd);
    return err;
}

void irq_message_close(struct irq_message *message)
{
    struct irq *irq = message->irq;

    irqfd_tell(message, KVM_IRQFD_FLAG_DEASSIGN);
    pthread_mutex_lock(&irq->lock);
    irq->message[message->gsi - IRQ_LINES] = NULL;
    pthread_mutex_unlock(&irq->lock);
    close(message->eventfd);
}

int irq_message_route(struct irq_message *message, uint64_t address, uint32_t data, bool masked)
{
    struct irq *irq = message->irq;
    int err = 0;

    pthread_mutex_lock(&irq->lock);
    if (message->routed == masked || (!masked && (message->address != address || message->data != data))) {
        message->routed = !masked;
        message->address = address;
        message->data = data;
        err = routes_tell(irq);
    }
    pthread_mutex_unlock(&irq->lock);
    return err;
}

void irq_message_fire(struct irq_message *message)
{
    eventfd_write(message->eventfd, 1);
}
