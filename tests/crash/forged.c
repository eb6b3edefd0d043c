/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that writes what looks like a VHD's footer into its own disk: no power cut may leave the file ending in it.
 * The guest would choose what the disk is, its size and its parent among it.
 *
 * CRASH_SEED: where to begin. A state that fails is named by its seed, case, cut and choice.
 */
#include "tests/rig.h"
#include "vhd/vhd.h"

#define BLOCK 4096u
#define ROUNDS 48u
#define STATES_PER_CUT 80u

static const struct rig_config config = {"vhd", DISK_DYNAMIC, BLOCK, 512, 1 << 19};

/* As the real one is, and half as large. */
static void forge(struct rig *rig, struct vhd_footer *footer)
{
    struct file *file;
    uint8_t *byte = (uint8_t *)footer;
    uint32_t sum = 0;

    test_ok(storage_open(rig->storage, "disk", false, NULL, &file));
    test_ok(file_read(file, footer, sizeof(*footer), 0));
    file_close(file);
    footer->current_size = be64_of(config.size / 2);
    footer->checksum = be32_of(0);
    for (size_t i = 0; i < sizeof(*footer); i++)
        sum += byte[i];
    footer->checksum = be32_of(~sum);
    test_true(vhd_footer_valid(footer));
}

static void verify(struct rig *rig, struct storage *state)
{
    struct vdisk *disk = rig_disk(rig, state, false);

    for (int writable = 1; writable >= 0; writable--) {
        if (vdisk_size(disk) != config.size)
            test_fail("%s: the guest's footer is believed: %llu bytes", rig->where,
                      (unsigned long long)vdisk_size(disk));
        rig_shut(rig, disk);
        disk = rig_disk(rig, state, writable);
    }
    rig_shut(rig, disk);
    rig_check(rig, state);
    storage_free(state);
}

static void explore(struct rig *rig, const char *name, uint64_t time, uint64_t *states)
{
    struct storage_cut cut;
    uint8_t *keep;

    storage_cut_at(rig->storage, time, &cut);
    keep = malloc(cut.count + 1);
    for (unsigned n = 0; n < STATES_PER_CUT; n++) {
        struct storage_choice choice = {.keep = keep, .seed = rng_next(&rig->rng), .tear = 512};

        for (size_t i = 0; i < cut.count; i++)
            keep[i] = n < 2 ? (uint8_t)(n * KEEP_ALL) : (uint8_t)(rng_below(&rig->rng, 2) * KEEP_ALL);
        snprintf(rig->where, sizeof(rig->where), "seed %llu %s: cut at %llu way %u", (unsigned long long)rig->seed,
                 name, (unsigned long long)time, n);
        verify(rig, storage_after_cut(&cut, &choice));
        ++*states;
    }
    free(keep);
    storage_cut_free(&cut);
}

static void explore_all(struct rig *rig, const char *name, uint64_t *states)
{
    struct storage_op *ops;
    size_t count = storage_ops(rig->storage, &ops);

    for (size_t i = 0; i < count; i++)
        if (ops[i].kind == STORAGE_SYNC)
            explore(rig, name, ops[i].end - 1, states);
    explore(rig, name, storage_clock(), states);
}

/* Blocks as other programs place them, one right behind the other: where a file is cut behind some of them, its last
 * sector was the data of the next. */
static void make_dense(struct rig *rig, const struct vhd_footer *forged, unsigned blocks)
{
    uint8_t bits[VHD_SECTOR], data[BLOCK];
    struct vhd_footer footer;
    struct vhd_header header;
    struct file *file;
    uint64_t at;

    memset(bits, 0xFF, sizeof(bits));
    for (unsigned i = 0; i < BLOCK / VHD_SECTOR; i++)
        memcpy(data + (size_t)i * VHD_SECTOR, forged, VHD_SECTOR);
    test_ok(storage_open(rig->storage, "disk", true, NULL, &file));
    test_ok(file_read(file, &footer, sizeof(footer), 0));
    test_ok(file_read(file, &header, sizeof(header), VHD_SECTOR));
    at = be64_get(header.table_offset) + vhd_align(4ull * be32_get(header.max_entries), VHD_SECTOR);
    for (unsigned i = 0; i < blocks; i++, at += sizeof(bits) + sizeof(data)) {
        struct be32 entry = be32_of((uint32_t)(at / VHD_SECTOR));

        if (at + VHD_SECTOR + BLOCK > file->size)
            test_ok(file_resize(file, at + VHD_SECTOR + BLOCK));
        test_ok(file_write(file, bits, sizeof(bits), at));
        test_ok(file_write(file, data, sizeof(data), at + sizeof(bits)));
        test_ok(file_write(file, &entry, sizeof(entry), be64_get(header.table_offset) + 4ull * i));
    }
    test_ok(file_resize(file, at + VHD_SECTOR));
    test_ok(file_write(file, &footer, sizeof(footer), at));
    file_close(file);
}

