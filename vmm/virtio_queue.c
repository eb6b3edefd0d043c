/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Split virtqueues ([VIRTIO] 2.7). The rings are shared with a driver that may change any word at any time: each is
 * read once into a copy, and the copy is checked and used. What the driver breaks is its own queue, which is then left
 * alone.
 */
#include <errno.h>
#include <linux/virtio_pci.h>
#include <string.h>
#include <sys/eventfd.h>

#include "disk/mutant.h"
#include "machine.h"
#include "virtio.h"

#define ROUND 64u /* requests that a kick serves, before the loop's others have their turn */

static uint16_t load(const uint16_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(uint16_t *word, uint16_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static uint16_t slot(const struct virtio_queue *queue, uint16_t index)
{
    return index & (uint16_t)(queue->state.size - 1);
}

static uint16_t *used_event(const struct virtio_queue *queue)
{
    return &queue->avail->ring[queue->state.size];
}

static uint16_t *avail_event(const struct virtio_queue *queue)
{
    return (uint16_t *)&queue->used->ring[queue->state.size];
}

static void *ring_map(const struct virtio_queue *queue, uint64_t address, size_t length, unsigned alignment)
{
    return address % alignment == 0 ? memory_range(queue->device->memory, address, length) : NULL;
}

int virtio_queue_map(struct virtio_queue *queue)
{
    const struct virtio_queue_state *state = &queue->state;
    size_t size = state->size;

    queue->descriptors = ring_map(queue, state->descriptors, size * sizeof(*queue->descriptors), 16);
    queue->avail = ring_map(queue, state->avail, sizeof(*queue->avail) + (size + 1) * sizeof(uint16_t), 2);
    queue->used = ring_map(queue, state->used, sizeof(*queue->used) + size * sizeof(queue->used->ring[0]) + 2, 4);
    return queue->descriptors && queue->avail && queue->used ? 0 : -EFAULT;
}

void virtio_queue_break(struct virtio_queue *queue, const char *why)
{
    struct virtio_device *device = queue->device;

    if (queue->broken)
        return;
    queue->broken = true;
    if (device->machine && machine_guest_heard(device->machine))
        machine_say(device->machine, VDISK_WARNING, "%s: queue %u: %s: stopped until the guest resets the device",
                    device->pci.name, queue->index, why);
    atomic_fetch_or(&device->state.status, VIRTIO_CONFIG_S_NEEDS_RESET);
    virtio_interrupt(device, device->state.config_vector, VIRTIO_PCI_ISR_CONFIG);
}

static int refuse(struct virtio_queue *queue, const char *why)
{
    virtio_queue_break(queue, why);
    return -EIO;
}

/* One descriptor's memory into the list: all that is readable comes first ([VIRTIO] 2.7.4.2). */
static const char *segment_add(struct virtio_queue *queue, struct virtio_chain *chain,
                               const struct vring_desc *descriptor)
{
    unsigned count = chain->readable_count + chain->writable_count;
    void *host = memory_range(queue->device->memory, descriptor->addr, descriptor->len);

    if (!host)
        return descriptor->len == 0 ? "an empty descriptor" : "a descriptor that is not in memory";
    if (count == chain->iov_max)
        return "a chain that is too long";
    chain->iov[count] = (struct iovec){host, descriptor->len};
    if (descriptor->flags & VRING_DESC_F_WRITE) {
        chain->writable_count++;
        chain->writable_length += descriptor->len;
    } else if (chain->writable_count > 0) {
        return "a readable descriptor after a writable one";
    } else {
        chain->readable_count++;
        chain->readable_length += descriptor->len;
    }
    return NULL;
}

/* Walks a table of so many descriptors from one on. A chain visits none twice, so it ends within count steps. */
static const char *table_walk(struct virtio_queue *queue, struct virtio_chain *chain, const struct vring_desc *table,
                              unsigned count, unsigned index, bool indirect)
{
    for (unsigned steps = 0; steps < count; steps++) {
        struct vring_desc copy;
        const char *why;

        if (index >= count)
            return "a descriptor beyond the table";
        memcpy(&copy, (const void *)&table[index], sizeof(copy));
        __asm__ volatile("" : "+m"(copy)); /* the copy is what is used: it is not read again from the guest */
        if (copy.flags & VRING_DESC_F_INDIRECT) {
            const void *inner = memory_range(queue->device->memory, copy.addr, copy.len);

            if (indirect || (copy.flags & VRING_DESC_F_NEXT) || !virtio_has(queue->device, VIRTIO_INDIRECT))
                return "an indirect table where none may be";
            if (!inner || copy.len % sizeof(copy) != 0 || copy.len / sizeof(copy) > UINT16_MAX)
                return "an indirect table that is not in memory or not whole";
            return table_walk(queue, chain, inner, copy.len / sizeof(copy), 0, true);
        }
        why = segment_add(queue, chain, &copy);
        if (why || !(copy.flags & VRING_DESC_F_NEXT))
            return why;
        index = copy.next;
    }
    return "a chain without an end";
}

int virtio_queue_pop(struct virtio_queue *queue, struct virtio_chain *chain)
{
    struct virtio_queue_state *state = &queue->state;
    uint16_t waiting;
    const char *why;

    if (!queue->active || queue->broken)
        return 0;
    waiting = (uint16_t)(load(&queue->avail->idx) - state->avail_next);
    if (waiting == 0)
        return 0;
    if (waiting > state->size)
        return refuse(queue, "an avail index beyond the ring");
    if ((uint16_t)(state->avail_next - state->used_next) >= state->size)
        return refuse(queue, "more requests than descriptors");
    chain->head = load(&queue->avail->ring[slot(queue, state->avail_next)]);
    chain->readable_count = chain->writable_count = 0;
    chain->readable_length = chain->writable_length = 0;
    if (chain->head >= state->size)
        return refuse(queue, "a ring head beyond the table");
    why = table_walk(queue, chain, queue->descriptors, state->size, chain->head, false);
    if (why)
        return refuse(queue, why);
    chain->readable = chain->iov;
    chain->writable = chain->iov + chain->readable_count;
    state->avail_next++;
    return 1;
}

/* The full barrier orders our wish before the look at the ring; the driver does it the other way round
 * ([VIRTIO] 2.7.10). */
bool virtio_queue_listen(struct virtio_queue *queue, bool on)
{
    if (!queue->active || queue->broken)
        return false;
    if (!virtio_has(queue->device, VIRTIO_EVENT_INDEX))
        store(&queue->used->flags, on ? 0 : VRING_USED_F_NO_NOTIFY);
    else if (on)
        store(avail_event(queue), queue->state.avail_next);
    memory_mark(queue->device->memory, queue->used, sizeof(*queue->used));
    memory_mark(queue->device->memory, avail_event(queue), sizeof(uint16_t));
    if (!MUTANT("queue-listen-unordered"))
        atomic_thread_fence(memory_order_seq_cst);
    return on && load(&queue->avail->idx) != queue->state.avail_next;
}

static void written_mark(struct memory *memory, const struct virtio_chain *chain, size_t written)
{
    for (unsigned i = 0; i < chain->writable_count && written > 0; i++) {
        size_t part = chain->writable[i].iov_len < written ? chain->writable[i].iov_len : written;

        memory_mark(memory, chain->writable[i].iov_base, part);
        written -= part;
    }
}

void virtio_queue_fill(struct virtio_queue *queue, unsigned ahead, const struct virtio_chain *chain, size_t written)
{
    uint16_t at = slot(queue, (uint16_t)(queue->state.used_next + ahead));
    struct vring_used *used = queue->used;

    if (!queue->active)
        return;
    if (queue->device->memory->dirty)
        written_mark(queue->device->memory, chain, written);
    used->ring[at].id = chain->head;
    used->ring[at].len = (uint32_t)written;
    memory_mark(queue->device->memory, &used->ring[at], sizeof(used->ring[at]));
}

/* The elements first, then the index that shows them. */
void virtio_queue_flush(struct virtio_queue *queue, unsigned count)
{
    if (!queue->active)
        return;
    queue->state.used_next = (uint16_t)(queue->state.used_next + count);
    store(&queue->used->idx, queue->state.used_next);
    memory_mark(queue->device->memory, queue->used, sizeof(*queue->used));
}

void virtio_queue_push(struct virtio_queue *queue, const struct virtio_chain *chain, size_t written)
{
    virtio_queue_fill(queue, 0, chain, written);
    virtio_queue_flush(queue, 1);
}

void virtio_queue_unpop(struct virtio_queue *queue, unsigned count)
{
    queue->state.avail_next = (uint16_t)(queue->state.avail_next - count);
}

/* Does the driver want to hear of the step from before to now? [VIRTIO] 2.7.7.2 */
static bool wanted(struct virtio_queue *queue, uint16_t before, uint16_t now)
{
    if (!virtio_has(queue->device, VIRTIO_EVENT_INDEX))
        return !(load(&queue->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
    return (uint16_t)(now - load(used_event(queue)) - 1) < (uint16_t)(now - before);
}

void virtio_queue_signal(struct virtio_queue *queue)
{
    struct virtio_queue_state *state = &queue->state;
    uint16_t before = state->used_signaled;

    if (!queue->active || before == state->used_next)
        return;
    atomic_thread_fence(memory_order_seq_cst); /* the index is seen before the driver's wish is read */
    state->used_signaled = state->used_next;
    if (wanted(queue, before, state->used_next))
        virtio_interrupt(queue->device, state->vector, 1);
}

/* A driver that adds as fast as it is served does not keep the loop from its others: after a round the queue kicks
 * itself, without having listened. Looks that find nothing count, too. */
bool virtio_queue_next(struct virtio_queue *queue, struct virtio_chain *chain)
{
    int found = 0;

    if (queue->round == 0)
        virtio_queue_listen(queue, false);
    do {
        if (queue->round++ == ROUND) {
            if (!MUTANT("queue-kick-lost"))
                eventfd_write(queue->kick.fd, 1);
            break;
        }
        found = virtio_queue_pop(queue, chain);
    } while (found == 0 && virtio_queue_listen(queue, true));
    if (found == 1)
        return true;
    queue->round = 0;
    virtio_queue_signal(queue);
    return false;
}

void virtio_queue_serve(struct virtio_queue *queue,
                        size_t (*answer)(struct virtio_device *device, const struct virtio_chain *chain))
{
    struct iovec iov[VIRTIO_QUEUE_SIZE];
    struct virtio_chain chain = {.iov = iov, .iov_max = VIRTIO_QUEUE_SIZE};

    while (virtio_queue_next(queue, &chain)) {
        size_t written = answer(queue->device, &chain);

        if (written == 0)
            virtio_queue_break(queue, "a request that is too short or unknown");
        else
            virtio_queue_push(queue, &chain, written);
    }
}
