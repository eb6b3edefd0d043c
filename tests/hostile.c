/* SPDX-License-Identifier: BSD-2-Clause */
/* See hostile.h. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/instrumented.h"
#include "tests/content.h"
#include "tests/hostile.h"

#define KIND_SECONDS 60
#define KIND_MEMORY (1ull << 30) /* address space above the test's own */
#define KIND_RESIDENT (96 << 10) /* KiB */
#define READ_STEPS 4096
#define READ_CHUNK (1u << 20)

void image_open(struct hostile_image *image, const char *path)
{
    struct stat st;

    image->fd = open(path, O_RDWR | O_CLOEXEC);
    if (image->fd < 0 || fstat(image->fd, &st) < 0)
        test_fail("%s: %s", path, strerror(errno));
    image->size = (uint64_t)st.st_size;
}

void image_close(struct hostile_image *image)
{
    close(image->fd);
}

void image_read(struct hostile_image *image, void *buffer, size_t length, uint64_t at)
{
    test_equal(pread(image->fd, buffer, length, (off_t)at), length);
}

void image_write(struct hostile_image *image, const void *buffer, size_t length, uint64_t at)
{
    test_equal(pwrite(image->fd, buffer, length, (off_t)at), length);
    if (at + length > image->size)
        image->size = at + length;
}

void image_resize(struct hostile_image *image, uint64_t size)
{
    test_equal(ftruncate(image->fd, (off_t)size), 0);
    image->size = size;
}

uint64_t image_get(struct hostile_image *image, uint64_t at, unsigned width, bool big_endian)
{
    uint8_t byte[8] = {0};
    uint64_t value = 0;

    image_read(image, byte, width, at);
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)byte[i] << 8 * (big_endian ? width - 1 - i : i);
    return value;
}

void image_put(struct hostile_image *image, uint64_t at, unsigned width, uint64_t value, bool big_endian)
{
    uint8_t byte[8] = {0};

    test_true(width >= 1 && width <= 8);
    for (unsigned i = 0; i < width; i++)
        byte[i] = (uint8_t)(value >> 8 * (big_endian ? width - 1 - i : i));
    image_write(image, byte, width, at);
}

void hostile_make(const char *path, const struct vdisk_create_options *options)
{
    static const uint64_t written[] = {0, 3 << 20, (3 << 20) + 8192, 5 << 20, (16 << 20) - 4096};
    static uint8_t buffer[4096];
    struct content stamps;
    struct vdisk_ring *ring;
    struct vdisk *disk;

    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring));
    test_ok(vdisk_create(path, options, &disk));
    content_open(&stamps, vdisk_size(disk), vdisk_sector_size(disk));
    stamps.generation = 7;
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        content_fill(&stamps, buffer, written[i] / stamps.sector_size, sizeof(buffer) / stamps.sector_size,
                     options->parent ? 7 : 3);
        test_ok(vdisk_transfer(disk, ring, VDISK_WRITE, buffer, written[i], sizeof(buffer)));
    }
    content_close(&stamps);
    test_ok(vdisk_commit(disk));
    vdisk_ring_close(ring);
}

/* ---- Reading what opened ------------------------------------------------------------------------------------- */

struct reading {
    int error;      /* the first */
    uint64_t print; /* of the bytes */
};

static void read_all(struct vdisk *disk, struct vdisk_ring *ring, struct reading *reading)
{
    static uint64_t buffer[READ_CHUNK / 8];
    uint64_t size = vdisk_size(disk), length;
    struct vdisk_extent extent;

    *reading = (struct reading){0, size};
    for (uint64_t at = 0, step = 0; at < size && step < READ_STEPS; at += length, step++) {
        int err;

        length = size - at < READ_CHUNK ? size - at : READ_CHUNK;
        err = vdisk_map(disk, at, length, 0, &extent);
        if (!err) {
            test_true(extent.offset == at && extent.length && extent.length <= length);
            length = extent.length;
        }
        err = vdisk_transfer(disk, ring, VDISK_READ, buffer, at, length);
        if (err && !reading->error)
            reading->error = err;
        for (uint64_t i = 0; !err && i < length / 8; i++)
            if (buffer[i])
                reading->print =
                    (reading->print ^ buffer[i] ^ (at + i * 8)) * 0x9E3779B97F4A7C15u ^ reading->print >> 31;
    }
}

static void ignore_field(void *arg, const struct vdisk_field *field)
{
    (void)arg;
    test_true(field->group && field->name && (field->type != VDISK_FIELD_TEXT || field->text));
}

