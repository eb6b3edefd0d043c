/* SPDX-License-Identifier: BSD-2-Clause */
/* The points file as it must be, and as it must not be: what is wrong is named, with its offset. Growth. Races. */
#include <isa-l/crc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "disk/engine.h"
#include "disk/track.h"
#include "tests/rig.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define GRAIN (UINT64_C(64) << 10)

static const struct rig_config config = {"vhdx", DISK_DYNAMIC, 1u << 20, 512, 4 * GIB};

struct scene {
    struct rig rig;
    struct storage *points;
    struct messages messages;
};

static struct file *points_open(struct scene *s, bool writable)
{
    struct vdisk_log log = messages_log(&s->messages);
    struct file *file;

    test_ok(storage_open(s->points, "a.points", writable, &log, &file));
    return file;
}

/* A disk with the point "p", in whose file something is set; size: of the disk, as the file has it. */
static void scene_open(struct scene *s, uint64_t size)
{
    struct points points;
    struct vdisk *disk;
    struct file *file;

    *s = (struct scene){.messages = MESSAGES_INIT};
    rig_open(&s->rig, &config, 3);
    s->points = storage_new();
    file = points_open(s, true);
    test_ok(points_format(&points, file, config.size));
    file_close(file);
    disk = rig_disk(&s->rig, s->rig.storage, true);
    test_ok(track_open(disk, points_open(s, true), VDISK_ERROR, &disk->track));
    test_ok(track_point(disk->track, "p"));
    test_ok(vdisk_transfer(disk, s->rig.ring, VDISK_ZERO, NULL, GIB, 10 * GRAIN));
    rig_shut(&s->rig, disk);
    if (size == config.size)
        return;
    file = points_open(s, true);
    test_ok(points_read(&points, file, VDISK_ERROR));
    points.header.size = le64_of(size);
    test_ok(points_write(&points));
    file_close(file);
}

static void scene_close(struct scene *s)
{
    storage_free(s->points);
    rig_close(&s->rig);
}

/* Patches what is current of the two headers. fix: with a checksum that is right. */
static void patch(struct scene *s, size_t offset, const void *bytes, size_t length, bool fix)
{
    struct file *file = points_open(s, true);
    struct points_header header;
    struct points points;
    uint64_t at;

    test_ok(points_read(&points, file, VDISK_ERROR));
    at = points.current * POINTS_HEADER;
    header = points.header;
    memcpy((char *)&header + offset, bytes, length);
    header.checksum = le32_of(fix ? 0 : le32_get(header.checksum));
    if (fix)
        header.checksum = le32_of(~crc32_iscsi((unsigned char *)&header, sizeof(header), ~0u));
    test_ok(file_write(file, &header, sizeof(header), at));
    if (!fix) /* and the other is no better */
        test_ok(file_write(file, &header, sizeof(header), POINTS_HEADER - at));
    file_close(file);
}

static void refused(struct scene *s, const char *what, const char *where)
{
    struct vdisk *disk = rig_disk(&s->rig, s->rig.storage, false);
    struct file *file = points_open(s, false);
    struct track *track;

    messages_clear(&s->messages);
    if (track_open(disk, file, VDISK_ERROR, &track) >= 0)
        test_fail("it is taken: %s", what);
    file_close(file);
    if (s->messages.count[VDISK_ERROR] != 1 || !strstr(s->messages.first, what) || !strstr(s->messages.first, where) ||
        !strstr(s->messages.first, "a.points"))
        test_fail("refused with \"%s\", not with \"%s\" and \"%s\"", s->messages.first, what, where);
    rig_shut(&s->rig, disk);
}

