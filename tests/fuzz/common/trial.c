/* SPDX-License-Identifier: BSD-2-Clause */
/* See trial.h. */
#include "tests/fuzz/common/trial.h"

#include "disk/disk.h"
#include "tests/fuzz/common/guest.h"

#define EXTENTS 64u

static struct messages messages = MESSAGES_INIT;
static struct {
    unsigned long inputs, clean, opened, written;
} count;

/* Whether the fuzzing goes deep. */
static void print_count(void)
{
    fprintf(stderr, "trial: %lu inputs, %lu clean, %lu opened, %lu clean ones written to and read back\n", count.inputs,
            count.clean, count.opened, count.written);
}

static void print(void *arg, enum vdisk_level level, const char *text)
{
    struct vdisk_log log = messages_log(&messages);

    (void)arg;
    if (strchr(text, '\n'))
        test_fail("a message of two lines: %s", text);
    log.print(log.arg, level, text);
}

static int open_disk(const struct scene *scene, unsigned flags, struct vdisk **disk)
{
    struct vdisk_open_options options = {.flags = flags, .format = scene->format, .log = {print, NULL}};
    int err;

    messages_clear(&messages);
    err = vdisk_open(scene->name[0], &options, disk);
    if (err && messages.count[VDISK_ERROR] != 1)
        test_fail("refused with %s and %u messages, the first: %s", strerror(-err), messages.count[VDISK_ERROR],
                  messages.first);
    return err;
}

/* 0: clean. */
static int check_disk(const struct scene *scene, unsigned file)
{
    struct vdisk_open_options options = {.format = scene->format, .log = {print, NULL}};
    int found;

    messages_clear(&messages);
    found = vdisk_check(scene->name[file], &options, NULL, messages_fault, &messages);
    if (found < 0 && messages.count[VDISK_ERROR] == 0)
        test_fail("check cannot read (%s) and does not say why", strerror(-found));
    if (found > 1 || (found >= 0 && (found == 1) != (messages.faults > 0)))
        test_fail("check returns %d and told %u faults", found, messages.faults);
    return found;
}

static void look_at_field(void *arg, const struct vdisk_field *field)
{
    (void)arg;
    test_true(field->group && field->name);
    test_true(field->type != VDISK_FIELD_TEXT || (field->text && strlen(field->text) < 1 << 20));
}

/* Extents from offset on. */
static int look_at_extents(struct vdisk *disk, uint64_t offset)
{
    struct vdisk_extent extent;

    for (unsigned i = 0; i < EXTENTS && offset < vdisk_size(disk); i++) {
        uint64_t left = vdisk_size(disk) - offset;
        int err = vdisk_map(disk, offset, left, 0, &extent);

        if (err)
            return err;
        test_true(extent.offset == offset && extent.length > 0 && extent.length <= left && extent.state);
        test_true(extent.length % vdisk_sector_size(disk) == 0);
        if (extent.kind == VDISK_EXTENT_DATA) {
            uint64_t size = extent.owner->file->size;

            test_true(extent.position <= size && extent.length <= size - extent.position);
        }
        offset += extent.length;
    }
    return 0;
}

/* What must be right about any disk that opens. Returns the first error of a read. */
static int look_at(struct vdisk *disk)
{
    uint64_t size = vdisk_size(disk), sector = vdisk_sector_size(disk);
    int err, later;

    test_true(size > 0 && size <= UINT64_C(64) << 40 && size % sector == 0 && (sector == 512 || sector == 4096));
    vdisk_info(disk, look_at_field, NULL);
    err = look_at_extents(disk, 0);
    later = look_at_extents(disk, size / 2 / sector * sector);
    err = err ? err : later;
    later = look_at_extents(disk, size - sector);
    return err ? err : later;
}

static bool is_limit(int err)
{
    return err == -EFBIG || err == -ENOSPC || err == -ENOMEM;
}

/* For reading. guest: sees what is there now. */
static int try_read(const struct scene *scene, struct guest *guest, bool clean)
{
    struct vdisk *disk;
    int err = open_disk(scene, 0, &disk), closed;

    if (err)
        return err;
    err = look_at(disk);
    if (!err)
        err = guest_look(guest, disk);
    if (err && messages.count[VDISK_ERROR] == 0)
        test_fail("cannot be read (%s) and does not say why", strerror(-err));
    if (err && clean)
        test_fail("is clean but cannot be read: %s", messages.first);
    closed = vdisk_close(disk);
    test_equal(closed, 0);
    return err;
}

