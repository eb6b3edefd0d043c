/* SPDX-License-Identifier: BSD-2-Clause */
/* See sandbox.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "instrumented.h"
#include "sandbox.h"

/* ---- Landlock ---- */

#define ALL ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* of its first version */
#define TRUNCATE (UINT64_C(1) << 14)                 /* since its third: else who may read a file may empty it */
#define SCOPE_ALL UINT64_C(3)                        /* since its sixth: abstract sockets, and signals */
#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE                                                                                                          \
    (READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |             \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | TRUNCATE)
#define OF_A_FILE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE)

/* As the newest kernels have it; an older one takes the first part. */
struct ruleset {
    uint64_t files, net, scoped;
};

/* A ruleset of what this kernel can refuse, that is. A descriptor or -errno. */
static int rules_open(struct ruleset *rules)
{
    int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION), fd;

    *rules = (struct ruleset){.files = version >= 3 ? ALL | TRUNCATE : ALL, .scoped = version >= 6 ? SCOPE_ALL : 0};
    fd = version < 0 ? -1 : (int)syscall(SYS_landlock_create_ruleset, rules, version >= 6 ? sizeof(*rules) : 8, 0);
    return fd < 0 ? -errno : fd;
}

static int rule_add(int rules, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = open(path, O_PATH | O_CLOEXEC)};
    struct stat st;
    int err = 0;

    if (rule.parent_fd < 0)
        return 0;
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= OF_A_FILE;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        err = -errno;
    close(rule.parent_fd);
    return err;
}

static int rules_add(int rules, const char *const *paths, uint64_t access)
{
    int err = 0;

    while (paths && *paths && err == 0)
        err = rule_add(rules, *paths++, access);
    return err;
}

int sandbox_files(const char *const *readable, const char *const *writable, const char *const *devices)
{
    static const char *const always[] = {
        "/usr", "/lib", "/lib64", "/dev/urandom", "/etc/resolv.conf", "/run/systemd/resolve", "/sys/devices/system/cpu",
        NULL};
    struct ruleset handled;
    int rules, err;

    if (INSTRUMENTED)
        return 0;
    rules = rules_open(&handled);
    if (rules < 0)
        return rules;
    err = rules_add(rules, always, READ);
    if (err == 0)
        err = rules_add(rules, readable, READ);
    if (err == 0)
        err = rules_add(rules, devices, OF_A_FILE & handled.files);
    if (err == 0)
        err = rules_add(rules, writable, WRITE & handled.files);
    if (err == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, rules, 0) < 0))
        err = -errno;
    close(rules);
    return err;
}

/* ---- seccomp ---- */

static const char *const calls[] = {
    [SANDBOX_CPU] =
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek fstat newfstatat statx fsync "
        "fdatasync sync_file_range fallocate ftruncate copy_file_range fadvise64 flock close dup futex "
        "epoll_wait epoll_pwait epoll_pwait2 epoll_ctl poll ppoll eventfd2 timerfd_settime timerfd_gettime "
        "io_uring_enter io_submit io_getevents io_pgetevents io_cancel mmap munmap mremap mprotect madvise brk "
        "rt_sigreturn rt_sigprocmask rt_sigaction rt_sigtimedwait sigaltstack getpid gettid getpgrp sched_yield "
        "sched_getaffinity clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday getrandom getrusage "
        "membarrier restart_syscall rseq set_robust_list exit exit_group",
    [SANDBOX_IO] = "io_uring_setup io_uring_register io_setup io_destroy sysinfo uname",
    [SANDBOX_NET] = "connect bind listen accept accept4 getsockopt setsockopt getsockname getpeername sendto recvfrom "
                    "sendmsg recvmsg shutdown",
    [SANDBOX_PROCESS] =
        "openat openat2 rename renameat renameat2 linkat unlink unlinkat mkdir access faccessat faccessat2 stat lstat "
        "readlink readlinkat getdents64 getcwd fchmodat statfs fstatfs geteuid memfd_create "
        "epoll_create1 timerfd_create signalfd4 seccomp landlock_create_ruleset landlock_add_rule "
        "landlock_restrict_self",
};

static int allow_calls(scmp_filter_ctx filter, const char *names)
{
    int err = 0;

    while (*names && err == 0) {
        char name[32] = "";
        size_t length = strcspn(names, " ");

        memcpy(name, names, length);
        names += length + (names[length] == ' ');
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(name), 0);
    }
    return err;
}

static int allow_first(scmp_filter_ctx filter, int call, uint64_t argument)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)argument, 0));
}

