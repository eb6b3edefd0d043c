/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest can still do that breaks out of its machine, or into a process that it sends to.
 *
 * The process, before it makes its threads: sandbox_files (Landlock) says which files it may open from then on,
 * sandbox_process (seccomp) that it starts no program, makes no process and signals nobody else. Those that work on
 * disks for a control socket need the rest. A thread that a guest can reach narrows itself before it does: one hurdle
 * more, for threads share their memory, and what the process may do is the border. A disk's worker inherits what the thread may
 * that called for it: those that a control socket's thread starts keep what that has, and serve the guest too. The library, which
 * starts them, does not know of sandboxes. What is forbidden fails with EPERM or EACCES, so that data in flight still reach
 * their disks.
 *
 * 0 or -errno. Under sanitizers, which need more, nothing is done.
 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

/* Each may do what those before it may. */
enum sandbox_kind {
    SANDBOX_CPU,    /* compute, wait, use what is open, and start threads that may do no more, as a disk's workers */
    SANDBOX_IO,     /* and make rings */
    SANDBOX_NET,    /* and connect, and read what libraries and the resolver need; the main thread too */
    SANDBOX_PROCESS /* and work on the files that it was given */
};

/* Files, and directories with all beneath them; absent ones allowed; NULL-terminated, NULL: none. devices: writable,
 * too. -ENOSYS, -EOPNOTSUPP: this kernel has no Landlock. */
int sandbox_files(const char *const *readable, const char *const *writable, const char *const *devices);
int sandbox_process(void);
int sandbox_thread(enum sandbox_kind kind); /* the calling one */

#endif
