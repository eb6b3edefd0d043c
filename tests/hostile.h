/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named corruptions. A kind is a valid image of the library's own making (a base), a few patches, and what must come of
 * it. Each runs in a process of its own with bounded memory and time; the file must come out of every reading as it
 * went in.
 */
#ifndef TESTS_HOSTILE_H
#define TESTS_HOSTILE_H

#include "tests/support.h"

enum hostile_expect {
    HOSTILE_END,
    REFUSE,   /* open fails with one message that names the file; so does check, or it finds a fault */
    ORPHAN,   /* open fails like that; check, which does not look at parents, may find nothing */
    WITHHELD, /* open fails like that, or the read of what is broken does; check finds a fault or cannot read */
    FAULTY,   /* check finds a fault or cannot read; a disk that opens may be read or not */
    MENDED,   /* opens for reading and holds what the base held; check finds a fault */
    FINE,     /* opens for reading and writing and holds what the base held; check finds nothing */
    READONLY, /* opens for reading and holds what the base held; not for writing; check may say what it likes */
    SURVIVE   /* anything but a crash, a hang or a change */
};

struct hostile_patch {
    int where; /* the format's; 0: none */
    uint64_t at;
    unsigned width; /* bytes, 1..8 */
    uint64_t value;
};

struct hostile_image {
    int fd;
    uint64_t size;
};

struct hostile_kind {
    const char *name;
    enum hostile_expect expect;
    unsigned base;
    struct hostile_patch patch[5];
    void (*custom)(struct hostile_image *image); /* after the patches */
};

struct hostile_suite {
    const char *format, *suffix;
    const struct hostile_kind *kinds;                                      /* ends with HOSTILE_END */
    unsigned bases;
    void (*make)(const char *dir, unsigned base, const char *path);        /* the base at path, by the library */
    void (*apply)(struct hostile_image *image, const struct hostile_patch *patch);
};

/* All kinds, or those whose name contains HOSTILE_ONLY. The exit status. */
int hostile_run(const struct hostile_suite *suite);

void image_open(struct hostile_image *image, const char *path);
void image_close(struct hostile_image *image);
void image_read(struct hostile_image *image, void *buffer, size_t length, uint64_t at);
void image_write(struct hostile_image *image, const void *buffer, size_t length, uint64_t at);
void image_resize(struct hostile_image *image, uint64_t size);
uint64_t image_get(struct hostile_image *image, uint64_t at, unsigned width, bool big_endian);
void image_put(struct hostile_image *image, uint64_t at, unsigned width, uint64_t value, bool big_endian);

/* A disk at path with something in it: sectors written here and there up to size. */
void hostile_make(const char *path, const struct vdisk_create_options *options);

#endif
