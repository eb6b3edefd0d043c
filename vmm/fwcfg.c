/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fw_cfg: a key is selected and its bytes are read in order, one at a time by a port, or many by DMA (a descriptor in
 * the guest's memory, big-endian). Items are read-only.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "disk/endian.h"
#include "fwcfg.h"
#include "machine.h"

#define SELECT 0x510u /* and data at 511 */
#define DMA 0x514u

#define KEY_SIGNATURE 0x00u
#define KEY_ID 0x01u
#define KEY_DIRECTORY 0x19u
#define KEY_FILES 0x20u
#define ID_PORTS 1u
#define ID_DMA 2u

#define DMA_SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG", what the DMA address reads as */
#define DMA_ERROR 1u
#define DMA_READ 2u
#define DMA_SKIP 4u
#define DMA_SELECT 8u
#define DMA_WRITE 16u

struct dma {
    struct be32 control, length; /* control: the key in its upper half */
    struct be64 address;
};
_Static_assert(sizeof(struct dma) == 16, "fw_cfg DMA");

struct entry {
    struct be32 size;
    struct be16 key, reserved;
    char name[56];
};
_Static_assert(sizeof(struct entry) == 64, "fw_cfg directory");

static const struct fwcfg_item *selected(const struct fwcfg *fwcfg)
{
    for (unsigned i = 0; i < fwcfg->item_count; i++)
        if (fwcfg->item[i].key == fwcfg->state.key)
            return &fwcfg->item[i];
    return NULL;
}

static void item_select(struct fwcfg *fwcfg, uint16_t key)
{
    fwcfg->state.key = key;
    fwcfg->state.at = 0;
}

/* What is left of the selected item, from where it stands; *length becomes at most that. */
static const uint8_t *next(struct fwcfg *fwcfg, uint32_t *length)
{
    const struct fwcfg_item *item = selected(fwcfg);
    uint32_t left = item && fwcfg->state.at < item->size ? item->size - fwcfg->state.at : 0;
    const uint8_t *at = left > 0 ? (const uint8_t *)item->data + fwcfg->state.at : NULL;

    if (*length > left)
        *length = left;
    fwcfg->state.at += *length;
    return at;
}

/* Beyond its end an item reads as zeros. */
static int dma_read(struct fwcfg *fwcfg, uint64_t address, uint32_t length)
{
    uint8_t *to = memory_range(&fwcfg->machine->memory, address, length);
    uint32_t part = length;
    const uint8_t *from;

    if (length == 0)
        return 0;
    if (!to)
        return -EFAULT;
    from = next(fwcfg, &part);
    if (part > 0)
        memcpy(to, from, part);
    memset(to + part, 0, length - part);
    memory_mark(&fwcfg->machine->memory, to, length);
    return 0;
}

static void dma_run(struct fwcfg *fwcfg, uint64_t address)
{
    struct memory *memory = &fwcfg->machine->memory;
    uint32_t control, length, result = 0;
    struct be32 answer;
    struct dma dma;

    if (memory_read(memory, address, &dma, sizeof(dma)) < 0)
        return;
    control = be32_get(dma.control);
    length = be32_get(dma.length);
    if (control & DMA_SELECT)
        item_select(fwcfg, (uint16_t)(control >> 16));
    if (control & DMA_READ)
        result = dma_read(fwcfg, be64_get(dma.address), length) < 0 ? DMA_ERROR : 0;
    else if (control & DMA_SKIP)
        next(fwcfg, &length);
    else if (control & DMA_WRITE)
        result = DMA_ERROR;
    answer = be32_of(result);
    memory_write(memory, address, &answer, sizeof(answer));
}

/* ---- Ports ---- */

static uint64_t port_read(void *owner, uint64_t offset, unsigned size)
{
    uint32_t one = 1;
    const uint8_t *byte = offset == 1 && size == 1 ? next(owner, &one) : NULL;

    return byte ? *byte : 0;
}

static void port_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 0 && size == 2)
        item_select(owner, (uint16_t)value);
}

static uint64_t address_read(void *owner, uint64_t offset, unsigned size)
{
    (void)owner;
    (void)size;
    return __builtin_bswap64(DMA_SIGNATURE) >> 8 * offset;
}

/* The address is big-endian, its upper half first; the lower half starts the transfer. */
static void address_write(void *owner, uint64_t offset, unsigned size, uint64_t value)
{
    struct fwcfg *fwcfg = owner;
    uint32_t half = __builtin_bswap32((uint32_t)value);

    if (offset == 0 && size == 4) {
        fwcfg->state.dma_high = half;
    } else if (offset == 4 && size == 4) {
        uint64_t address = (uint64_t)fwcfg->state.dma_high << 32 | half;

        fwcfg->state.dma_high = 0;
        dma_run(fwcfg, address);
    }
}

/* ---- Items ---- */

static void item_add(struct fwcfg *fwcfg, uint16_t key, const void *data, uint32_t size)
{
    assert(fwcfg->item_count < sizeof(fwcfg->item) / sizeof(*fwcfg->item));
    fwcfg->item[fwcfg->item_count++] = (struct fwcfg_item){key, data, size};
}

void fwcfg_number_add(struct fwcfg *fwcfg, uint16_t key, uint64_t value, unsigned size)
{
    uint8_t *at = fwcfg->numbers + fwcfg->number_size;

    assert(fwcfg->number_size + size <= sizeof(fwcfg->numbers));
    memcpy(at, &value, size);
    fwcfg->number_size += size;
    item_add(fwcfg, key, at, size);
}

void fwcfg_file_add(struct fwcfg *fwcfg, const char *name, const void *data, uint32_t size)
{
    struct entry entry = {.size = be32_of(size), .key = be16_of((uint16_t)(KEY_FILES + fwcfg->file_count))};
    struct be32 count = be32_of(fwcfg->file_count + 1);

    assert(fwcfg->file_count < FWCFG_FILES_MAX && strlen(name) < sizeof(entry.name));
    memcpy(entry.name, name, strlen(name));
    memcpy(fwcfg->directory, &count, sizeof(count));
    memcpy(fwcfg->directory + sizeof(count) + fwcfg->file_count * sizeof(entry), &entry, sizeof(entry));
    item_add(fwcfg, (uint16_t)(KEY_FILES + fwcfg->file_count), data, size);
    fwcfg->file_count++;
}

int fwcfg_open(struct fwcfg *fwcfg, struct machine *machine)
{
    int err;

    memset(fwcfg, 0, sizeof(*fwcfg));
    fwcfg->machine = machine;
    item_add(fwcfg, KEY_SIGNATURE, "QEMU", 4);
    item_add(fwcfg, KEY_DIRECTORY, fwcfg->directory, sizeof(fwcfg->directory));
    fwcfg_number_add(fwcfg, KEY_ID, ID_PORTS | ID_DMA, 4);
    fwcfg->ports = (struct bus_range){SELECT, 2, fwcfg, port_read, port_write};
    fwcfg->dma = (struct bus_range){DMA, 8, fwcfg, address_read, address_write};
    err = bus_add(&machine->pio, &fwcfg->ports);
    return err < 0 ? err : bus_add(&machine->pio, &fwcfg->dma);
}

void fwcfg_close(struct fwcfg *fwcfg)
{
    bus_remove(&fwcfg->machine->pio, &fwcfg->ports);
    bus_remove(&fwcfg->machine->pio, &fwcfg->dma);
}
