/* SPDX-License-Identifier: BSD-2-Clause */
/* See rig.h. */
#include "tests/rig.h"

#include <fcntl.h>
#include <unistd.h>

#include "disk/chain.h"
#include "tests/chaos.h"

#define KIB 1024u
#define MIB (1u << 20)

const struct rig_config rig_configs[] = {
    {"vhdx", DISK_DYNAMIC, MIB, 512, 6 * MIB},
    {"vhdx", DISK_DIFFERENCING, MIB, 512, 6 * MIB},
    {"vhdx", DISK_DYNAMIC, MIB, 4096, 5 * MIB},
    {"vhdx", DISK_DIFFERENCING, MIB, 4096, 5 * MIB},
    {"vhdx", DISK_DIFFERENCING, 2 * MIB, 512, 7 * MIB},
    {"vhd", DISK_DYNAMIC, 64 * KIB, 512, MIB},
    {"vhd", DISK_DIFFERENCING, 64 * KIB, 512, MIB},
    {"vhd", DISK_DIFFERENCING, 2 * MIB, 512, 9 * MIB},
    {"vhd", DISK_DYNAMIC, 512 * KIB, 512, 3 * MIB + 512},
    {"vhdx", DISK_FIXED, MIB, 512, 3 * MIB},
};
const size_t rig_config_count = sizeof(rig_configs) / sizeof(rig_configs[0]);

unsigned rig_stride(const struct rig_config *config)
{
    return config->size > 64 * MIB ? 16 : 1;
}

bool rig_wanted(const struct rig_config *config)
{
    const char *only = getenv("RIG_ONLY");

    return !only || !*only || strcmp(only, rig_stride(config) > 1 ? "many" : config->format) == 0;
}

static void print(void *arg, enum vdisk_level level, const char *text)
{
    struct rig *rig = arg;

    if (level != VDISK_ERROR)
        return;
    rig->said++;
    if (!rig->quiet)
        fprintf(stderr, "%s: %s\n", rig->where, text);
}

static int open_link(struct rig *rig, struct storage *storage, bool writable, struct vdisk **disk)
{
    struct vdisk_log log = {print, rig};
    struct file *file;
    int err;

    test_ok(storage_open(storage, "disk", writable, &log, &file));
    err = link_open(file, rig->format, false, disk);
    if (err)
        file_close(file);
    else if (rig->chaos)
        chaos_route((*disk)->file);
    return err;
}

int rig_try(struct rig *rig, struct storage *storage, bool writable, struct vdisk **disk)
{
    int err = open_link(rig, storage, writable, disk);

    if (err || !rig->parent)
        return err;
    err = open_link(rig, rig->parent, false, &(*disk)->parent);
    if (err)
        vdisk_close(*disk);
    return err;
}

struct vdisk *rig_disk(struct rig *rig, struct storage *storage, bool writable)
{
    struct vdisk *disk;
    int err = rig_try(rig, storage, writable, &disk);

    if (err)
        test_fail("%s: does not open: %s", rig->where, strerror(-err));
    return disk;
}

void rig_shut(struct rig *rig, struct vdisk *disk)
{
    int err = vdisk_close(disk);

    if (err)
        test_fail("%s: does not close: %s", rig->where, strerror(-err));
}

static void create(struct rig *rig, struct storage *storage, enum disk_type type, struct vdisk *parent)
{
    const struct rig_config *c = rig->config;
    bool vhd = c->format[3] == 0;
    struct disk_geometry g = {.type = type,
                              .size = c->size,
                              .block_size = c->block_size,
                              .sector_size = c->sector_size,
                              .physical_sector_size = 4096,
                              .parent = parent,
                              .parent_relative = vhd ? "./parent.vhd" : "./parent.vhdx",
                              .parent_absolute = vhd ? "/parent.vhd" : "/parent.vhdx"};
    struct vdisk_log log = {print, rig};
    struct file *file;

    test_ok(storage_open(storage, "disk", true, &log, &file));
    test_ok(rig->format->create(file, &g));
    file_close(file);
}

/* Every sector that a guest may look at. */
static void fill(struct rig *rig, struct vdisk *disk)
{
    uint64_t unit = disk->sector_size, per = rig->config->block_size / unit, most = (64 << 10) / unit;
    unsigned stride = rig_stride(rig->config);
    uint8_t *buffer = aligned_alloc(4096, 64 << 10);
    struct content content;
    uint64_t count;

    content_open(&content, disk->size, disk->sector_size);
    for (uint64_t n = 0; n < content.sectors; n += count) {
        for (count = 0; n + count < content.sectors && count < most; count++)
            if ((n + count) / per % stride || (stride > 1 && !guest_watches(n + count, per)))
                break;
        if (count > 0) {
            content_fill(&content, buffer, n, count, RIG_PARENT_GENERATION);
            test_ok(vdisk_transfer(disk, rig->ring, VDISK_WRITE, buffer, n * unit, count * unit));
        }
        count += count == 0;
    }
    content_close(&content);
    free(buffer);
}

