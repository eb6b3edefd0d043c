/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order of things in histories that chance seldom makes: each is written out, recorded and cut at every sync, in
 * every way that there is. Beside them, what must wait for requests under way, and what a full file system must not
 * come between.
 *
 * RIG_ONLY: a format.
 */
#include <time.h>

#include "disk/engine.h"
#include "disk/resize.h"
#include "tests/rig.h"
#include "vhd/vhd.h"
#include "vhdx/vhdx.h"

#define KIB 1024u
#define MIB (1u << 20)
#define GENERATION 7u /* of what is written here; the parent's is RIG_PARENT_GENERATION */

static const struct rig_config child = {"vhdx", DISK_DIFFERENCING, MIB, 512, 6 * MIB};
static const struct rig_config chunks = {"vhdx", DISK_DIFFERENCING, 32 * MIB, 512, (UINT64_C(4) << 30) + 32 * MIB};
static const struct rig_config many = {"vhdx", DISK_DIFFERENCING, MIB, 512, UINT64_C(4) << 30};
static const struct rig_config dynamic[] = {
    {"vhd", DISK_DYNAMIC, 64 * KIB, 512, MIB},
    {"vhdx", DISK_DYNAMIC, MIB, 512, 8 * MIB},
};

static unsigned states;

/* ---- Sectors ---- */

static int put(struct rig *rig, struct vdisk *disk, uint64_t sector, uint32_t generation)
{
    static _Alignas(4096) uint8_t bytes[512];
    struct content content = {.sector_size = 512, .size = disk->size, .sectors = disk->size / 512};

    content_fill(&content, bytes, sector, 1, generation);
    return vdisk_transfer(disk, rig->ring, VDISK_WRITE, bytes, sector * 512, 512);
}

static uint32_t get(struct rig *rig, struct vdisk *disk, uint64_t sector)
{
    static _Alignas(4096) uint8_t bytes[512];
    struct content content = {
        .sector_size = 512, .size = disk->size, .sectors = disk->size / 512, .generation = GENERATION};

    if (vdisk_transfer(disk, rig->ring, VDISK_READ, bytes, sector * 512, 512))
        test_fail("%s: sector %llu cannot be read", rig->where, (unsigned long long)sector);
    return content_decode(&content, bytes, sector);
}

static void expect(struct rig *rig, struct vdisk *disk, uint64_t sector, uint32_t one, uint32_t other)
{
    uint32_t found = get(rig, disk, sector);

    if (found != one && found != other)
        test_fail("%s: sector %llu is %#x, and may be %#x or %#x", rig->where, (unsigned long long)sector, found, one,
                  other);
}

static void flush(struct rig *rig, struct vdisk *disk)
{
    test_ok(vdisk_transfer(disk, rig->ring, VDISK_FLUSH, NULL, 0, 0));
}

/* ---- Cuts ---- */

typedef void look_fn(struct rig *rig, struct vdisk *disk);

static void look_at(struct rig *rig, const struct storage_cut *cut, const uint8_t *keep, look_fn *look)
{
    struct storage_choice choice = {.keep = keep, .seed = rng_next(&rig->rng), .tear = 512};
    struct storage *state = storage_after_cut(cut, &choice);
    struct vdisk *disk = rig_disk(rig, state, true);

    states++;
    look(rig, disk);
    rig_shut(rig, disk);
    rig_check(rig, state);
    disk = rig_disk(rig, state, false);
    look(rig, disk);
    rig_shut(rig, disk);
    storage_free(state);
}

/* Everything that was recorded, cut before the end of every sync and at last. */
static void cut_everywhere(struct rig *rig, const char *what, look_fn *look)
{
    struct storage_op *ops;
    size_t count = storage_ops(rig->storage, &ops);

    for (size_t i = 0; i <= count; i++) {
        struct storage_cut cut;
        uint8_t *keep;

        if (i < count && ops[i].kind != STORAGE_SYNC)
            continue;
        storage_cut_at(rig->storage, i < count ? ops[i].end - 1 : storage_clock(), &cut);
        keep = malloc(cut.count + 1);
        for (uint64_t way = 0; way < (cut.count <= 6 ? UINT64_C(1) << cut.count : 2 + 3 * cut.count); way++) {
            snprintf(rig->where, sizeof(rig->where), "%s: cut at operation %zu of %zu, way %llu of %zu", what, i, count,
                     (unsigned long long)way, cut.count);
            rig_choose(&rig->rng, way, cut.count, keep);
            look_at(rig, &cut, keep, look);
        }
        free(keep);
        storage_cut_free(&cut);
    }
}