struct trial {
    const struct hostile_suite *suite;
    const struct hostile_kind *kind;
    const char *path, *base;
    struct messages messages;
    struct vdisk_ring *ring;
    char codes[512]; /* what check told, each once: "header-checksum,header-none" */
    int wrong;       /* how many things were not as expected */
};

static void wrong(struct trial *trial, const char *what)
{
    fprintf(stderr, "FAIL %s: %s [%s] [%s]\n", trial->kind->name, what, trial->messages.first, trial->messages.fault);
    trial->wrong++;
}

static int trial_open(struct trial *trial, const char *path, unsigned flags, struct vdisk **disk)
{
    struct vdisk_open_options options = {
        .flags = flags, .format = trial->suite->format, .log = messages_log(&trial->messages)};

    messages_clear(&trial->messages);
    *disk = NULL;
    return vdisk_open(path, &options, disk);
}

/* A failure came with exactly one message of one line, which names the file (of an orphan, the parent's may be the one)
 * and, of what is refused, the place. */
static void expect_message(struct trial *trial, const char *when)
{
    const char *name = strrchr(trial->path, '/') + 1;
    char text[160], beside[TEST_PATH];

    snprintf(beside, sizeof(beside), "%.*s", (int)(name - trial->path), trial->path);
    if (trial->messages.count[VDISK_ERROR] != 1) {
        snprintf(text, sizeof(text), "%s: %u messages for one error", when, trial->messages.count[VDISK_ERROR]);
        wrong(trial, text);
    } else if (!strstr(trial->messages.first, trial->kind->expect == ORPHAN ? beside : name)) {
        snprintf(text, sizeof(text), "%s: the message does not name the file", when);
        wrong(trial, text);
    } else if (strchr(trial->messages.first, '\n')) {
        wrong(trial, "a message of two lines");
    } else if (trial->kind->expect == REFUSE && !strstr(trial->messages.first, "0x") &&
               !strstr(trial->messages.first, "parent") && !strstr(trial->messages.first, "child")) {
        snprintf(text, sizeof(text), "%s: the message does not say where", when);
        wrong(trial, text);
    }
}

static void try_read(struct trial *trial)
{
    enum hostile_expect expect = trial->kind->expect;
    bool must_open = expect == FINE || expect == MENDED || expect == READONLY;
    struct reading reading, original;
    struct vdisk *disk;
    int err = trial_open(trial, trial->path, 0, &disk);

    if (err) {
        expect_message(trial, "open");
        if (must_open)
            wrong(trial, "does not open");
        return;
    }
    if (expect == REFUSE || expect == ORPHAN)
        wrong(trial, "opens");
    vdisk_info(disk, ignore_field, NULL);
    read_all(disk, trial->ring, &reading);
    if (reading.error && !trial->messages.count[VDISK_ERROR])
        wrong(trial, "a read failed without a word");
    if (expect == WITHHELD && !reading.error)
        wrong(trial, "everything can be read");
    vdisk_close(disk);
    if (!must_open)
        return;
    if (reading.error)
        wrong(trial, "cannot be read");
    test_ok(trial_open(trial, trial->base, 0, &disk));
    read_all(disk, trial->ring, &original);
    vdisk_close(disk);
    if (reading.print != original.print)
        wrong(trial, "does not hold what the image held");
}

static void note_fault(void *arg, const struct vdisk_fault *fault)
{
    struct trial *trial = arg;
    size_t length = strlen(trial->codes), part = strlen(fault->code);

    messages_fault(&trial->messages, fault);
    for (const char *at = trial->codes; (at = strstr(at, fault->code)); at += part)
        if ((at == trial->codes || at[-1] == ',') && (at[part] == ',' || !at[part]))
            return;
    if (length + part + 2 < sizeof(trial->codes))
        sprintf(trial->codes + length, "%s%s", length ? "," : "", fault->code);
}

/* What check told is what it told before: tests/hostile/codes.tsv, by format and kind. What is refused is often refused for
 * more than one reason; this is how each of them is seen. HOSTILE_LEARN: it is written there. */
static void expect_codes(struct trial *trial)
{
    char path[TEST_PATH], line[1024], wanted[1024], text[1200];
    const char *src = getenv("SRC"), *learn = getenv("HOSTILE_LEARN");
    bool found = false;
    FILE *file;

    snprintf(path, sizeof(path), "%s/tests/hostile/codes.tsv", src ? src : ".");
    snprintf(wanted, sizeof(wanted), "%s\t%s\t%s\n", trial->suite->format, trial->kind->name,
             *trial->codes ? trial->codes : "-");
    file = fopen(path, learn ? "a" : "r");
    if (!file)
        test_fail("%s: %s", path, strerror(errno));
    if (learn)
        fputs(wanted, file);
    while (!learn && !found && fgets(line, sizeof(line), file))
        found = strcmp(line, wanted) == 0;
    fclose(file);
    snprintf(text, sizeof(text), "check tells other codes than it did, or in another order: %s", trial->codes);
    if (!learn && !found)
        wrong(trial, text);
}