/* For writing: the guest works, the file is closed. clean: everything must go well, but for the storage's limits. */
static int try_write(const struct scene *scene, struct guest *guest, bool clean)
{
    struct vdisk *disk;
    int err = open_disk(scene, VDISK_OPEN_WRITE, &disk), closed;

    if (err && clean && err != -EROFS && !is_limit(err))
        test_fail("is clean but does not open for writing: %s", messages.first);
    if (err)
        return err;
    err = guest_work(guest, disk);
    if (err && messages.count[VDISK_ERROR] == 0)
        test_fail("cannot be written (%s) and does not say why", strerror(-err));
    closed = vdisk_close(disk);
    err = err ? err : closed;
    if (err && clean && !is_limit(err))
        test_fail("is clean but cannot be written: %s", messages.first);
    return err;
}

/* Writes to a copy of the first file, and looks at it again. */
static void try_copy(const struct scene *scene, struct medium *image, struct guest *guest, bool clean)
{
    struct medium *copy = medium_over(image);
    int err;

    medium_name(0, scene->name[0], copy);
    guest->must = clean;
    err = try_write(scene, guest, clean);
    if (check_disk(scene, 0) > 0 && clean)
        test_fail("was clean, was written to, and is not clean: %s", messages.fault);
    if (!err && clean) {
        if (try_read(scene, guest, true))
            test_fail("was clean, was written to, and cannot be read: %s", messages.first);
        count.written++;
    }
    medium_name(0, scene->name[0], image);
    medium_free(copy);
}

/* What is clean opens, though its parent may not be found or not be its parent. */
static void try_alone(const struct scene *scene)
{
    struct vdisk *disk;

    if (open_disk(scene, VDISK_OPEN_ALONE, &disk))
        test_fail("is clean but does not open: %s", messages.first);
    test_equal(vdisk_close(disk), 0);
}

/* arg: whether the guest's data comes back. */
static void look_at_step(void *arg, const struct vdisk_fault *step)
{
    bool *restores = arg;

    test_true((step->severity == VDISK_MEND || step->severity == VDISK_REFUSE) && step->code && step->text);
    *restores = *restores || (step->severity == VDISK_MEND && strcmp(step->code, "bat-lost") == 0);
}

/* readable: the guest has seen it. */
static void try_repair(const struct scene *scene, struct medium *image, struct guest *guest, bool readable, bool clean)
{
    struct vdisk_open_options options = {.format = scene->format, .log = {print, NULL}};
    struct medium *copy = medium_over(image);
    bool restores = false;
    int err;

    medium_name(0, scene->name[0], copy);
    messages_clear(&messages);
    err = vdisk_repair(scene->name[0], &options, 0, NULL, look_at_step, &restores);
    if (err && messages.count[VDISK_ERROR] == 0)
        test_fail("cannot be repaired (%s) and does not say why", strerror(-err));
    clean = clean || (restores && !err); /* it is done only where it leaves no fault */
    guest->must = !restores;
    if (readable && try_read(scene, guest, clean))
        test_fail("could be read, was repaired, and cannot be read: %s", messages.first);
    if (check_disk(scene, 0) && clean)
        test_fail("was clean or restored, was repaired, and is not clean: %s", messages.fault);
    medium_name(0, scene->name[0], image);
    medium_free(copy);
}

int trial_run(const uint8_t *input, size_t size, unsigned what)
{
    struct medium *image[SCENE_FILES];
    const struct scene *scene = scene_lay(input, size, image);
    struct guest guest;
    bool clean = what & TRIAL_CHECK, readable = false;
    int err;

    if (!scene)
        return -1;
    if (count.inputs++ == 0)
        atexit(print_count);
    messages.echo = getenv("FUZZ_SHOW") != NULL;
    guest_init(&guest, (uint64_t)input[2] << 8 | input[3]);
    for (unsigned i = 0; i < scene->files && what & TRIAL_CHECK; i++)
        clean = check_disk(scene, i) == 0 && clean;
    count.clean += clean;
    if (what & TRIAL_READ) {
        err = try_read(scene, &guest, clean);
        if (err && clean)
            try_alone(scene);
        readable = !err;
        count.opened += readable;
        clean = clean && !err;
    }
    if (what & TRIAL_REPAIR)
        try_repair(scene, image[0], &guest, readable, clean);
    if (what & TRIAL_WRITE)
        try_copy(scene, image[0], &guest, clean);
    scene_clear(scene, image);
    return 0;
}
