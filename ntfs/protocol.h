/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk-ntfs and who runs it: two processes of one machine and one build, on a stream socket that is the program's
 * standard input. The program asks for bytes, tells what is free, and ends with why it told nothing more.
 *
 *     NTFS_READ   offset, length: the answer is these bytes of the volume
 *     NTFS_FREE   offset, length: ascending; the volume does not use them. No answer
 *     NTFS_END    reason
 *
 * Only after an end with NTFS_TOLD does what was told hold.
 */
#ifndef NTFS_PROTOCOL_H
#define NTFS_PROTOCOL_H

#include <stdint.h>

#define NTFS_READ_MAX 65536u /* bytes in one read; its offset and length are multiples of 512, and in the volume */

enum ntfs_kind { NTFS_READ, NTFS_FREE, NTFS_END };

enum ntfs_reason {
    NTFS_TOLD,
    NTFS_UNREADABLE,
    NTFS_UNCONFINED,
    NTFS_DIRTY,
    NTFS_HIBERNATED,
    NTFS_LOG,
    NTFS_SHADOWS,
    NTFS_LENGTH,
    NTFS_BACKUP,
    NTFS_BITMAP,
    NTFS_SYSTEM,
    NTFS_REASONS
};

struct ntfs_message {
    uint32_t kind, reason;
    uint64_t offset, length; /* bytes of the volume */
};

#endif