static void test_header(void **state)
{
    static const struct {
        size_t offset;
        uint64_t value;
        size_t length;
        bool checksum_is_wrong;
        const char *what, *field;
    } cases[] = {
        {0, 'x', 1, true, "neither has a valid signature and checksum", "0x1000"},
        {130, 'x', 1, true, "neither has a valid signature and checksum", "0x1000"},
        {8, 2, 4, false, "version is 2, expected 1", "header at"},
        {88, 4096, 4, false, "grain is 4096", "58"},
        {88, (64 << 10) + 1, 4, false, "grain is 65537", "58"},
        {88, 2 << 20, 4, false, "grain is 2097152", "58"},
        {92, 1 << 20, 4, false, "region is 1048576", "5c"},
        {80, 0, 8, false, "size is", "48"},
        {80, UINT64_MAX, 8, false, "size is", "48"},
        {80, (UINT64_C(1) << 40) + 512, 8, false, "size is", "48"},
        {72, UINT64_C(1) << 60, 8, false, "size is 1152921504606846976", "48"},
        {96, 32, 4, false, "32 points, expected at most 31", "60"},
        {96, 2, 4, false, "point 1", "the name is empty"},
        {128, 0, 1, false, "point 0", "the name is empty"},
        {129, '\n', 1, false, "point 0", "control character"},
        {128 + 72, 31, 4, false, "slot 31 is out of range", "c8"},
        {128 + 76, 2, 4, false, "flags 0x2 are not known", "cc"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct le64 value = le64_of(cases[i].value);
        struct scene s;

        scene_open(&s, config.size);
        patch(&s, cases[i].offset, &value, cases[i].length, !cases[i].checksum_is_wrong);
        refused(&s, cases[i].what, cases[i].field);
        scene_close(&s);
    }
}

static void test_twins(void **state)
{
    struct points_entry entry[2] = {{.name = "a"}, {.name = "b"}};
    struct le32 two = le32_of(2);
    struct scene s;

    (void)state;
    scene_open(&s, config.size);
    patch(&s, 128, entry, sizeof(entry), true); /* one point is said, the other is behind */
    patch(&s, 96, &two, sizeof(two), true);
    refused(&s, "slot 0 is another point's", "point 1 at");
    scene_close(&s);
    scene_open(&s, config.size);
    entry[1].slot = le32_of(1);
    strcpy(entry[1].name, "a");
    patch(&s, 128, entry, sizeof(entry), true);
    patch(&s, 96, &two, sizeof(two), true);
    refused(&s, "has the name of point 0", "point 1 at");
    scene_close(&s);
}

/* The first sector of the bitmap that is not empty. */
static uint64_t used_sector(struct scene *s)
{
    struct file *file = points_open(s, false);
    struct points points;
    uint64_t data, hole;

    test_ok(points_read(&points, file, VDISK_ERROR));
    test_ok(file_seek_data(file, points.data_at, &data, &hole));
    data = points.data_at + GIB / GRAIN / (POINTS_WORDS * 64) * POINTS_SECTOR;
    file_close(file);
    return data;
}

static void test_bitmap(void **state)
{
    struct points_sector sector;
    struct scene s;
    struct file *file;
    uint64_t at;
    char where[32];

    (void)state;
    scene_open(&s, config.size);
    at = used_sector(&s);
    snprintf(where, sizeof(where), "0x%llx", (unsigned long long)at);
    file = points_open(&s, true);
    test_ok(file_read(file, &sector, sizeof(sector), at));
    sector.word[9].byte[0] ^= 4;
    test_ok(file_write(file, &sector, sizeof(sector), at));
    refused(&s, "checksum is wrong", where);
    sector.number = le32_of(99);
    sector.checksum = le32_of(~crc32_iscsi((unsigned char *)&sector.number, sizeof(sector) - 4, ~0u));
    test_ok(file_write(file, &sector, sizeof(sector), at));
    refused(&s, "is sector 99", where);
    test_ok(file_resize(file, at + 100));
    refused(&s, "the file ends inside a sector", "0x");
    test_ok(file_resize(file, 5000));
    refused(&s, "cannot be read at 0x1000", "ends before");
    file_close(file);
    scene_close(&s);
}

/* ---- Growth ---- */

struct told {
    uint64_t offset[8], length[8];
    unsigned count;
};

static int on_change(void *arg, uint64_t offset, uint64_t length)
{
    struct told *told = arg;

    test_true(told->count < 8);
    told->offset[told->count] = offset;
    told->length[told->count++] = length;
    return 0;
}

static void test_growth(void **state)
{
    struct told told;
    struct vdisk *disk;
    struct scene s;

    (void)state;
    scene_open(&s, 3 * GIB + 512);
    for (int writable = 0; writable < 2; writable++) {
        disk = rig_disk(&s.rig, s.rig.storage, writable);
        test_ok(track_open(disk, points_open(&s, writable), VDISK_ERROR, &disk->track));
        told.count = 0;
        test_ok(vdisk_changes(disk, "p", NULL, on_change, &told));
        test_equal(told.count, 2);
        test_equal(told.offset[0], GIB);
        test_equal(told.length[0], 10 * GRAIN);
        test_equal(told.offset[1], 3 * GIB);
        test_equal(told.length[1], GIB);
        rig_shut(&s.rig, disk);
    }
    disk = rig_disk(&s.rig, s.rig.storage, false); /* and it was made durable */
    test_ok(track_open(disk, points_open(&s, false), VDISK_ERROR, &disk->track));
    told.count = 0;
    test_ok(vdisk_changes(disk, "p", NULL, on_change, &told));
    test_equal(told.count, 2);
    rig_shut(&s.rig, disk);
    scene_close(&s);
}

/* ---- A points file that cannot be written ---- */

static void test_failing(void **state)
{
    uint8_t sector[512] = {1};
    struct vdisk *disk;
    struct scene s;

    (void)state;
    scene_open(&s, config.size);
    disk = rig_disk(&s.rig, s.rig.storage, true);
    test_ok(track_open(disk, points_open(&s, true), VDISK_ERROR, &disk->track));
    test_ok(vdisk_transfer(disk, s.rig.ring, VDISK_WRITE, sector, 0, sizeof(sector)));
    messages_clear(&s.messages);
    storage_fail(s.points, 1, 1 << STORAGE_SYNC, -EIO, false);
    /* Nothing is written that would be missed: this region has no intent. */
    test_equal(vdisk_transfer(disk, s.rig.ring, VDISK_WRITE, sector, 2 * GIB, sizeof(sector)), -EIO);
    test_equal(vdisk_transfer(disk, s.rig.ring, VDISK_ZERO, NULL, 2 * GIB, sizeof(sector)), -EIO);
    test_equal(s.messages.count[VDISK_ERROR], 1);
    test_true(strstr(s.messages.first, "writes to disk fail"));
    /* And what counts as changed already goes on. */
    test_ok(vdisk_transfer(disk, s.rig.ring, VDISK_WRITE, sector, 512, sizeof(sector)));
    test_ok(vdisk_transfer(disk, s.rig.ring, VDISK_READ, sector, 2 * GIB, sizeof(sector)));
    test_equal(sector[0], 0);
    rig_shut(&s.rig, disk);
    scene_close(&s);
}

/* ---- Requests and checkpoints at once ---- */

struct race {
    struct scene scene;
    struct vdisk *disk;
    _Atomic bool stop;
};

static void *checkpoints(void *arg)
{
    struct race *race = arg;

    while (!race->stop)
        track_flushed(race->disk->track);
    return NULL;
}

/* Does the points file, as it stands, count this grain? */
static bool is_counted(struct race *race, uint64_t grain)
{
    struct file *file = points_open(&race->scene, false);
    struct points_sector sector;
    struct points points;
    uint64_t bit[2] = {grain, grain * GRAIN / POINTS_REGION};
    bool set = false;

    test_ok(points_read(&points, file, VDISK_ERROR));
    for (int i = 1; i >= 0; i--) { /* the intent first: it may go, but then the bit is there */
        uint64_t number = bit[i] / (POINTS_WORDS * 64), at = bit[i] % (POINTS_WORDS * 64);

        test_ok(file_read(file, &sector, sizeof(sector), (i ? POINTS_INTENTS_AT : points.data_at) + number * POINTS_SECTOR));
        set |= le64_get(sector.word[at / 64]) >> at % 64 & 1;
    }
    file_close(file);
    return set;
}

static void test_race(void **state)
{
    static struct race race;
    uint64_t waits = 0, grains = config.size / GRAIN;
    pthread_t thread;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 1);
    scene_open(&race.scene, config.size);
    race.disk = rig_disk(&race.scene.rig, race.scene.rig.storage, true);
    test_ok(track_open(race.disk, points_open(&race.scene, true), VDISK_ERROR, &race.disk->track));
    track_checkpoint_every(race.disk->track, 0);
    test_true(pthread_create(&thread, NULL, checkpoints, &race) == 0);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t grain = rng_below(&rng, grains);

        if (!track_covers(race.disk->track, 0, grain * GRAIN, 512)) {
            waits++;
            test_ok(track_record(race.disk->track, grain * GRAIN, 512));
        }
        if (!is_counted(&race, grain))
            test_fail("grain %llu may be written, and a crash would miss it", (unsigned long long)grain);
    }
    race.stop = true;
    pthread_join(thread, NULL);
    test_true(waits > 0 && waits < 20000);
    rig_shut(&race.scene.rig, race.disk);
    scene_close(&race.scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header), cmocka_unit_test(test_twins),   cmocka_unit_test(test_bitmap),
        cmocka_unit_test(test_growth), cmocka_unit_test(test_failing), cmocka_unit_test(test_race),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
