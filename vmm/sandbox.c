/* SPDX-License-Identifier: BSD-2-Clause */
/* See sandbox.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED 1
#endif
#endif
#ifndef INSTRUMENTED
#define INSTRUMENTED 0
#endif

/* ---- Landlock ---- */

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ALL ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* of its first version */

static int allow(int rules, const char *const *paths, uint64_t access)
{
    for (; *paths; paths++) {
        struct landlock_path_beneath_attr rule = {.allowed_access = access};
        int err = 0;

        rule.parent_fd = open(*paths, O_PATH | O_CLOEXEC);
        if (rule.parent_fd < 0)
            continue;
        if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
            err = -errno;
        if (err == -EINVAL) { /* a file has no directory's rights */
            rule.allowed_access &= ~(uint64_t)LANDLOCK_ACCESS_FS_READ_DIR;
            err = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
        }
        close(rule.parent_fd);
        if (err < 0)
            return err;
    }
    return 0;
}

int sandbox_files(const char *const *readable, const char *const *devices)
{
    static const char *const always[] = {
        "/usr", "/lib", "/lib64", "/dev/urandom", "/etc/resolv.conf", "/run/systemd/resolve", "/sys/devices/system/cpu",
        NULL};
    struct landlock_ruleset_attr attributes = {.handled_access_fs = ALL};
    int rules, err;

    if (INSTRUMENTED)
        return 0;
    rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
    if (rules < 0)
        return -errno;
    err = allow(rules, always, READ);
    if (err == 0)
        err = allow(rules, readable, READ);
    if (err == 0)
        err = allow(rules, devices, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
    if (err == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, rules, 0) < 0))
        err = -errno;
    close(rules);
    return err;
}

/* ---- seccomp ---- */

/* Of every thread: memory, time, waiting, and descriptors that are open. */
static const char common[] =
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek fstat newfstatat statx fsync "
    "fdatasync sync_file_range fallocate ftruncate copy_file_range fadvise64 ioctl fcntl flock close dup futex "
    "epoll_wait epoll_pwait epoll_pwait2 epoll_ctl poll ppoll eventfd2 timerfd_settime timerfd_gettime "
    "io_uring_enter io_submit io_getevents io_pgetevents io_cancel mmap munmap mremap mprotect madvise brk "
    "rt_sigreturn rt_sigprocmask rt_sigaction rt_sigtimedwait sigaltstack getpid gettid getpgrp sched_yield "
    "sched_getaffinity clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday getrandom getrusage "
    "membarrier restart_syscall rseq set_robust_list exit exit_group";

/* Of those that are not virtual processors: new rings, connections, and what ends a machine. */
static const char process[] =
    "timerfd_create epoll_create1 signalfd4 io_uring_setup io_uring_register io_setup io_destroy "
    "connect bind listen accept accept4 getsockopt setsockopt getsockname getpeername sendto recvfrom sendmsg "
    "recvmsg shutdown sysinfo uname";

static int allow_calls(scmp_filter_ctx filter, const char *calls)
{
    int err = 0;

    while (*calls && err == 0) {
        char name[32] = "";
        size_t length = strcspn(calls, " ");

        memcpy(name, calls, length);
        calls += length + (calls[length] == ' ');
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(name), 0);
    }
    return err;
}

/* Signals to ourselves, and a thread's name. */
static int allow_self(scmp_filter_ctx filter)
{
    int err =
        seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));

    if (err == 0)
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0));
    return err;
}

/* The C library falls back to clone, whose flags a filter can see. */
static int allow_threads(scmp_filter_ctx filter)
{
    int err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

    if (err == 0)
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    return err;
}

static int allow_outside(scmp_filter_ctx filter)
{
    const scmp_datum_t writing = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
    int err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, writing, 0));

    for (int family = AF_INET; family && err == 0; family = family == AF_INET ? AF_INET6 : 0)
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family, 0));
    /* a later sandbox_cpu, and prctl for it */
    if (err == 0)
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(seccomp), 0);
    if (err == 0)
        err =
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NO_NEW_PRIVS, 0));
    return err;
}

static int filter_load(bool all_threads)
{
    scmp_filter_ctx filter;
    int err;

    if (INSTRUMENTED)
        return 0;
    filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return -ENOMEM;
    err = allow_calls(filter, common);
    if (err == 0)
        err = allow_self(filter);
    if (err == 0 && all_threads)
        err = allow_calls(filter, process);
    if (err == 0 && all_threads)
        err = allow_threads(filter);
    if (err == 0 && all_threads)
        err = allow_outside(filter);
    if (err == 0 && all_threads)
        err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (err == 0)
        err = seccomp_load(filter);
    seccomp_release(filter);
    return err;
}

int sandbox_process(void)
{
    return filter_load(true);
}

int sandbox_cpu(void)
{
    return filter_load(false);
}
