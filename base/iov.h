/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of memory. */
#ifndef BASE_IOV_H
#define BASE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* Copies at most length bytes from or to the list, beginning offset bytes into it; returns how many. */
size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *buffer, size_t length);
size_t iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *buffer, size_t length);

/* Makes the list [offset, offset + length) of itself; returns its new count. The range is inside it. */
unsigned iov_cut(struct iovec *iov, unsigned count, size_t offset, size_t length);

#endif
