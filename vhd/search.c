/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The footer of a fixed disk in a file that is longer than it should be: a power cut while the disk grew may leave the
 * new length without the new footer. What is behind the old one is zeros then, but for the last sector, which may hold
 * anything. So the last sector before it that holds something is a footer, and one that stands exactly where its disk
 * ends: not one that a guest has in a file of its own, which stands further behind.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vhd.h"

#define WINDOW 65536u /* no file system's blocks are larger */
/* Zeros that are read through where there is no hole behind the footer, and where the storage knows no holes. */
#define READ_TOLD (UINT64_C(1) << 20)
#define READ_UNTOLD (UINT64_C(1) << 30)

/* The end of the last data before end, to 4 KiB; where the storage cannot tell, end. */
static uint64_t data_end(struct file *file, uint64_t end)
{
    uint64_t low = 0, high = end / VHD_ALIGN + 1, data;

    if (file_seek_data(file, 0, &data, NULL) || data >= end)
        return data >= end ? 0 : end;
    while (high - low > 1) { /* there is data before end from low on, and none from high on */
        uint64_t middle = low + (high - low) / 2;

        if (file_seek_data(file, middle * VHD_ALIGN, &data, NULL))
            return end;
        if (data < end)
            low = middle;
        else
            high = middle;
    }
    return high * VHD_ALIGN < end ? high * VHD_ALIGN : end;
}

/* Zeros were written, not left out, on storage without holes, and on file systems that know none and do not say so:
 * there it is read farther in a file that is called a VHD. */
static uint64_t read_max(const struct file *file)
{
    size_t length = file->path ? strlen(file->path) : 0;
    uint64_t data;
    bool told = file->ops->seek_data((struct file *)file, 0, &data, NULL) != -EOPNOTSUPP;

    return told && (length < 4 || strcasecmp(file->path + length - 4, ".vhd") != 0) ? READ_TOLD : READ_UNTOLD;
}

static bool is_zero(const uint8_t *sector)
{
    return sector[0] == 0 && memcmp(sector, sector + 1, VHD_SECTOR - 1) == 0;
}

/* Looks at [start, end): 0, nothing but zeros; 1, *at and footer are the last sector that holds something. */
static int look(struct file *file, uint8_t *window, uint64_t start, uint64_t end, struct vhd_footer *footer,
                uint64_t *at)
{
    int err = file_read(file, window, end - start, start);

    for (uint64_t position = end; position > start && !err;) {
        position -= VHD_SECTOR;
        if (!is_zero(window + (position - start))) {
            memcpy(footer, window + (position - start), sizeof(*footer));
            *at = position;
            return 1;
        }
    }
    return err;
}

/* The last page is looked at first, and once. What is read is in the page cache from then on, and cached zeros count as
 * data: a hole is looked for before its bytes are. */
static int find(struct file *file, uint8_t *window, struct vhd_footer *footer, uint64_t *at)
{
    uint64_t end = file->size / VHD_SECTOR * VHD_SECTOR - VHD_SECTOR, start = end / VHD_ALIGN * VHD_ALIGN,
             left = read_max(file);
    int found = 0;

    if (start < end)
        found = look(file, window, start, end, footer, at);
    end = !found ? data_end(file, start) : 0;
    while (!found && end >= 2 * VHD_SECTOR && left > 0) {
        start = end > WINDOW ? end - WINDOW : 0;
        found = look(file, window, start, end, footer, at);
        left -= left < WINDOW ? left : WINDOW;
        end = start;
    }
    if (found <= 0)
        return found;
    return vhd_footer_valid(footer) && be32_get(footer->type) == VHD_FIXED && be64_get(footer->current_size) == *at;
}

int vhd_footer_search(struct file *file, struct vhd_footer *footer, uint64_t *at)
{
    uint8_t *window = file->size >= 3 * VHD_SECTOR ? malloc(WINDOW) : NULL;
    int found = file->size < 3 * VHD_SECTOR ? 0 : window ? find(file, window, footer, at) : -ENOMEM;

    free(window);
    return found;
}
