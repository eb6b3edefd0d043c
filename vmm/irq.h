/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts, by KVM's interrupt controllers: lines (ISA and PCI INTx, shared, level) and messages (MSI-X, by irqfd).
 *
 * Threads: any.
 */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define IRQ_LINES 24u     /* GSIs of the IOAPIC */
#define IRQ_MESSAGES 512u /* GSIs behind them, a message each */

struct irq_message;

struct irq {
    int vm; /* borrowed: the VM's descriptor; -1: none, nothing is told (tests) */
    pthread_mutex_t lock;
    unsigned asserted[IRQ_LINES];              /* by how many sources */
    struct irq_message *message[IRQ_MESSAGES]; /* by GSI - IRQ_LINES */
};

int irq_open(struct irq *irq, int vm);
void irq_close(struct irq *irq);

/* One source of a level-triggered GSI; the line is up while any of its sources is. */
struct irq_line {
    struct irq *irq;
    unsigned gsi;
    bool level; /* under irq->lock */
};

void irq_line_set(struct irq_line *line, bool level);

/* One message-signalled interrupt. */
struct irq_message {
    struct irq *irq;
    int eventfd;
    unsigned gsi;
    bool routed; /* under irq->lock: address and data are set and not masked */
    uint32_t data;
    uint64_t address;
};

int irq_message_open(struct irq *irq, struct irq_message *message); /* masked */
void irq_message_close(struct irq_message *message);

/* Where it goes from now on; masked: nowhere (what fires then is the caller's to remember). */
int irq_message_route(struct irq_message *message, uint64_t address, uint32_t data, bool masked);

void irq_message_fire(struct irq_message *message);

#endif