/* ---- VHDX: bits without their block, and a close ---- */

/* Of the child's file: its BAT's position, and that of the first sector bitmap block. */
static uint64_t find_bat(struct rig *rig, uint64_t *bitmap)
{
    struct vdisk *disk = rig_disk(rig, rig->storage, false);
    uint64_t position = vhdx_of(disk)->regions.bat.position;

    get(rig, disk, 0); /* loads what is needed */
    if (bitmap)
        *bitmap = table_position(vhdx_of(disk)->bitmaps[0]);
    rig_shut(rig, disk);
    return position;
}

static void patch(struct rig *rig, uint64_t position, uint64_t length)
{
    static const uint8_t zeros[8];
    struct file *file;

    test_ok(storage_open(rig->storage, "disk", true, NULL, &file));
    if (length > sizeof(zeros))
        test_ok(file_zero(file, position, length, false));
    else
        test_ok(file_write(file, zeros, length, position));
    file_close(file);
}

static void look_beside(struct rig *rig, struct vdisk *disk)
{
    for (uint64_t sector = 0; sector < 16; sector++)
        expect(rig, disk, sector, RIG_PARENT_GENERATION, sector == 12 ? GENERATION : RIG_PARENT_GENERATION);
}

/* The bits were cleared in memory when the block got its home, and must be so in the file before the log forgets it. */
static void stale_bits(void)
{
    struct rig rig;
    struct vdisk *disk;

    rig_open(&rig, &child, 1);
    disk = rig_disk(&rig, rig.storage, true);
    for (uint64_t sector = 0; sector < 8; sector++)
        test_ok(put(&rig, disk, sector, GENERATION));
    rig_shut(&rig, disk);
    patch(&rig, find_bat(&rig, NULL), 8);
    storage_record(rig.storage);
    disk = rig_disk(&rig, rig.storage, true);
    test_ok(put(&rig, disk, 12, GENERATION));
    rig_shut(&rig, disk);
    cut_everywhere(&rig, "bits without their block", look_beside);
    rig_close(&rig);
}

/* ---- VHDX: a sync of more pages than an entry of the log holds ---- */

#define CHILDREN 122u /* blocks, each with a page of the bitmap: some pages of the BAT are still in the first entry */
#define APART 32u

static uint64_t nth_sector(unsigned n)
{
    return (uint64_t)n * APART * (MIB / 512);
}

static void look_at_children(struct rig *rig, struct vdisk *disk)
{
    for (unsigned n = 0; n < CHILDREN; n++)
        expect(rig, disk, nth_sector(n), RIG_PARENT_GENERATION, GENERATION);
    expect(rig, disk, nth_sector(CHILDREN - 1) + 1, RIG_PARENT_GENERATION, RIG_PARENT_GENERATION);
}

/* The BAT's entry of the bitmap is behind those of the blocks. stale: there is a bitmap already, with a bit of the last
 * block; that it was cleared is in the first entry, which is to be in its place before the second is all that counts.
 */
static void many_pages(bool stale)
{
    struct rig rig;
    struct vdisk *disk;

    rig_open(&rig, &many, 1);
    if (stale) {
        disk = rig_disk(&rig, rig.storage, true);
        test_ok(put(&rig, disk, nth_sector(CHILDREN - 1) + 1, GENERATION));
        rig_shut(&rig, disk);
        patch(&rig, find_bat(&rig, NULL) + (uint64_t)(CHILDREN - 1) * APART * 8, 8);
    }
    storage_record(rig.storage);
    disk = rig_disk(&rig, rig.storage, true);
    for (unsigned n = 0; n < CHILDREN; n++)
        test_ok(put(&rig, disk, nth_sector(n), GENERATION));
    flush(&rig, disk);
    rig_shut(&rig, disk);
    cut_everywhere(&rig, stale ? "bits in an entry of the log before" : "a bitmap of many blocks", look_at_children);
    rig_close(&rig);
}

