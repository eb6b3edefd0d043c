/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a fuzzer's input means. A scene is one to three images that the library made, and windows: the places in them
 * that matter. An input is a head, which names the scene, and the bytes of all its windows, one after the other; laid
 * into the images, with the checksums mended, they are what is tried.
 *
 * So an input is some hundred bytes though an image has megabytes, every field stands at a fixed place of it, and the
 * mutator keeps it so.
 */
#ifndef FUZZ_SCENE_H
#define FUZZ_SCENE_H

#include "tests/fuzz/common/medium.h"
#include "tests/support.h"

#define SCENES 8
#define SCENE_FILES 3
#define SCENE_WINDOWS 32
#define SCENE_END (UINT64_C(1) << 63) /* in a window's place: so many bytes before the file's end */

struct scene_window {
    unsigned file;
    uint64_t at;
    uint32_t length;
};

struct scene {
    const char *format;
    unsigned files, windows;
    const char *name[SCENE_FILES]; /* the first is the one that is opened */
    struct medium *base[SCENE_FILES];
    struct scene_window window[SCENE_WINDOWS];
    size_t bytes; /* of all windows */
};

/* The head of an input. */
struct scene_head {
    uint8_t scene, flags;
    uint8_t work[2]; /* what the guest does */
    uint8_t cut[8];  /* little-endian: added to the first file's size before the windows are laid */
    uint8_t spare[4];
};
_Static_assert(sizeof(struct scene_head) == 16, "a head");

#define SCENE_RAW 0x1u   /* checksums stay as they are */
#define SCENE_APART 0x2u /* what the format has twice is not made the same */

/* The target's own scenes, filled by its fuzz_scenes before anything else is called. */
extern struct scene fuzz_scene[SCENES];
extern unsigned fuzz_scene_count;

struct scene *scene_add(const char *format);
void scene_window(struct scene *scene, unsigned file, uint64_t at, uint32_t length);

/* The input that changes nothing. Returns its size; room is at least scene_size. */
size_t scene_size(const struct scene *scene);
size_t scene_seed(unsigned index, uint8_t *input, size_t room);

/* Lays an input: the images stand under their names until scene_clear. NULL: it is no input. */
const struct scene *scene_lay(const uint8_t *input, size_t size, struct medium *image[SCENE_FILES]);
void scene_clear(const struct scene *scene, struct medium *image[SCENE_FILES]);

/* mend.c: right checksums, and the copies of what stands twice. */
void mend_image(struct medium *image, const char *format, unsigned flags);

#endif
