/* SPDX-License-Identifier: BSD-2-Clause */
/* What a machine's process may not do any more is refused, in every thread, and what it needs works. Each test is a
 * process of its own; its exit status is the number of the line that went wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/landlock.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/instrumented.h"
#include "base/sandbox.h"
#include "disk/vdisk.h"

static void in_a_process(void (*test)(void))
{
    int status;
    pid_t child;

    if (INSTRUMENTED)
        skip();
    child = fork();
    if (child == 0) {
        alarm(20);
        test();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0)
        print_error("line %d (status %#x)\n", WEXITSTATUS(status) ? WEXITSTATUS(status) : 0, status);
    assert_int_equal(status, 0);
}

#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            _exit(__LINE__ & 0xff);                                                                                    \
    } while (0)

#define REFUSED(call) NEED((call) < 0 && (errno == EPERM || errno == EACCES))

static void program_start(void)
{
    char *const arguments[] = {"true", NULL};

    REFUSED(execve("/bin/true", arguments, NULL));
}

/* To every thread. */
static void process_refused(void)
{
    program_start();
    REFUSED(fork());
    REFUSED(kill(getppid(), 0));
    REFUSED(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    REFUSED(truncate("a", 0));
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0));
    REFUSED(chmod("a", 0777));
    REFUSED(ioctl(0, TIOCSTI, "x")); /* types on the terminal */
    REFUSED(fcntl(0, F_SETOWN, getppid()));
    REFUSED(fcntl(0, F_SETSIG, SIGKILL));
}

/* To every thread but those that work for a control socket. */
static void outside_refused(void)
{
    process_refused();
    REFUSED(open("/etc/passwd", O_RDWR));
    REFUSED(open("new", O_WRONLY | O_CREAT, 0600));
    REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
    REFUSED(rename("a", "b"));
    REFUSED(unlink("a"));
    REFUSED(mkdir("a", 0700));
}

static void *nothing(void *arg)
{
    return arg;
}

static void socket_works(int family)
{
    int fd = socket(family, SOCK_STREAM, 0);

    NEED(fd >= 0 && close(fd) == 0);
}

