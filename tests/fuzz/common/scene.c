/* SPDX-License-Identifier: BSD-2-Clause */
/* See scene.h. */
#include "tests/fuzz/common/scene.h"

#define GROWTH_MAX (UINT64_C(1) << 44)

struct scene fuzz_scene[SCENES];
unsigned fuzz_scene_count;

struct scene *scene_add(const char *format)
{
    struct scene *scene;

    test_true(fuzz_scene_count < SCENES);
    scene = &fuzz_scene[fuzz_scene_count++];
    scene->format = format;
    return scene;
}

void scene_window(struct scene *scene, unsigned file, uint64_t at, uint32_t length)
{
    test_true(scene->windows < SCENE_WINDOWS && file < SCENE_FILES && length > 0);
    scene->window[scene->windows++] = (struct scene_window){file, at, length};
    scene->bytes += length;
}

size_t scene_size(const struct scene *scene)
{
    return sizeof(struct scene_head) + scene->bytes;
}

static uint64_t place_of(const struct scene_window *window, const struct medium *image)
{
    uint64_t back = window->at & ~SCENE_END;

    if (!(window->at & SCENE_END))
        return window->at;
    return medium_size(image) > back ? medium_size(image) - back : 0;
}

size_t scene_seed(unsigned index, uint8_t *input, size_t room)
{
    const struct scene *scene = &fuzz_scene[index];
    size_t at = sizeof(struct scene_head);

    test_true(room >= scene_size(scene));
    memset(input, 0, at);
    input[0] = (uint8_t)index;
    for (unsigned i = 0; i < scene->windows; i++) {
        const struct scene_window *w = &scene->window[i];
        const struct medium *base = scene->base[w->file];

        medium_read(base, input + at, w->length, place_of(w, base));
        at += w->length;
    }
    return at;
}

/* The first file gets longer or shorter, within reason. */
static void cut(struct medium *image, const uint8_t bytes[8])
{
    uint64_t by = 0, size = medium_size(image);

    for (int i = 7; i >= 0; i--)
        by = by << 8 | bytes[i];
    if ((int64_t)by < 0)
        size = -by < size ? size + by : 0;
    else
        size += by < GROWTH_MAX ? by : GROWTH_MAX;
    test_ok(medium_resize(image, size));
}

const struct scene *scene_lay(const uint8_t *input, size_t size, struct medium *image[SCENE_FILES])
{
    const struct scene *scene;
    struct scene_head head;
    size_t at = sizeof(head);

    if (size < sizeof(head) || input[0] >= fuzz_scene_count)
        return NULL;
    memcpy(&head, input, sizeof(head));
    scene = &fuzz_scene[head.scene];
    for (unsigned i = 0; i < scene->files; i++) {
        image[i] = medium_over(scene->base[i]);
        medium_name(i, scene->name[i], image[i]);
    }
    cut(image[0], head.cut);
    for (unsigned i = 0; i < scene->windows && at < size; i++) {
        const struct scene_window *w = &scene->window[i];
        size_t length = w->length < size - at ? w->length : size - at;
        uint64_t place = place_of(w, image[w->file]), end = medium_size(image[w->file]);

        if (place < end) /* what was cut off stays off */
            medium_write(image[w->file], input + at, length < end - place ? length : (size_t)(end - place), place);
        at += length;
    }
    for (unsigned i = 0; i < scene->files; i++)
        mend_image(image[i], scene->format, head.flags);
    return scene;
}

void scene_clear(const struct scene *scene, struct medium *image[SCENE_FILES])
{
    for (unsigned i = 0; i < scene->files; i++) {
        medium_name(i, NULL, NULL);
        medium_free(image[i]);
    }
}