/* ---- VHDX: a bitmap with holes, and no space ---- */

/* The file system is full but for the data's page: the write is refused, and nothing later fails for it. */
static void no_space_for_bits(void)
{
    uint64_t bitmap, far = 20 * MIB / 512;     /* its bit is in another page of the bitmap than the first sector's */
    uint64_t last = (UINT64_C(4) << 30) / 512; /* and this one's is in another bitmap */
    struct rig rig;
    struct vdisk *disk;

    for (uint64_t seed = 1; seed <= 4; seed++) { /* of some the storage knows no holes */
        rig_open(&rig, &chunks, seed);
        disk = rig_disk(&rig, rig.storage, true);
        test_ok(put(&rig, disk, 0, GENERATION));
        rig_shut(&rig, disk);
        find_bat(&rig, &bitmap);
        patch(&rig, bitmap + VHDX_PAGE, MIB - VHDX_PAGE); /* as a copy that keeps holes has it */
        snprintf(rig.where, sizeof(rig.where), "seed %llu: no space but for a page", (unsigned long long)seed);
        disk = rig_disk(&rig, rig.storage, true);
        expect(&rig, disk, far, RIG_PARENT_GENERATION, RIG_PARENT_GENERATION); /* now its bits are in memory */
        test_ok(put(&rig, disk, last, GENERATION));
        flush(&rig, disk);
        rig.quiet = true;
        storage_limit(rig.storage, 4096);
        put(&rig, disk, far, GENERATION);
        rig.quiet = false;
        if (vdisk_transfer(disk, rig.ring, VDISK_FLUSH, NULL, 0, 0))
            test_fail("%s: what was accepted cannot be made durable", rig.where);
        storage_limit(rig.storage, STORAGE_UNLIMITED);
        test_ok(put(&rig, disk, far, GENERATION));
        flush(&rig, disk);
        expect(&rig, disk, 0, GENERATION, GENERATION);
        expect(&rig, disk, far, GENERATION, GENERATION);
        rig_shut(&rig, disk);
        rig_check(&rig, rig.storage);
        rig_close(&rig);
    }
}

/* ---- VHDX: a home that is not the block's yet ---- */

/* What the file says of a block whose first write is under way: nothing. */
static void home_unpublished(void)
{
    struct le64 entry[2];
    struct file *file;
    struct vdisk *disk;
    struct rig rig;
    uint64_t bat;

    rig_open(&rig, &child, 3);
    bat = find_bat(&rig, NULL);
    disk = rig_disk(&rig, rig.storage, true);
    test_ok(rig.format->reserve(disk, DISK_WRITE, 0, 512));
    test_ok(put(&rig, disk, MIB / 512, GENERATION));
    flush(&rig, disk);
    flush(&rig, disk); /* and in its place */
    test_ok(storage_open(rig.storage, "disk", false, NULL, &file));
    test_ok(file_read(file, entry, sizeof(entry), bat));
    file_close(file);
    test_true(vhdx_entry_owns(le64_get(entry[1])));
    test_equal(le64_get(entry[0]), 0);
    rig_shut(&rig, disk);
    rig_check(&rig, rig.storage);
    rig_close(&rig);
}

/* ---- VHDX: a BAT that moves ---- */

#define LONGER (UINT64_C(300) << 30)

static void look_at_resized(struct rig *rig, struct vdisk *disk)
{
    uint64_t size = vdisk_size(disk);

    if (size != dynamic[1].size && size != LONGER)
        test_fail("%s: the size is %llu", rig->where, (unsigned long long)size);
    expect(rig, disk, 0, GENERATION, GENERATION);
    expect(rig, disk, dynamic[1].size / 512 - 1, GENERATION, GENERATION);
    expect(rig, disk, size / 512 - 1, 0, size == LONGER ? 0 : GENERATION);
}