/* Blocks are discarded, and the end of the file is tidied at close. */
static void cut_off(struct rig *rig, uint64_t *states)
{
    unsigned blocks = 9 + (unsigned)rng_below(&rig->rng, 8), kept = 1 + (unsigned)rng_below(&rig->rng, 8);
    struct vhd_footer forged;
    struct vdisk *disk;

    forge(rig, &forged);
    make_dense(rig, &forged, blocks);
    storage_record(rig->storage);
    disk = rig_disk(rig, rig->storage, true);
    test_ok(vdisk_transfer(disk, rig->ring, VDISK_DISCARD, NULL, (uint64_t)kept * BLOCK,
                           (uint64_t)(blocks - kept) * BLOCK));
    rig_shut(rig, disk);
    explore_all(rig, "cut off", states);
}

/* The same, and the guest goes on: new blocks lie where the file once ended. */
static void cut_off_and_on(struct rig *rig, uint64_t *states)
{
    unsigned blocks = 9 + (unsigned)rng_below(&rig->rng, 8), kept = 1 + (unsigned)rng_below(&rig->rng, 4);
    struct vhd_footer forged;
    uint8_t data[BLOCK];
    struct vdisk *disk;

    forge(rig, &forged);
    make_dense(rig, &forged, blocks);
    for (unsigned i = 0; i < BLOCK / VHD_SECTOR; i++)
        memcpy(data + (size_t)i * VHD_SECTOR, &forged, VHD_SECTOR);
    storage_record(rig->storage);
    disk = rig_disk(rig, rig->storage, true);
    test_ok(vdisk_transfer(disk, rig->ring, VDISK_DISCARD, NULL, (uint64_t)kept * BLOCK,
                           (uint64_t)(blocks - kept) * BLOCK));
    rig_shut(rig, disk);
    disk = rig_disk(rig, rig->storage, true);
    for (unsigned i = kept; i < blocks; i++)
        test_ok(vdisk_transfer(disk, rig->ring, VDISK_WRITE, data, (uint64_t)i * BLOCK, BLOCK));
    rig_shut(rig, disk);
    explore_all(rig, "cut off and on", states);
}

/* A file that has lost its footer, of a length that is no whole number of sectors: its last bytes are then in a block
 * to come and in the gap behind it, until it has its new length. */
static void lost_footer(struct rig *rig, uint64_t *states)
{
    uint8_t data[BLOCK] = {0};
    unsigned ahead = 1 + (unsigned)rng_below(&rig->rng, 4);
    uint64_t behind = 100 + rng_below(&rig->rng, 300), last;
    struct vhd_footer forged;
    struct vdisk *disk;
    struct file *file;

    forge(rig, &forged);
    memcpy(data + BLOCK - (sizeof(forged) - behind), &forged, sizeof(forged) - behind);
    disk = rig_disk(rig, rig->storage, true);
    test_ok(vdisk_transfer(disk, rig->ring, VDISK_WRITE, data, 0, BLOCK));
    rig_shut(rig, disk);
    test_ok(storage_open(rig->storage, "disk", true, NULL, &file));
    last = file->size; /* a multiple of 4 KiB behind the block: the next block's data begins there */
    test_ok(file_write(file, (uint8_t[512]){0}, 512, last - 512));
    test_ok(file_resize(file, last + (ahead - 1) * 2ull * BLOCK + BLOCK + behind));
    file_close(file);
    storage_record(rig->storage);
    disk = rig_disk(rig, rig->storage, true);
    for (unsigned i = 1; i <= 6; i++)
        test_ok(vdisk_transfer(disk, rig->ring, VDISK_WRITE, data, (uint64_t)i * BLOCK, BLOCK));
    rig_shut(rig, disk);
    explore_all(rig, "lost footer", states);
}

int main(void)
{
    uint64_t seed = test_number("CRASH_SEED", 1), states = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        struct rig rig;

        rig_open(&rig, &config, seed + round);
        if (round % 3 == 0)
            lost_footer(&rig, &states);
        else if (round % 3 == 1)
            cut_off(&rig, &states);
        else
            cut_off_and_on(&rig, &states);
        rig_close(&rig);
    }
    printf("%llu crash states of disks that hold footers, seeds from %llu: none believed\n", (unsigned long long)states,
           (unsigned long long)seed);
    return 0;
}
