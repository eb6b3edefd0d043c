/* SPDX-License-Identifier: BSD-2-Clause */
#include "iov.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static size_t transfer(const struct iovec *iov, unsigned count, size_t offset, uint8_t *buffer, size_t length, bool out)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < length; i++) {
        size_t part;

        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        part = iov[i].iov_len - offset < length - done ? iov[i].iov_len - offset : length - done;
        if (out)
            memcpy((uint8_t *)iov[i].iov_base + offset, buffer + done, part);
        else
            memcpy(buffer + done, (uint8_t *)iov[i].iov_base + offset, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *buffer, size_t length)
{
    return transfer(iov, count, offset, buffer, length, false);
}

size_t iov_write(const struct iovec *iov, unsigned count, size_t offset, const void *buffer, size_t length)
{
    return transfer(iov, count, offset, (uint8_t *)buffer, length, true);
}

unsigned iov_cut(struct iovec *iov, unsigned count, size_t offset, size_t length)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < count && length > 0; i++) {
        size_t part;

        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        part = iov[i].iov_len - offset < length ? iov[i].iov_len - offset : length;
        iov[kept++] = (struct iovec){(uint8_t *)iov[i].iov_base + offset, part};
        length -= part;
        offset = 0;
    }
    return kept;
}
