/* SPDX-License-Identifier: BSD-2-Clause */
/* See support.h. */
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <libgen.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support.h"

void test_fail_at(const char *file, int line, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    fflush(NULL);
    abort();
}

/* xorshift64* */
void rng_seed(struct rng *rng, uint64_t seed)
{
    rng->state = (seed + 1) * 0x9E3779B97F4A7C15u | 1;
}

uint64_t rng_next(struct rng *rng)
{
    rng->state ^= rng->state >> 12;
    rng->state ^= rng->state << 25;
    rng->state ^= rng->state >> 27;
    return rng->state * 0x2545F4914F6CDD1Du >> 8;
}

uint64_t rng_below(struct rng *rng, uint64_t below)
{
    return rng_next(rng) % below;
}

static void messages_print(void *arg, enum vdisk_level level, const char *text)
{
    struct messages *messages = arg;

    pthread_mutex_lock(&messages->lock);
    if (messages->count[level]++ == 0 && level == VDISK_ERROR)
        snprintf(messages->first, sizeof(messages->first), "%s", text);
    if (messages->echo && level != VDISK_NOTE)
        fprintf(stderr, "  said: %s\n", text);
    pthread_mutex_unlock(&messages->lock);
}

struct vdisk_log messages_log(struct messages *messages)
{
    return (struct vdisk_log){.print = messages_print, .arg = messages};
}

void messages_fault(void *arg, const struct vdisk_fault *fault)
{
    struct messages *messages = arg;

    if (fault->severity == VDISK_LEAK) {
        messages->leaks++;
        return;
    }
    if (messages->faults++ == 0)
        snprintf(messages->fault, sizeof(messages->fault), "%s: %s", fault->code, fault->text);
    if (messages->echo)
        fprintf(stderr, "  fault: %s: %s\n", fault->code, fault->text);
}

void messages_clear(struct messages *messages)
{
    memset(messages->count, 0, sizeof(messages->count));
    messages->faults = messages->leaks = 0;
    messages->first[0] = messages->fault[0] = 0;
}

uint64_t test_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

bool processes_run(const char *variable, process_fn *run, uint64_t *counts, size_t count)
{
    unsigned processes = (unsigned)test_number(variable, 2);
    uint64_t one[16] = {0};
    int pipes[2], failed = 0;

    test_true(count <= 16 && pipe(pipes) == 0);
    fflush(NULL);
    for (unsigned i = 0; i < processes; i++) {
        if (fork() == 0) {
            run(i, processes, one);
            fflush(NULL);
            exit(write(pipes[1], one, sizeof(one)) != sizeof(one)); /* not _exit: leaks are looked for then */
        }
    }
    close(pipes[1]);
    while (read(pipes[0], one, sizeof(one)) == sizeof(one))
        for (size_t i = 0; i < count; i++)
            counts[i] += one[i];
    close(pipes[0]);
    for (int status; wait(&status) > 0;)
        failed |= status;
    return failed == 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* A child goes on with the test; this process waits for its end, however it comes, and cleans up. */
static void scratch_guard(const char *path)
{
    pid_t child = fork();
    int status;

    if (child < 0)
        test_fail("fork: %s", strerror(errno));
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        return;
    }
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (WIFSIGNALED(status))
        fprintf(stderr, "ended by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

void scratch_make(char *path, bool fast)
{
    const char *dir = getenv("TMPDIR");

    if (fast && access("/dev/shm", W_OK) == 0)
        dir = "/dev/shm";
    test_true(snprintf(path, TEST_PATH, "%s/vdisk-test.XXXXXX", dir && *dir ? dir : "/tmp") < TEST_PATH);
    if (!mkdtemp(path))
        test_fail("%s: %s", path, strerror(errno));
    fflush(NULL);
    if (!getenv("TEST_KEEP"))
        scratch_guard(path);
}

const char *scratch_path(const char *dir, const char *name)
{
    static _Thread_local char buffer[64][TEST_PATH];
    static _Thread_local unsigned turn;
    char *path = buffer[turn++ % 64];

    test_true(snprintf(path, TEST_PATH, "%s/%s", dir, name) < TEST_PATH);
    return path;
}

const char *scratch_standing(const char *path)
{
    static _Thread_local char found[TEST_PATH];
    char copy[2][TEST_PATH], pattern[2 * TEST_PATH];
    glob_t match;

    if (access(path, F_OK) == 0)
        return path;
    strcpy(copy[0], path);
    strcpy(copy[1], path);
    snprintf(pattern, sizeof(pattern), "%s/.%s.*.tmp", dirname(copy[0]), basename(copy[1]));
    if (glob(pattern, 0, NULL, &match) == 0 && match.gl_pathc == 1) {
        test_true(strlen(match.gl_pathv[0]) < TEST_PATH);
        path = strcpy(found, match.gl_pathv[0]);
    }
    globfree(&match);
    return path;
}

uint64_t file_fingerprint(const char *path)
{
    static _Thread_local uint64_t buffer[16384];
    uint64_t print = 0xcbf29ce484222325u, at = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    off_t data;

    if (fd < 0 || fstat(fd, &st) < 0)
        test_fail("%s: %s", path, strerror(errno));
    while ((data = lseek(fd, (off_t)at, SEEK_DATA)) >= 0) {
        ssize_t n;

        at = (uint64_t)data & ~(uint64_t)7;
        memset(buffer, 0, sizeof(buffer));
        n = pread(fd, buffer, sizeof(buffer), (off_t)at);
        if (n <= 0)
            break;
        for (size_t i = 0; i < ((size_t)n + 7) / 8; i++)
            if (buffer[i])
                print = ((print ^ buffer[i] ^ (at + i * 8)) * 0x9E3779B97F4A7C15u) ^ (print >> 29);
        at += (uint64_t)n;
    }
    close(fd);
    return print ^ (uint64_t)st.st_size;
}

void file_copy(const char *from, const char *to)
{
    static _Thread_local char buffer[1 << 18];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    struct stat st;
    off_t at = 0;

    if (in < 0 || out < 0 || fstat(in, &st) < 0 || ftruncate(out, st.st_size) < 0)
        test_fail("copy of %s to %s: %s", from, to, strerror(errno));
    while (at < st.st_size && (at = lseek(in, at, SEEK_DATA)) >= 0) {
        off_t hole = lseek(in, at, SEEK_HOLE);

        while (at < hole) {
            size_t want = hole - at < (off_t)sizeof(buffer) ? (size_t)(hole - at) : sizeof(buffer);
            ssize_t n = pread(in, buffer, want, at);

            if (n <= 0 || pwrite(out, buffer, (size_t)n, at) != n)
                test_fail("copy of %s to %s: %s", from, to, strerror(errno));
            at += n;
        }
    }
    close(in);
    close(out);
}
