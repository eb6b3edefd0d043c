/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes that go nowhere: a differencing child in $TMPDIR that has no name, so that nothing is left of it however this
 * process ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export.h"

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

int overlay_open(const char *image, const struct vdisk_open_options *options, struct vdisk **disk)
{
    const char *temporary = getenv("TMPDIR");
    char format[8], *path;
    struct vdisk_create_options create = {
        .flags = VDISK_CREATE_UNNAMED,
        .format = format,
        .parent = image,
        .parent_format = format,
        .parent_options = options,
        .log = options->log,
    };
    int err = image_format(image, options, format);

    if (err < 0)
        return err;
    if (asprintf(&path, "%s/vdisk-overlay.%s", temporary && *temporary ? temporary : "/tmp", format) < 0)
        return -ENOMEM;
    err = vdisk_create(path, &create, disk);
    free(path);
    return err;
}
