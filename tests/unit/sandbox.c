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
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED true
#else
#define INSTRUMENTED false
#endif

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

static void outside_refused(void)
{
    program_start();
    REFUSED(fork());
    REFUSED(open("/etc/passwd", O_RDWR));
    REFUSED(open("new", O_WRONLY | O_CREAT, 0600));
    REFUSED(kill(getppid(), 0));
    REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
    REFUSED(rename("a", "b"));
    REFUSED(truncate("a", 0));
}

static void *nothing(void *arg)
{
    return arg;
}

static void process_filtered(void)
{
    pthread_t thread;
    int fd;

    NEED(sandbox_process() == 0);
    outside_refused();
    NEED(pthread_create(&thread, NULL, nothing, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    NEED(fd >= 0 && close(fd) == 0);
    NEED(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static int line[2];

/* A thread that was there before the filter. */
static void *waits(void *arg)
{
    char byte;

    NEED(read(line[0], &byte, 1) == 1);
    outside_refused();
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

static void *processor(void *arg)
{
    NEED(sandbox_cpu() == 0);
    outside_refused();
    REFUSED(open("/usr/bin/true", O_RDONLY));
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    REFUSED(unlink("a"));
    NEED(write(line[1], "x", 1) == 1);
    return arg;
}

static void processors_filtered(void)
{
    pthread_t thread;
    int fd;

    NEED(pipe(line) == 0);
    NEED(sandbox_process() == 0);
    NEED(pthread_create(&thread, NULL, processor, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    fd = open("/etc/passwd", O_RDONLY); /* that thread's filter is not ours */
    NEED(fd >= 0);
}

static void files_closed(void)
{
    static const char *const readable[] = {"/proc/self/status", "/absent", NULL}, *const devices[] = {"/dev/null",
                                                                                                      NULL};
    const char *directory = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    char path[512];
    int err;

    snprintf(path, sizeof(path), "%s/kept", directory);
    NEED(close(open(path, O_WRONLY | O_CREAT, 0600)) == 0);
    err = sandbox_files(readable, devices);
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
    REFUSED(unlink(path));
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

static void files_are_closed(void **state)
{
    (void)state;
    in_a_process(files_closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(process_is_filtered), cmocka_unit_test(every_thread_is),
                                       cmocka_unit_test(processors_are_more), cmocka_unit_test(files_are_closed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
