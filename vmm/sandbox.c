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
            rule.allowed_access &= ~(uint64_t)(LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE);
            err = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
        }
        close(rule.parent_fd);
        if (err < 0)
            return err;
    }
    return 0;
}

int sandbox_files(const char *const *readable, const char *const *devices, const char *const *removable)
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
    if (err == 0)
        err = allow(rules, removable, LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_READ_DIR);
    if (err == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, rules, 0) < 0))
        err = -errno;
    close(rules);
    return err;
}

/* ---- seccomp ---- */

/* Of every thread: memory, time, waiting, and descriptors that are open. */
static const int common[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwritev),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev2),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(fallocate),
    SCMP_SYS(ftruncate),
    SCMP_SYS(copy_file_range),
    SCMP_SYS(fadvise64),
    SCMP_SYS(ioctl),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(futex),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(eventfd2),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_submit),
    SCMP_SYS(io_getevents),
    SCMP_SYS(io_pgetevents),
    SCMP_SYS(io_cancel),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getpgrp),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrusage),
    SCMP_SYS(membarrier),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* Of those that are not virtual processors: new rings, connections, and what ends a machine. */
static const int process[] = {
    SCMP_SYS(timerfd_create),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(signalfd4),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(io_setup),
    SCMP_SYS(io_destroy),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(shutdown),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static int allow_calls(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int err = 0;

    for (size_t i = 0; i < count && err == 0; i++)
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
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
    err = allow_calls(filter, common, COUNT(common));
    if (err == 0)
        err = allow_self(filter);
    if (err == 0 && all_threads)
        err = allow_calls(filter, process, COUNT(process));
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