/* Not those by which a terminal is typed on, or a signal sent to somebody else. */
static int allow_commands(scmp_filter_ctx filter)
{
    static const struct command {
        int call;
        uint32_t mask, value;
    } commands[] = {
        {SCMP_SYS(ioctl), 0xff00, KVMIO << 8},
        {SCMP_SYS(ioctl), 0xff00, _IOC_TYPE(FICLONE) << 8},
        {SCMP_SYS(ioctl), 0xff00, _IOC_TYPE(BLKGETSIZE64) << 8},
        {SCMP_SYS(ioctl), 0xffc0, TUNSETIFF & 0xffc0},
        {SCMP_SYS(ioctl), UINT32_MAX, FS_IOC_FIEMAP},
        {SCMP_SYS(ioctl), UINT32_MAX, TCGETS},
        {SCMP_SYS(ioctl), UINT32_MAX, TCSETS},
        {SCMP_SYS(ioctl), UINT32_MAX, TCSETSW},
        {SCMP_SYS(ioctl), UINT32_MAX, TCSETSF},
        {SCMP_SYS(ioctl), UINT32_MAX, TIOCGWINSZ},
        {SCMP_SYS(ioctl), UINT32_MAX, FIONREAD},
        {SCMP_SYS(ioctl), UINT32_MAX, FIONBIO},
        {SCMP_SYS(fcntl), UINT32_MAX, F_DUPFD},
        {SCMP_SYS(fcntl), UINT32_MAX, F_DUPFD_CLOEXEC},
        {SCMP_SYS(fcntl), UINT32_MAX, F_GETFD},
        {SCMP_SYS(fcntl), UINT32_MAX, F_SETFD},
        {SCMP_SYS(fcntl), UINT32_MAX, F_GETFL},
        {SCMP_SYS(fcntl), UINT32_MAX, F_SETFL},
        {SCMP_SYS(fcntl), UINT32_MAX, F_OFD_GETLK},
        {SCMP_SYS(fcntl), UINT32_MAX, F_OFD_SETLK},
    };
    int err = 0;

    for (const struct command *c = commands; c < commands + sizeof(commands) / sizeof(*commands) && err == 0; c++)
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, c->call, 1, SCMP_A1(SCMP_CMP_MASKED_EQ, c->mask, c->value));
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

static int allow_reading(scmp_filter_ctx filter)
{
    const scmp_datum_t writing = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);

    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, writing, 0));
}

static int allow_network(scmp_filter_ctx filter)
{
    int err = allow_first(filter, SCMP_SYS(socket), AF_INET);

    return err == 0 ? allow_first(filter, SCMP_SYS(socket), AF_INET6) : err;
}

/* Its control sockets, and what a thread narrows itself by. */
static int allow_process(scmp_filter_ctx filter)
{
    int err = allow_first(filter, SCMP_SYS(socket), AF_UNIX);

    if (err == 0)
        err = allow_first(filter, SCMP_SYS(prctl), PR_SET_NO_NEW_PRIVS);
    return err == 0 ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) : err;
}

static int filter_load(enum sandbox_kind kind)
{
    scmp_filter_ctx filter;
    int err;

    if (INSTRUMENTED)
        return 0;
    filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return -ENOMEM;
    err = allow_first(filter, SCMP_SYS(tgkill), (uint64_t)getpid());
    if (err == 0)
        err = allow_first(filter, SCMP_SYS(prctl), PR_SET_NAME);
    for (unsigned i = 0; i <= kind && err == 0; i++)
        err = allow_calls(filter, calls[i]);
    if (err == 0)
        err = allow_commands(filter);
    if (err == 0)
        err = allow_threads(filter);
    if (err == 0 && kind >= SANDBOX_NET)
        err = allow_network(filter);
    if (err == 0 && kind == SANDBOX_NET)
        err = allow_reading(filter);
    if (err == 0 && kind >= SANDBOX_PROCESS)
        err = allow_process(filter);
    if (err == 0)
        err = seccomp_load(filter);
    seccomp_release(filter);
    return err;
}

int sandbox_process(void)
{
    return filter_load(SANDBOX_PROCESS);
}

int sandbox_thread(enum sandbox_kind kind)
{
    /* Of those that open nothing too: a ring that is open opens files, and its requests pass no filter. */
    int err = kind == SANDBOX_PROCESS ? 0 : sandbox_files(NULL, NULL, NULL);

    return err == 0 || err == -ENOSYS || err == -EOPNOTSUPP ? filter_load(kind) : err;
}