static void make_parent(struct rig *rig)
{
    struct storage *storage = storage_new();
    struct vdisk *disk;

    create(rig, storage, DISK_DYNAMIC, NULL);
    test_ok(open_link(rig, storage, true, &disk));
    fill(rig, disk);
    rig_shut(rig, disk);
    rig->parent = storage;
}

void rig_open(struct rig *rig, const struct rig_config *config, uint64_t seed)
{
    static const struct vdisk_log silent;
    struct vdisk *parent = NULL;

    *rig = (struct rig){.config = config, .format = chain_format_named(config->format, &silent), .seed = seed};
    snprintf(rig->where, sizeof(rig->where), "seed %llu %s: workload", (unsigned long long)seed, config->format);
    rng_seed(&rig->rng, seed);
    rig->chaos = rng_below(&rig->rng, 4) != 0;
    test_ok(vdisk_ring_open(32, (enum vdisk_backend)(1 + rng_below(&rig->rng, 3)), &rig->ring));
    if (rig->chaos)
        chaos_install(rig->ring, seed);
    if (config->type == DISK_DIFFERENCING) {
        make_parent(rig);
        test_ok(open_link(rig, rig->parent, false, &parent));
    }
    rig->storage = storage_new();
    storage_set_sector(rig->storage, config->sector_size);
    if (rng_below(&rig->rng, 4) == 0)
        storage_make_plain(rig->storage);
    create(rig, rig->storage, config->type, parent);
    vdisk_close(parent);
    rig->guest =
        guest_new(config->size, config->sector_size, config->type == DISK_DIFFERENCING ? RIG_PARENT_GENERATION : 0);
}

void rig_close(struct rig *rig)
{
    for (int i = 0; i < 2; i++)
        free(rig->values[i]);
    guest_free(rig->guest);
    storage_free(rig->storage);
    storage_free(rig->parent);
    vdisk_ring_close(rig->ring);
}

void rig_ready(struct rig *rig)
{
    for (int i = 0; i < 2; i++) {
        free(rig->values[i]);
        rig->values[i] = calloc(guest_touched(rig->guest) + 1, sizeof(uint32_t));
        test_true(rig->values[i]);
    }
}

static void on_fault(void *arg, const struct vdisk_fault *fault)
{
    struct rig *rig = arg;

    if (fault->severity == VDISK_FAULT)
        fprintf(stderr, "%s: fault %s: %s\n", rig->where, fault->code, fault->text);
}

void rig_check(struct rig *rig, struct storage *storage)
{
    struct vdisk_log log = {print, rig};
    struct file *file;

    test_ok(storage_open(storage, "disk", false, &log, &file));
    if (rig->format->check(file, NULL, on_fault, rig))
        test_fail("%s: check is not clean", rig->where);
    file_close(file);
}

void rig_read(struct rig *rig, struct vdisk *disk, uint32_t *values)
{
    int err = guest_read(rig->guest, disk, rig->ring, values);

    if (err)
        test_fail("%s: cannot read: %s", rig->where, strerror(-err));
}

static void save(struct storage *storage, const char *dir, const char *name, const char *suffix)
{
    char path[TEST_PATH];
    int fd;

    snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        test_fail("%s: %s", path, strerror(errno));
    storage_save(storage, fd);
    close(fd);
}

void rig_save(struct rig *rig, struct storage *storage, const char *dir, const char *name)
{
    if (rig->parent)
        save(rig->parent, dir, "parent.", rig->config->format);
    save(storage, dir, name, "");
}

void rig_choose(struct rng *rng, uint64_t n, size_t count, uint8_t *keep)
{
    if (count <= 6 && n < UINT64_C(1) << count) {
        for (size_t i = 0; i < count; i++)
            keep[i] = n >> i & 1 ? KEEP_ALL : KEEP_NONE;
        return;
    }
    if (n < 2) {
        memset(keep, n ? KEEP_ALL : KEEP_NONE, count);
    } else if (n - 2 < count) { /* a prefix */
        for (size_t i = 0; i < count; i++)
            keep[i] = i < n - 2 ? KEEP_ALL : KEEP_NONE;
    } else if (n - 2 < 3 * count) { /* all but one, only one */
        size_t one = (size_t)(n - 2) % count;

        memset(keep, n - 2 < 2 * count ? KEEP_ALL : KEEP_NONE, count);
        keep[one] = n - 2 < 2 * count ? KEEP_NONE : KEEP_ALL;
    } else {
        uint64_t none = 1 + rng_below(rng, 8);

        for (size_t i = 0; i < count; i++)
            keep[i] = rng_below(rng, 10) < none ? KEEP_NONE : rng_below(rng, 3) ? KEEP_ALL : KEEP_TORN;
    }
}