static void try_check(struct trial *trial)
{
    enum hostile_expect expect = trial->kind->expect;
    struct vdisk_open_options options = {.format = trial->suite->format, .log = messages_log(&trial->messages)};
    int err;

    messages_clear(&trial->messages);
    err = vdisk_check(trial->path, &options, NULL, note_fault, trial);
    if (err < 0)
        expect_message(trial, "check");
    expect_codes(trial);
    if (err > 1 || (err == 1) != (trial->messages.faults > 0))
        wrong(trial, "check's result is not what it reported");
    if (expect == FINE && err)
        wrong(trial, "check finds fault");
    if (err == 0 && (expect == REFUSE || expect == WITHHELD || expect == FAULTY || expect == MENDED))
        wrong(trial, "check finds nothing");
}

/* On a copy: what could be read reads the same, what was refused is not touched, and a second repair finds nothing. */
static void try_repair(struct trial *trial, const char *copy)
{
    struct vdisk_open_options options = {.format = trial->suite->format, .log = messages_log(&trial->messages)};
    uint64_t print = file_fingerprint(trial->path);
    struct reading before, after;
    struct vdisk *disk;
    int err, opens = trial_open(trial, trial->path, 0, &disk);

    if (!opens) {
        read_all(disk, trial->ring, &before);
        vdisk_close(disk);
    }
    file_copy(trial->path, copy);
    messages_clear(&trial->messages);
    err = vdisk_repair(copy, &options, VDISK_REPAIR_DRY, NULL, messages_fault, &trial->messages);
    if (file_fingerprint(copy) != print)
        wrong(trial, "a dry repair changed the file");
    if (!err)
        err = vdisk_repair(copy, &options, 0, NULL, messages_fault, &trial->messages);
    if (err && trial->messages.count[VDISK_ERROR] == 0)
        wrong(trial, "repair failed without a word");
    if (opens && file_fingerprint(copy) != print)
        wrong(trial, "repair changed what cannot be opened");
    print = file_fingerprint(copy);
    messages_clear(&trial->messages);
    if (!err &&
        (vdisk_repair(copy, &options, 0, NULL, messages_fault, &trial->messages) || file_fingerprint(copy) != print))
        wrong(trial, "a second repair does something");
    messages_clear(&trial->messages);
    if (trial->kind->expect == MENDED && (err || vdisk_check(copy, &options, NULL, messages_fault, &trial->messages)))
        wrong(trial, "is not clean after repair");
    if (!opens && trial_open(trial, copy, 0, &disk)) {
        wrong(trial, "does not open after repair");
    } else if (!opens) {
        read_all(disk, trial->ring, &after);
        vdisk_close(disk);
        if (!before.error && (after.error || after.print != before.print))
            wrong(trial, "reads otherwise after repair");
    }
    unlink(copy);
}

/* On a copy: it may change, and must do nothing worse. */
static void try_write(struct trial *trial)
{
    static uint8_t bytes[8192];
    const char *copy = trial->path;
    enum hostile_expect expect = trial->kind->expect;
    struct vdisk *disk;
    uint64_t size, block;
    int err = trial_open(trial, copy, VDISK_OPEN_WRITE, &disk);

    if (err) {
        expect_message(trial, "open for writing");
        if (expect == FINE || expect == MENDED)
            wrong(trial, "does not open for writing");
        return;
    }
    if (expect == REFUSE || expect == ORPHAN || expect == READONLY)
        wrong(trial, "opens for writing");
    size = vdisk_size(disk);
    block = vdisk_block_size(disk) ? vdisk_block_size(disk) : 1 << 20;
    memset(bytes, 0x5a, sizeof(bytes));
    for (uint64_t at = 0; at < 8 * block && at < size; at += block) {
        uint64_t length = size - at < block ? size - at : block;

        vdisk_transfer(disk, trial->ring, VDISK_WRITE, bytes, at, length < 8192 ? length : 8192);
        vdisk_transfer(disk, trial->ring, at / block % 2 ? VDISK_DISCARD : VDISK_ZERO, NULL, at, length);
    }
    vdisk_transfer(disk, trial->ring, VDISK_FLUSH, NULL, 0, 0);
    err = vdisk_close(disk);
    if (err && (expect == FINE || expect == MENDED))
        wrong(trial, "cannot be closed after writing");
}

