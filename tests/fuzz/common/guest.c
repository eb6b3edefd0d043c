/* SPDX-License-Identifier: BSD-2-Clause */
/* See guest.h. */
#include "tests/fuzz/common/guest.h"

#include "disk/engine.h"

#define REQUESTS 6u

/* What workers do is done at once: an input does the same each time, and no thread is waited for. */
void __wrap_worker_give(struct vdisk_io *io);

void __wrap_worker_give(struct vdisk_io *io)
{
    engine_block(io);
    ring_post(io->engine.ring, io);
}

static struct vdisk_ring *the_ring;

void guest_init(struct guest *guest, uint64_t seed)
{
    if (!the_ring)
        test_ok(vdisk_ring_open(0, VDISK_BACKEND_THREADS, &the_ring));
    guest->ring = the_ring;
    guest->spots = 0;
    guest->known = guest->must = false;
    guest->size = 0;
    rng_seed(&guest->rng, seed);
}

static void add_spot(struct guest *guest, uint64_t sector, uint64_t offset)
{
    struct guest_spot *spot = &guest->spot[guest->spots];

    offset -= offset % sector;
    if (guest->spots == GUEST_SPOTS || offset >= guest->size)
        return;
    spot->offset = offset;
    spot->length = guest->size - offset < GUEST_SPOT ? guest->size - offset : GUEST_SPOT;
    for (unsigned i = 0; i < guest->spots; i++)
        if (offset < guest->spot[i].offset + guest->spot[i].length && guest->spot[i].offset < offset + spot->length)
            return;
    guest->spots++;
}

/* The edges of the disk and of blocks, where the base was written, and anywhere. */
static void choose_spots(struct guest *guest, struct vdisk *disk)
{
    uint64_t sector = vdisk_sector_size(disk), block = vdisk_block_size(disk) ? vdisk_block_size(disk) : 65536;

    guest->size = vdisk_size(disk);
    add_spot(guest, sector, 0);
    add_spot(guest, sector, guest->size > GUEST_SPOT ? guest->size - GUEST_SPOT : 0);
    add_spot(guest, sector, block - GUEST_SPOT / 2);
    add_spot(guest, sector, rng_below(&guest->rng, guest->size / block + 1) * block);
    add_spot(guest, sector, rng_below(&guest->rng, guest->size));
    add_spot(guest, sector, rng_below(&guest->rng, guest->size < 4 * block ? guest->size : 4 * block));
}

static void compare(const struct guest *guest, const struct guest_spot *spot, const uint8_t *found)
{
    if (!guest->must || memcmp(found, spot->bytes, spot->length) == 0)
        return;
    for (uint64_t i = 0; i < spot->length; i++)
        if (found[i] != spot->bytes[i])
            test_fail("at 0x%llx stands %02x, not %02x", (unsigned long long)(spot->offset + i), found[i],
                      spot->bytes[i]);
}

int guest_look(struct guest *guest, struct vdisk *disk)
{
    static uint8_t bytes[GUEST_SPOT] __attribute__((aligned(4096)));

    if (!guest->known)
        choose_spots(guest, disk);
    else if (guest->size != vdisk_size(disk))
        test_fail("the disk's size changed from %llu to %llu", (unsigned long long)guest->size,
                  (unsigned long long)vdisk_size(disk));
    for (unsigned i = 0; i < guest->spots; i++) {
        struct guest_spot *spot = &guest->spot[i];
        int err = vdisk_transfer(disk, guest->ring, VDISK_READ, bytes, spot->offset, spot->length);

        if (err)
            return err;
        if (guest->known)
            compare(guest, spot, bytes);
        else
            memcpy(spot->bytes, bytes, spot->length);
    }
    guest->known = true;
    return 0;
}

/* What the spots hold after the request. A discarded sector keeps its bytes or is zero: asked for right away. */
static int note(struct guest *guest, struct vdisk *disk, enum vdisk_op op, const uint8_t *data, uint64_t offset,
                uint64_t length)
{
    static uint8_t bytes[GUEST_SPOT] __attribute__((aligned(4096)));
    static const uint8_t zeros[4096];
    uint64_t sector = vdisk_sector_size(disk);

    for (unsigned i = 0; i < guest->spots; i++) {
        struct guest_spot *spot = &guest->spot[i];
        uint64_t from = offset > spot->offset ? offset : spot->offset, end = offset + length;
        int err;

        if (end > spot->offset + spot->length)
            end = spot->offset + spot->length;
        if (from >= end)
            continue;
        if (op == VDISK_WRITE)
            memcpy(spot->bytes + (from - spot->offset), data + (from - offset), end - from);
        if (op == VDISK_ZERO)
            memset(spot->bytes + (from - spot->offset), 0, end - from);
        if (op != VDISK_DISCARD)
            continue;
        err = vdisk_transfer(disk, guest->ring, VDISK_READ, bytes, spot->offset, spot->length);
        if (err)
            return err;
        for (uint64_t at = from - spot->offset; at < end - spot->offset; at += sector)
            if (memcmp(bytes + at, zeros, sector) == 0)
                memset(spot->bytes + at, 0, sector);
    }
    return 0;
}

static int request(struct guest *guest, struct vdisk *disk)
{
    static uint64_t data[GUEST_SPOT / 8] __attribute__((aligned(4096)));
    static const enum vdisk_op ops[] = {VDISK_WRITE, VDISK_WRITE, VDISK_WRITE, VDISK_ZERO, VDISK_DISCARD, VDISK_FLUSH};
    enum vdisk_op op = ops[rng_below(&guest->rng, sizeof(ops) / sizeof(ops[0]))];
    const struct guest_spot *spot = &guest->spot[rng_below(&guest->rng, guest->spots)];
    uint64_t sector = vdisk_sector_size(disk), block = vdisk_block_size(disk), sectors = spot->length / sector;
    uint64_t first = rng_below(&guest->rng, sectors), count = 1 + rng_below(&guest->rng, sectors - first);
    uint64_t offset = spot->offset + first * sector, length = count * sector;
    int err;

    if (op == VDISK_FLUSH)
        offset = length = 0;
    if ((op == VDISK_ZERO || op == VDISK_DISCARD) && block && rng_below(&guest->rng, 2)) {
        offset = spot->offset / block * block; /* the whole block */
        length = guest->size - offset < block ? guest->size - offset : block;
    }
    for (size_t i = 0; i < GUEST_SPOT / 8; i++)
        data[i] = rng_next(&guest->rng) | 1;
    err = vdisk_transfer(disk, guest->ring, op, data, offset, length);
    return err ? err : note(guest, disk, op, (const uint8_t *)data, offset, length);
}

int guest_work(struct guest *guest, struct vdisk *disk)
{
    int err = guest_look(guest, disk);

    for (unsigned i = 0; i < REQUESTS && !err; i++) {
        err = request(guest, disk);
        if (!err)
            err = guest_look(guest, disk);
    }
    return err ? err : vdisk_transfer(disk, guest->ring, VDISK_FLUSH, NULL, 0, 0);
}