static void thread_works(void)
{
    pthread_t thread;

    NEED(pthread_create(&thread, NULL, nothing, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
}

static void process_filtered(void)
{
    char path[512], other[520];

    snprintf(path, sizeof(path), "%s/made", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    snprintf(other, sizeof(other), "%s.other", path);
    NEED(sandbox_process() == 0);
    process_refused();
    thread_works();
    socket_works(AF_INET);
    socket_works(AF_UNIX);
    NEED(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    NEED(close(open(path, O_RDWR | O_CREAT, 0600)) == 0);
    NEED(rename(path, other) == 0 && unlink(other) == 0);
}

static int line[2];

/* A thread that was there before the filter. */
static void *waits(void *arg)
{
    char byte;

    NEED(read(line[0], &byte, 1) == 1);
    process_refused();
    return arg;
}

static void threads_filtered(void)
{
    pthread_t thread;

    NEED(pipe(line) == 0);
    NEED(pthread_create(&thread, NULL, waits, NULL) == 0);
    NEED(sandbox_process() == 0);
    NEED(write(line[1], "x", 1) == 1);
    NEED(pthread_join(thread, NULL) == 0);
}

/* What it starts may do no more than itself. */
static void *helper(void *arg)
{
    outside_refused();
    REFUSED(open("/usr/bin/true", O_RDONLY));
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    return arg;
}

static void *processor(void *arg)
{
    struct io_uring ring;
    pthread_t thread;

    NEED(sandbox_thread(SANDBOX_CPU) == 0);
    helper(NULL);
    NEED(io_uring_queue_init(4, &ring, 0) == -EPERM);
    NEED(pthread_create(&thread, NULL, helper, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    return arg;
}

static void *io(void *arg)
{
    struct vdisk_ring *ring;
    pthread_t thread;

    NEED(sandbox_thread(SANDBOX_IO) == 0);
    helper(NULL);
    NEED(pthread_create(&thread, NULL, helper, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    NEED(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring) == 0);
    vdisk_ring_close(ring);
    return arg;
}

static void *net(void *arg)
{
    NEED(sandbox_thread(SANDBOX_NET) == 0);
    outside_refused();
    thread_works();
    socket_works(AF_INET);
    NEED(close(open("/usr/bin/true", O_RDONLY)) == 0);
    return arg;
}

static void processors_filtered(void)
{
    void *(*const kinds[])(void *) = {processor, io, net};
    pthread_t thread;

    NEED(sandbox_process() == 0);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        NEED(pthread_create(&thread, NULL, kinds[i], NULL) == 0);
        NEED(pthread_join(thread, NULL) == 0);
        socket_works(AF_UNIX); /* that thread's filter is not ours */
    }
}

struct transfer {
    struct vdisk *disk;
    struct vdisk_ring *ring;
};

static void *transfers(void *arg)
{
    const struct transfer *transfer = arg;
    static char data[4096];

    NEED(sandbox_thread(SANDBOX_CPU) == 0);
    NEED(vdisk_transfer(transfer->disk, transfer->ring, VDISK_WRITE, data, 0, sizeof(data)) == 0);
    NEED(vdisk_transfer(transfer->disk, transfer->ring, VDISK_FLUSH, NULL, 0, 0) == 0);
    return NULL;
}

/* A processor that waits for what it has asked of IDE goes on with it on its own thread: it is the first that has work
 * for the disk's workers. */
static void disk_served(void)
{
    const char *directory = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    const struct vdisk_create_options create = {.flags = VDISK_CREATE_UNNAMED, .size = 8 << 20};
    struct transfer transfer;
    char path[512];
    pthread_t thread;

    snprintf(path, sizeof(path), "%s/fresh.vhdx", directory);
    NEED(vdisk_create(path, &create, &transfer.disk) == 0);
    NEED(vdisk_ring_open(16, VDISK_BACKEND_AUTO, &transfer.ring) == 0);
    NEED(sandbox_process() == 0);
    NEED(pthread_create(&thread, NULL, transfers, &transfer) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    vdisk_ring_close(transfer.ring);
    NEED(vdisk_close(transfer.disk) == 0);
}

/* What the process may read is no business of a thread that has narrowed itself. */
static void *reads(void *path)
{
    NEED(close(open(path, O_RDONLY)) == 0);
    NEED(sandbox_thread(SANDBOX_NET) == 0);
    REFUSED(open(path, O_RDONLY));
    NEED(close(open("/usr/bin/true", O_RDONLY)) == 0);
    return NULL;
}

struct through {
    struct io_uring ring;
    const char *path;
    enum sandbox_kind kind;
};

static int ring_opens(struct through *through)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&through->ring);
    struct io_uring_cqe *cqe;
    int result;

    NEED(sqe);
    io_uring_prep_openat(sqe, AT_FDCWD, through->path, O_RDWR, 0);
    NEED(io_uring_submit_and_wait(&through->ring, 1) == 1);
    NEED(io_uring_wait_cqe(&through->ring, &cqe) == 0);
    result = cqe->res;
    io_uring_cqe_seen(&through->ring, cqe);
    return result;
}

/* A ring's requests pass no filter of system calls. */
static void *opens_by_ring(void *arg)
{
    struct through *through = arg;
    int result = ring_opens(through);

    NEED(result >= 0 && close(result) == 0);
    NEED(sandbox_thread(through->kind) == 0);
    result = ring_opens(through);
    NEED(result == -EACCES || result == -EPERM);
    return NULL;
}

static void rings_closed(const char *path)
{
    for (enum sandbox_kind kind = SANDBOX_CPU; kind < SANDBOX_PROCESS; kind++) {
        struct through through = {.path = path, .kind = kind};
        pthread_t thread;

        if (io_uring_queue_init(4, &through.ring, 0) < 0)
            return;
        NEED(pthread_create(&thread, NULL, opens_by_ring, &through) == 0);
        NEED(pthread_join(thread, NULL) == 0);
        io_uring_queue_exit(&through.ring);
    }
}

static void files_closed(void)
{
    const char *directory = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    char path[512], given[512], inside[520], other[520], read_only[512];
    const char *const readable[] = {"/proc/self/status", "/absent", read_only, NULL},
                      *const writable[] = {"/dev/null", given, NULL};
    pthread_t thread;
    int err;

    snprintf(path, sizeof(path), "%s/kept", directory);
    snprintf(given, sizeof(given), "%s/given.%d", directory, (int)getpid());
    snprintf(inside, sizeof(inside), "%s/a", given);
    snprintf(other, sizeof(other), "%s/b", given);
    snprintf(read_only, sizeof(read_only), "%s/read-only", directory);
    NEED(close(open(read_only, O_WRONLY | O_CREAT, 0600)) == 0);
    NEED(close(open(path, O_WRONLY | O_CREAT, 0600)) == 0);
    NEED(mkdir(given, 0700) == 0);
    err = sandbox_files(readable, writable, NULL);
    if (err == -ENOSYS || err == -EOPNOTSUPP)
        _exit(0);
    NEED(err == 0);
    REFUSED(open("/etc/passwd", O_RDONLY));
    REFUSED(open(path, O_RDONLY));
    REFUSED(open(path, O_WRONLY));
    REFUSED(mkdir("directory", 0700));
    program_start();
    NEED(open("/usr/bin/true", O_RDONLY) >= 0);
    NEED(open("/dev/urandom", O_RDONLY) >= 0); /* identifiers of disks */
    NEED(open("/proc/self/status", O_RDONLY) >= 0);
    NEED(open("/dev/null", O_RDWR) >= 0);
    NEED(close(open(read_only, O_RDONLY)) == 0);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 3)
        REFUSED(open(read_only, O_RDONLY | O_TRUNC));
    REFUSED(unlink(path));
    NEED(close(open(inside, O_RDWR | O_CREAT | O_TRUNC, 0600)) == 0);
    REFUSED(mkdir(other, 0700));
    REFUSED(symlink("/", other));
    NEED(rename(inside, other) == 0);
    NEED(close(open(other, O_RDWR)) == 0);
    NEED(sandbox_process() == 0);
    NEED(pthread_create(&thread, NULL, net, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    NEED(pthread_create(&thread, NULL, reads, other) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    rings_closed(other);
    NEED(unlink(other) == 0);
}

static void process_is_filtered(void **state)
{
    (void)state;
    in_a_process(process_filtered);
}

static void every_thread_is(void **state)
{
    (void)state;
    in_a_process(threads_filtered);
}

static void processors_are_more(void **state)
{
    (void)state;
    in_a_process(processors_filtered);
}

static void processors_serve_disks(void **state)
{
    (void)state;
    in_a_process(disk_served);
}

static void files_are_closed(void **state)
{
    (void)state;
    in_a_process(files_closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(process_is_filtered), cmocka_unit_test(every_thread_is),
                                       cmocka_unit_test(processors_are_more), cmocka_unit_test(processors_serve_disks),
                                       cmocka_unit_test(files_are_closed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