/* The region tables' new place for the BAT and the size that needs it come at once. */
static void longer_bat(void)
{
    struct rig rig;
    struct vdisk *disk;

    rig_open(&rig, &dynamic[1], 1);
    disk = rig_disk(&rig, rig.storage, true);
    test_ok(put(&rig, disk, 0, GENERATION));
    test_ok(put(&rig, disk, dynamic[1].size / 512 - 1, GENERATION));
    flush(&rig, disk);
    storage_record(rig.storage);
    test_ok(disk_resize(&disk, LONGER));
    rig_shut(&rig, disk);
    cut_everywhere(&rig, "a BAT that moves", look_at_resized);
    rig_close(&rig);
}

/* ---- A block that moves ---- */

/* The first of a block. */
static uint64_t block_sector(const struct rig *rig, unsigned block)
{
    return (uint64_t)block * rig->config->block_size / 512;
}

/* Blocks 0 to 3 are written, and 0 is dropped: its place is free. */
static struct vdisk *prepare_move(struct rig *rig, const struct rig_config *config, uint64_t seed)
{
    struct vdisk *disk;

    rig_open(rig, config, seed);
    disk = rig_disk(rig, rig->storage, true);
    for (unsigned block = 0; block < 4; block++)
        test_ok(put(rig, disk, block_sector(rig, block), GENERATION));
    flush(rig, disk);
    test_ok(vdisk_transfer(disk, rig->ring, VDISK_DISCARD, NULL, 0, config->block_size));
    flush(rig, disk);
    return disk;
}

static void move_last(struct rig *rig, struct vdisk *disk)
{
    uint64_t moved = 0;

    test_equal(rig->format->relocate(disk, block_sector(rig, 3) * 512, &moved), 1);
}

static void look_at_moved(struct rig *rig, struct vdisk *disk)
{
    for (unsigned block = 1; block < 4; block++)
        expect(rig, disk, block_sector(rig, block), GENERATION, GENERATION);
    expect(rig, disk, block_sector(rig, 5), 0, GENERATION);
}

/* Its old place is not another block's before the BAT with the new one is durable. */
static void moved_and_reused(const struct rig_config *config)
{
    struct rig rig;
    struct vdisk *disk = prepare_move(&rig, config, 1);

    storage_record(rig.storage);
    move_last(&rig, disk);
    test_ok(put(&rig, disk, block_sector(&rig, 5), GENERATION));
    flush(&rig, disk);
    rig_shut(&rig, disk);
    cut_everywhere(&rig, "a block that moved", look_at_moved);
    rig_close(&rig);
}

struct mover {
    struct rig *rig;
    struct vdisk *disk;
    pthread_t thread;
    _Atomic bool done;
};

static void *move(void *arg)
{
    struct mover *mover = arg;

    move_last(mover->rig, mover->disk);
    atomic_store(&mover->done, true);
    return NULL;
}

/* Who was told the old place may still read there. */
static void moved_under_a_reader(const struct rig_config *config)
{
    struct rig rig;
    struct mover mover = {.rig = &rig, .disk = prepare_move(&rig, config, 2)};
    unsigned parity = epoch_enter(&mover.disk->epoch, 0);
    pthread_t thread;

    test_equal(pthread_create(&thread, NULL, move, &mover), 0);
    nanosleep(&(struct timespec){0, 50000000}, NULL); /* what does not wait has gone on by then */
    if (atomic_load(&mover.done))
        test_fail("a block's place is given up while it is read");
    epoch_leave(&mover.disk->epoch, 0, parity);
    pthread_join(thread, NULL);
    test_true(atomic_load(&mover.done));
    rig_shut(&rig, mover.disk);
    rig_close(&rig);
}

/* Nor is it given up while somebody who was told it asks whether there is data: a hole would be taken for zeros. */
static struct mover *beside;

static int seek_while_moving(struct file *file, uint64_t position, uint64_t *data, uint64_t *hole)
{
    struct mover *mover = beside;

    beside = NULL; /* whoever moves a block asks too */
    if (mover) {
        test_equal(pthread_create(&mover->thread, NULL, move, mover), 0);
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        if (atomic_load(&mover->done))
            test_fail("a block's place is given up while holes are looked for there");
    }
    *data = position;
    if (hole)
        *hole = file->size;
    return 0;
}

