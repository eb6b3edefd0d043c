/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that writes to the first virtio-blk disk, eight requests at a time, and knows of each block of 4 KiB which
 * generation it has. The first letter of its command line:
 *
 *   w   writes, zeroes, and reads again, until it is sent a q; then reads everything, says "sum N" and switches off. Says
 *       "told N" when it is told of another size, in sectors, and uses what is new.
 *   v   reads everything, says "sum N" of what it finds, and switches off.
 *
 * The sum is one of all blocks' generations. "bad ..." is what it says where something is not as it was.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdbool.h>
#include <stdint.h>

#define COM1 0x3f8
#define QUEUE_SIZE 256u
#define DEPTH 8u
#define BLOCK 4096u
#define SECTORS (BLOCK / 512)
#define EDGE (BLOCK / 8 - 64) /* words from the first sector of a block to its last one */
#define PATIENCE 2000000000u

/* Memory as this guest uses it; it starts as zeros. */
#define DESCRIPTORS ((volatile struct descriptor *)0x2000000)
#define AVAIL ((volatile struct avail *)0x2001000)
#define USED ((volatile struct used *)0x2002000)
#define REQUESTS ((volatile struct request *)0x2003000)
#define DATA(slot) ((volatile uint64_t *)(0x2100000ul + (slot) * BLOCK))
#define GENERATION ((volatile uint32_t *)0x3000000)
#define BLOCKS_MAX 0x200000u

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
};

struct avail {
    uint16_t flags, index, ring[QUEUE_SIZE];
};

struct used {
    uint16_t flags, index;
    struct {
        uint32_t id, length;
    } ring[QUEUE_SIZE];
};

struct request {
    struct virtio_blk_outhdr header;
    uint8_t status, padding[47];
};

struct guest {
    volatile uint8_t *bar;
    uint16_t ports; /* of the queues' notifications */
    uint64_t blocks;
    uint16_t seen; /* of the used ring */
    uint64_t random;
    uint32_t generation;
};

/* ---- The machine ---- */

