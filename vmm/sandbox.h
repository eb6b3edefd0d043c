/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest that breaks out of its machine can still do: what the process has open, and little else.
 *
 * sandbox_files (Landlock) is called before the machine has threads: those made from then on open for reading only what
 * libraries and the resolver need. sandbox_process (seccomp) is called once everything is open: no thread starts a
 * program, makes a process, signals others, or opens a file for writing. sandbox_cpu narrows it for the calling thread:
 * no file, no socket, no thread. What is forbidden fails with EPERM, so that data in flight still reach their disks.
 *
 * 0 or -errno. -ENOSYS, -EOPNOTSUPP: this kernel has no Landlock. Under sanitizers, which need more, nothing is done.
 */
#ifndef VMM_SANDBOX_H
#define VMM_SANDBOX_H

/* readable: files and directories to read, absent ones allowed; devices: files to read and write. NULL-terminated. */
int sandbox_files(const char *const *readable, const char *const *devices);
int sandbox_process(void);
int sandbox_cpu(void);

#endif