static void moved_under_a_map(const struct rig_config *config)
{
    struct rig rig;
    struct mover mover = {.rig = &rig, .disk = prepare_move(&rig, config, 2)};
    struct file_ops ops = *mover.disk->file->ops;
    const struct file_ops *real = mover.disk->file->ops;
    struct vdisk_extent extent;

    ops.seek_data = seek_while_moving;
    mover.disk->file->ops = &ops;
    beside = &mover;
    test_ok(vdisk_map(mover.disk, block_sector(&rig, 3) * 512, 512, VDISK_MAP_HOLES, &extent));
    test_true(!beside);
    test_equal(extent.kind, VDISK_EXTENT_DATA);
    pthread_join(mover.thread, NULL);
    mover.disk->file->ops = real;
    test_true(atomic_load(&mover.done));
    rig_shut(&rig, mover.disk);
    rig_close(&rig);
}

/* ---- VHDX: space that cannot be given back ---- */

/* A block that was filled, and whose session was killed before a flush, is behind the end of what anybody names. That it
 * cannot be made zero is an error, and then no new block stands there. */
static void unclean_space(void)
{
    const struct rig_config *config = &dynamic[1];
    unsigned failed = 0;

    for (uint64_t number = 1; number < 5; number++) {
        struct rig rig;
        struct storage *killed;
        struct vdisk *disk = prepare_move(&rig, config, 1);

        rig_shut(&rig, disk);
        disk = rig_disk(&rig, rig.storage, true);
        for (unsigned sector = 0; sector < config->block_size / 512; sector++)
            test_ok(put(&rig, disk, block_sector(&rig, 5) + sector, GENERATION));
        killed = storage_copy(rig.storage);
        rig_shut(&rig, disk);
        snprintf(rig.where, sizeof(rig.where), "%s: zero %llu fails", config->format, (unsigned long long)number);
        disk = rig_disk(&rig, killed, true);
        rig.quiet = true;
        storage_fail(killed, number, 1u << STORAGE_ZERO, -EIO, false);
        failed += rig.format->reclaim(disk) != 0;
        storage_fail(killed, 0, 0, 0, false);
        rig.quiet = false;
        for (unsigned block = 5; block < 8; block++) {
            test_ok(put(&rig, disk, block_sector(&rig, block), GENERATION));
            for (unsigned sector = 1; sector < config->block_size / 512; sector++)
                expect(&rig, disk, block_sector(&rig, block) + sector, 0, 0);
        }
        rig_shut(&rig, disk);
        rig_check(&rig, killed);
        storage_free(killed);
        rig_close(&rig);
    }
    test_true(failed > 0);
}

/* ---- Zeros over what a write that failed has left ---- */

static void zeros_at_home(const struct rig_config *config)
{
    static _Alignas(4096) uint8_t junk[512];
    struct disk_extent extent;
    struct vdisk *disk;
    struct rig rig;

    rig_open(&rig, config, 1);
    disk = rig_disk(&rig, rig.storage, true);
    memset(junk, 0xa5, sizeof(junk));
    test_ok(rig.format->reserve(disk, DISK_WRITE, 0, 4096));
    test_ok(rig.format->map(disk, DISK_WRITE, 2048, 512, &extent));
    test_ok(file_write(disk->file, junk, sizeof(junk), extent.position)); /* and then it failed */
    test_ok(vdisk_transfer(disk, rig.ring, VDISK_ZERO, NULL, 2048, 512));
    test_ok(put(&rig, disk, 0, GENERATION));
    expect(&rig, disk, 0, GENERATION, GENERATION);
    expect(&rig, disk, 4, 0, 0);
    rig_shut(&rig, disk);
    rig_check(&rig, rig.storage);
    rig_close(&rig);
}

int main(void)
{
    if (rig_wanted(&child)) {
        stale_bits();
        no_space_for_bits();
        home_unpublished();
        many_pages(false);
        many_pages(true);
        longer_bat();
        unclean_space();
    }
    for (size_t i = 0; i < sizeof(dynamic) / sizeof(dynamic[0]); i++)
        if (rig_wanted(&dynamic[i])) {
            moved_and_reused(&dynamic[i]);
            moved_under_a_reader(&dynamic[i]);
            moved_under_a_map(&dynamic[i]);
            zeros_at_home(&dynamic[i]);
        }
    printf("%u states: 0 losses\n", states);
    return 0;
}