/* ---- One kind ------------------------------------------------------------------------------------------------ */

static void limits_set(void)
{
    struct rlimit limit = {KIND_MEMORY, KIND_MEMORY};

    alarm(10 * KIND_SECONDS * (1 + 3 * INSTRUMENTED)); /* waits for ever; a machine may be busy */
    limit.rlim_cur = limit.rlim_max = KIND_SECONDS * (1 + 3 * INSTRUMENTED);
    setrlimit(RLIMIT_CPU, &limit);
    limit.rlim_cur = limit.rlim_max = KIND_MEMORY;
    if (!INSTRUMENTED)
        setrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = limit.rlim_max = 0;
    setrlimit(RLIMIT_CORE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = limit.rlim_max = 4ull << 30; /* no file beyond 4 GiB */
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void image_patch(const struct hostile_suite *suite, const struct hostile_kind *kind, const char *path)
{
    struct hostile_image image;

    image_open(&image, path);
    for (size_t i = 0; i < sizeof(kind->patch) / sizeof(kind->patch[0]) && kind->patch[i].where; i++)
        suite->apply(&image, &kind->patch[i]);
    if (kind->custom)
        kind->custom(&image);
    image_close(&image);
}

static int kind_try(const struct hostile_suite *suite, const struct hostile_kind *kind, const char *path,
                    const char *base)
{
    struct trial trial = {.suite = suite, .kind = kind, .path = path, .base = base, .messages = MESSAGES_INIT};
    char mended[TEST_PATH];
    struct rusage usage;
    uint64_t print;

    limits_set();
    file_copy(base, path);
    image_patch(suite, kind, path);
    print = file_fingerprint(path);
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &trial.ring));
    try_read(&trial);
    if (getenv("HOSTILE_SHOW"))
        printf("%-44s %s\n", kind->name, trial.messages.first);
    if (file_fingerprint(path) != print)
        wrong(&trial, "reading changed the file");
    try_check(&trial);
    if (getenv("HOSTILE_SHOW"))
        printf("%-44s   check: %s%s\n", "", trial.messages.fault, trial.messages.first);
    if (file_fingerprint(path) != print)
        wrong(&trial, "check changed the file");
    snprintf(mended, sizeof(mended), "%.*s/mended%s", (int)(strrchr(path, '/') - path), path, suite->suffix);
    try_repair(&trial, mended);
    try_write(&trial);
    if ((kind->expect == REFUSE || kind->expect == ORPHAN) && file_fingerprint(path) != print)
        wrong(&trial, "what was refused was changed");
    vdisk_ring_close(trial.ring);
    getrusage(RUSAGE_SELF, &usage);
    if (!INSTRUMENTED && usage.ru_maxrss > KIND_RESIDENT)
        wrong(&trial, "took too much memory");
    fflush(NULL);
    return trial.wrong != 0;
}

static bool kind_run(const struct hostile_suite *suite, const struct hostile_kind *kind, const char *path,
                     const char *base)
{
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    test_true(child >= 0);
    if (child == 0)
        _exit(kind_try(suite, kind, path, base));
    test_true(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        fprintf(stderr, "FAIL %s: %s\n", kind->name,
                WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL ? "hangs" : strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) > 1)
        fprintf(stderr, "FAIL %s: exit status %d\n", kind->name, WEXITSTATUS(status));
    return status == 0;
}

int hostile_run(const struct hostile_suite *suite)
{
    const char *only = getenv("HOSTILE_ONLY");
    char dir[TEST_PATH], name[64], bases[8][TEST_PATH], path[TEST_PATH];
    unsigned run = 0, failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    scratch_make(dir, true);
    for (unsigned i = 0; i < suite->bases; i++) {
        snprintf(name, sizeof(name), "base%u%s", i, suite->suffix);
        strcpy(bases[i], scratch_path(dir, name));
        suite->make(dir, i, bases[i]);
    }
    snprintf(name, sizeof(name), "hostile%s", suite->suffix);
    strcpy(path, scratch_path(dir, name));
    for (const struct hostile_kind *kind = suite->kinds; kind->expect; kind++) {
        if (only && *only && !strstr(kind->name, only))
            continue;
        run++;
        failed += !kind_run(suite, kind, path, bases[kind->base]);
        unlink(path);
        if (failed && getenv("HOSTILE_FIRST")) /* for who asks whether one is found, and not which */
            break;
    }
    printf("%u kinds of corruption, %u not met as they should be\n", run, failed);
    return failed != 0;
}