static void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void outw(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static void outl(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static uint32_t inl(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void say(const char *text)
{
    while (*text)
        outb(COM1, (uint8_t)*text++);
}

static void say_number(const char *what, uint64_t number)
{
    char digits[24];
    unsigned at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    say(what);
    say(digits + at);
    say("\n");
}

static void off(void)
{
    for (unsigned type = 0; type < 8; type++)
        outw(0x604, (uint16_t)(0x2000 | type << 10));
    for (;;)
        __asm__ volatile("hlt");
}

static void bad(const char *what, uint64_t number)
{
    say("bad ");
    say_number(what, number);
    off();
}

static uint32_t pci_read(unsigned slot, unsigned offset)
{
    outl(0xcf8, 0x80000000u | slot << 11 | offset);
    return inl(0xcfc);
}

static void pci_write(unsigned slot, unsigned offset, uint32_t value)
{
    outl(0xcf8, 0x80000000u | slot << 11 | offset);
    outl(0xcfc, value);
}

/* ---- The disk ---- */

static volatile struct virtio_pci_common_cfg *common(const struct guest *guest)
{
    return (volatile struct virtio_pci_common_cfg *)guest->bar;
}

static uint64_t capacity(const struct guest *guest)
{
    return *(volatile uint64_t *)(guest->bar + 0x2000);
}

static void look(struct guest *guest)
{
    uint64_t blocks = capacity(guest) / SECTORS;

    guest->blocks = blocks < BLOCKS_MAX ? blocks : BLOCKS_MAX;
}

static void start(struct guest *guest)
{
    volatile struct virtio_pci_common_cfg *device;
    unsigned slot = 1;

    while (pci_read(slot, 0) != 0x10421af4)
        if (++slot == 32)
            bad("machine: no virtio-blk below slot ", slot);
    pci_write(slot, 4, 7);
    guest->bar = (volatile uint8_t *)(uint64_t)(pci_read(slot, 0x10) & ~15u);
    guest->ports = (uint16_t)(pci_read(slot, 0x18) & ~15u);
    device = common(guest);
    device->device_status = 0;
    device->device_status = 1 | 2;
    device->guest_feature_select = 1;
    device->guest_feature = 1; /* VERSION_1 */
    device->device_feature_select = device->guest_feature_select = 0;
    device->guest_feature = device->device_feature & (1u << VIRTIO_BLK_F_FLUSH | 1u << VIRTIO_BLK_F_WRITE_ZEROES);
    device->device_status = 1 | 2 | 8;
    device->queue_select = 0;
    device->queue_size = QUEUE_SIZE;
    device->queue_desc_lo = (uint32_t)(uint64_t)DESCRIPTORS;
    device->queue_avail_lo = (uint32_t)(uint64_t)AVAIL;
    device->queue_used_lo = (uint32_t)(uint64_t)USED;
    device->queue_enable = 1;
    AVAIL->flags = 1; /* no interrupts */
    device->device_status = 1 | 2 | 8 | 4;
    if (device->device_status != 15)
        bad("status ", device->device_status);
    look(guest);
}

static void request(unsigned slot, uint32_t type, uint64_t block)
{
    volatile struct request *request = &REQUESTS[slot];
    volatile struct descriptor *descriptor = &DESCRIPTORS[slot * 3];
    unsigned first = slot * 3, count = type == VIRTIO_BLK_T_FLUSH ? 2 : 3;
    uint32_t length = type == VIRTIO_BLK_T_WRITE_ZEROES ? 16 : BLOCK;

    request->header.type = type;
    request->header.sector = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT ? block * SECTORS : 0;
    request->status = 0xee;
    descriptor[0] = (struct descriptor){(uint64_t)&request->header, 16, 1, (uint16_t)(first + 1)};
    descriptor[1] = (struct descriptor){(uint64_t)DATA(slot), length, type == VIRTIO_BLK_T_IN ? 3 : 1, (uint16_t)(first + 2)};
    descriptor[count - 1] = (struct descriptor){(uint64_t)&request->status, 1, 2, 0};
    AVAIL->ring[(uint16_t)(AVAIL->index + slot) % QUEUE_SIZE] = (uint16_t)first;
}

/* So many requests were made; returns when all of them are done. */
static void run(struct guest *guest, unsigned count)
{
    uint16_t end = (uint16_t)(guest->seen + count);

    __asm__ volatile("" : : : "memory");
    AVAIL->index = (uint16_t)(AVAIL->index + count);
    __asm__ volatile("mfence" : : : "memory");
    outw(guest->ports, 0);
    for (unsigned turns = 0; USED->index != end; turns++) {
        if (turns == PATIENCE)
            bad("disk: no answer after so many turns: ", turns);
        __asm__ volatile("pause" : : : "memory");
    }
    guest->seen = end;
    for (unsigned slot = 0; slot < count; slot++)
        if (REQUESTS[slot].status != 0)
            bad("status of a request of type ", REQUESTS[slot].header.type << 8 | REQUESTS[slot].status);
}

/* ---- Content: in the first and the last sector the block and its generation; zeros are generation 0 ---- */

static void fill(unsigned slot, uint64_t block, uint32_t generation)
{
    for (unsigned word = 0; word < BLOCK / 8; word += EDGE) {
        DATA(slot)[word] = block + 1;
        DATA(slot)[word + 1] = generation;
    }
}

static uint32_t generation_found(unsigned slot, uint64_t block)
{
    uint64_t generation = DATA(slot)[1];

    for (unsigned word = 0; word < BLOCK / 8; word += EDGE) {
        if (DATA(slot)[word] != (generation ? block + 1 : 0))
            bad("content: another block's, or half of one, in block ", block);
        if (DATA(slot)[word + 1] != generation)
            bad("content: two generations in block ", block);
    }
    return (uint32_t)generation;
}

static uint64_t random_next(struct guest *guest)
{
    guest->random = guest->random * 6364136223846793005u + 1442695040888963407u;
    return guest->random >> 33;
}

static void zero(unsigned slot, uint64_t block)
{
    volatile struct virtio_blk_discard_write_zeroes *range = (void *)DATA(slot);

    range->sector = block * SECTORS;
    range->num_sectors = SECTORS;
    range->flags = 0;
    GENERATION[block] = 0;
    request(slot, VIRTIO_BLK_T_WRITE_ZEROES, block);
}

/* Eight blocks, far from each other. */
static void round_run(struct guest *guest)
{
    uint64_t first = random_next(guest) % guest->blocks, stride = guest->blocks / DEPTH, block[DEPTH];
    unsigned kind = (unsigned)random_next(guest) % 8;

    guest->generation++;
    for (unsigned slot = 0; slot < DEPTH; slot++) {
        block[slot] = (first + slot * stride) % guest->blocks;
        if (kind == 0) {
            zero(slot, block[slot]);
        } else if (kind < 3) {
            request(slot, VIRTIO_BLK_T_IN, block[slot]);
        } else {
            GENERATION[block[slot]] = guest->generation;
            fill(slot, block[slot], guest->generation);
            request(slot, VIRTIO_BLK_T_OUT, block[slot]);
        }
    }
    run(guest, DEPTH);
    for (unsigned slot = 0; slot < DEPTH && kind > 0 && kind < 3; slot++)
        if (generation_found(slot, block[slot]) != GENERATION[block[slot]])
            bad("content: an older generation, in block ", block[slot]);
}

static void flush(struct guest *guest)
{
    request(0, VIRTIO_BLK_T_FLUSH, 0);
    run(guest, 1);
}

/* known: what is found must be what was written. */
static uint64_t read_all(struct guest *guest, bool known)
{
    uint64_t sum = 0;

    for (uint64_t block = 0; block < guest->blocks; block += DEPTH) {
        unsigned count = guest->blocks - block < DEPTH ? (unsigned)(guest->blocks - block) : DEPTH;

        for (unsigned slot = 0; slot < count; slot++)
            request(slot, VIRTIO_BLK_T_IN, block + slot);
        run(guest, count);
        for (unsigned slot = 0; slot < count; slot++) {
            uint32_t generation = generation_found(slot, block + slot);

            if (known && generation != GENERATION[block + slot])
                bad("content: another generation than was written, in block ", block + slot);
            sum += generation * ((block + slot) * 2654435761u + 1);
        }
    }
    return sum;
}

static void write_until_told(struct guest *guest)
{
    for (unsigned rounds = 1;; rounds++) {
        round_run(guest);
        if (rounds % 16 == 0)
            flush(guest);
        if (rounds == 32)
            say("the guest writes\n");
        if (*(guest->bar + 0x1000) & 2) { /* ISR: the configuration has changed */
            look(guest);
            say_number("told ", capacity(guest));
        }
        if ((inb(COM1 + 5) & 1) && inb(COM1) == 'q')
            break;
    }
    flush(guest);
}

void guest_main(uint8_t letter)
{
    struct guest guest = {.random = 1};

    start(&guest);
    if (letter == 'w')
        write_until_told(&guest);
    say_number("sum ", read_all(&guest, letter == 'w'));
    off();
}
