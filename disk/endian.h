/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * On-disk integers. Each is a type of its own, without alignment, that cannot be read or written without saying
 * its byte order: a field that was not swapped does not compile.
 */
#ifndef DISK_ENDIAN_H
#define DISK_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define DISK_INTEGER(order, bits)                                                                                     \
    struct order##bits {                                                                                               \
        uint8_t byte[bits / 8];                                                                                        \
    };                                                                                                                 \
    static inline uint##bits##_t order##bits##_get(struct order##bits disk)                                            \
    {                                                                                                                  \
        uint##bits##_t raw;                                                                                            \
        memcpy(&raw, disk.byte, sizeof(raw));                                                                          \
        return order##bits##toh(raw);                                                                                  \
    }                                                                                                                  \
    static inline struct order##bits order##bits##_of(uint##bits##_t value)                                            \
    {                                                                                                                  \
        struct order##bits disk;                                                                                       \
        uint##bits##_t raw = hto##order##bits(value);                                                                  \
        memcpy(disk.byte, &raw, sizeof(raw));                                                                          \
        return disk;                                                                                                   \
    }

DISK_INTEGER(le, 16)
DISK_INTEGER(le, 32)
DISK_INTEGER(le, 64)
DISK_INTEGER(be, 16)
DISK_INTEGER(be, 32)
DISK_INTEGER(be, 64)

#undef DISK_INTEGER

#endif
