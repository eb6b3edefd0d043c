/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes that go nowhere: a differencing child in $TMPDIR. Its name is removed as soon as it is open, so that nothing is
 * left of it however this process ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export.h"

/* The image's format is the child's. */
static int child_create(const char *image, const struct vdisk_open_options *options, const char *path,
                        const char *format)
{
    struct vdisk_create_options create = {
        .format = format,
        .parent = image,
        .parent_format = format,
        .parent_options = options,
        .log = options->log,
    };
    struct vdisk *child;
    int err = vdisk_create(path, &create, &child);

    return err < 0 ? err : vdisk_commit(child);
}

/* "vhd" or "vhdx": a raw file has no identity that a child could record. */
static int image_format(const char *image, const struct vdisk_open_options *options, char format[8])
{
    struct vdisk *disk;
    int err = vdisk_open(image, options, &disk);

    if (err < 0)
        return err;
    snprintf(format, 8, "%s", vdisk_format(disk));
    vdisk_close(disk);
    if (strcmp(format, "raw") != 0)
        return 0;
    message_say(VDISK_ERROR, "%s: a raw image has no children: an overlay needs a VHD or VHDX", image);
    return -EINVAL;
}

/* The image is the child's parent; what may be a parent further down follows it. */
static int child_open(const char *image, const struct vdisk_open_options *options, const char *path,
                      struct vdisk **disk)
{
    struct vdisk_open_options how = *options;
    size_t count = 0;
    const char **parents;
    int err;

    while (options->parents && options->parents[count])
        count++;
    parents = calloc(count + 2, sizeof(*parents));
    if (!parents)
        return -ENOMEM;
    parents[0] = image;
    if (count > 0)
        memcpy(parents + 1, options->parents, count * sizeof(*parents));
    how.parents = parents;
    how.format = NULL;
    how.flags |= VDISK_OPEN_WRITE;
    err = vdisk_open(path, &how, disk);
    free(parents);
    return err;
}

int overlay_open(const char *image, const struct vdisk_open_options *options, struct vdisk **disk)
{
    const char *temporary = getenv("TMPDIR");
    char format[8], *directory, *path = NULL;
    int err = image_format(image, options, format);

    if (err < 0)
        return err;
    if (asprintf(&directory, "%s/vdisk-overlay.XXXXXX", temporary && *temporary ? temporary : "/tmp") < 0)
        return -ENOMEM;
    if (!mkdtemp(directory)) {
        err = -errno;
        message_say(VDISK_ERROR, "%s: cannot make it: %s", directory, strerror(errno));
        goto free_name;
    }
    if (asprintf(&path, "%s/overlay.%s", directory, format) < 0) {
        path = NULL;
        err = -ENOMEM;
        goto remove_directory;
    }
    err = child_create(image, options, path, format);
    if (err == 0)
        err = child_open(image, options, path, disk);
    unlink(path);
    free(path);
remove_directory:
    rmdir(directory);
free_name:
    free(directory);
    return err;
}
