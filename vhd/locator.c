/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a child says that its parent is: parent locators ("Parent Locator Entries") and the name in the header. Texts
 * are UTF-16 of either order, a file URL, or the code page of an old Windows; here they become UTF-8 with '/'.
 */
#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uuid/uuid.h>

#include "vhd.h"

/* How the text behind a platform code is written. */
static const struct kind {
    char code[5];
    const char *encoding;
} kinds[] = {
    {"W2ru", "UTF-16LE"}, {"W2ku", "UTF-16LE"}, {"MacX", "UTF-8"}, {"Wi2r", "CP1252"}, {"Wi2k", "CP1252"},
};

/* length bytes of text in another encoding, ending at their first NUL if there is one; NULL: not text. malloced. */
static char *convert(const char *from, const char *to, const void *text, size_t length, size_t *bytes)
{
    size_t room = length * 3 + 4, left = room;
    char *whole = calloc(1, room + 2), *out = whole, *in = (char *)text;
    iconv_t cd = iconv_open(to, from);
    bool good = whole && cd != (iconv_t)-1 && iconv(cd, &in, &length, &out, &left) != (size_t)-1;

    if (cd != (iconv_t)-1)
        iconv_close(cd);
    if (!good) {
        free(whole);
        return NULL;
    }
    *bytes = room - left;
    return whole;
}

char *vhd_utf16_of(const char *text, const char *order, size_t *bytes)
{
    return convert("UTF-8", order, text, strlen(text), bytes);
}

/* Sectors by the specification, bytes as Windows writes them: whichever holds the text. */
void vhd_locator_range(const struct vhd_locator *locator, uint64_t *start, uint64_t *end)
{
    uint64_t space = be32_get(locator->space), length = be32_get(locator->length);

    *start = *end = be64_get(locator->offset);
    if (memcmp(locator->code, "\0\0\0\0", 4) == 0 || *start > INT64_MAX)
        return;
    if (space < length)
        space *= VHD_SECTOR;
    if (space < length)
        space = length;
    *end = *start + vhd_align(space, VHD_SECTOR);
}

/* *text: UTF-8 as it is stored; NULL: there is no locator here, or of a kind that is not known. */
int vhd_locator_read(struct file *file, const struct vhd_locator *locator, char **text)
{
    uint32_t length = be32_get(locator->length);
    const struct kind *kind = NULL;
    size_t bytes;
    char *raw;
    int err;

    *text = NULL;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (memcmp(kinds[i].code, locator->code, 4) == 0)
            kind = &kinds[i];
    if (!kind)
        return 0;
    if (length == 0 || length > VHD_LOCATOR_MAX)
        return -EINVAL;
    raw = malloc(length);
    if (!raw)
        return -ENOMEM;
    err = be64_get(locator->offset) > INT64_MAX ? -ENODATA : file_read(file, raw, length, be64_get(locator->offset));
    if (!err)
        *text = convert(kind->encoding, "UTF-8", raw, length, &bytes);
    free(raw);
    return err ? err : *text ? 0 : -EILSEQ;
}

/* The header's own name of the parent, as it is stored; NULL: none. */
char *vhd_parent_name(const struct vhd_header *header)
{
    size_t length = 0, bytes;

    while (length < sizeof(header->parent_name) && (header->parent_name[length] || header->parent_name[length + 1]))
        length += 2;
    return length ? convert("UTF-16BE", "UTF-8", header->parent_name, length, &bytes) : NULL;
}

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* "file://localhost/a%20b" -> "/a b", in place. */
static void decode_url(char *text)
{
    char *in = text, *out = text;

    if (strncmp(in, "file://", 7) == 0)
        in += 7;
    if (strncmp(in, "localhost/", 10) == 0)
        in += 9;
    while (*in) {
        int high = in[0] == '%' ? hex(in[1]) : -1, low = high >= 0 ? hex(in[2]) : -1;

        if (low >= 0 && (high || low)) {
            *out++ = (char)(high << 4 | low);
            in += 3;
        } else {
            *out++ = *in++;
        }
    }
    *out = '\0';
}

/* Behind so many parts and their '/'. */
static char *skip_parts(char *text, int parts)
{
    for (; parts > 0; parts--) {
        char *slash = strchr(text, '/');

        if (!slash)
            return text;
        text = slash + 1;
    }
    return text;
}

/* A path of Windows, in place: '/' between the parts; no drive, volume or server. */
static char *strip_windows(char *text)
{
    for (char *c = text; *c; c++)
        if (*c == '\\')
            *c = '/';
    if (strncmp(text, "//?/", 4) == 0 || strncmp(text, "//./", 4) == 0) {
        text += 4;
        if (strncmp(text, "Volume{", 7) == 0)
            text = skip_parts(text, 1);
        else if (strncmp(text, "UNC/", 4) == 0)
            text = skip_parts(text, 3);
    } else if (strncmp(text, "//", 2) == 0) {
        text = skip_parts(text + 2, 2);
    }
    if (((text[0] | 0x20) >= 'a' && (text[0] | 0x20) <= 'z') && text[1] == ':')
        text += 2;
    return text;
}

/* Takes text. A name that is there already is not added again. */
static int add_name(char *names[DISK_PARENT_NAMES], char *text, bool url)
{
    char *name = text;
    int i = 0;

    if (!text)
        return 0;
    if (url)
        decode_url(text);
    else
        name = strip_windows(text);
    while (*name == '/')
        name++;
    while (i < DISK_PARENT_NAMES && names[i] && strcmp(names[i], name) != 0)
        i++;
    if (*name && i < DISK_PARENT_NAMES && !names[i]) {
        names[i] = strdup(name);
        if (!names[i]) {
            free(text);
            return -ENOMEM;
        }
    }
    free(text);
    return 0;
}

/* The relative path first: it is right where both files were moved together. */
int vhd_parent_names(struct vdisk *disk, char *names[DISK_PARENT_NAMES])
{
    struct vhd *v = vhd_of(disk);
    int err = 0;

    memset(names, 0, DISK_PARENT_NAMES * sizeof(names[0]));
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]) && !err; kind++)
        for (int i = 0; i < VHD_LOCATORS && !err; i++) {
            const struct vhd_locator *locator = &v->header.locator[i];
            char *text;

            if (memcmp(locator->code, kinds[kind].code, 4) != 0)
                continue;
            err = vhd_locator_read(disk->file, locator, &text);
            if (err && err != -ENOMEM) {
                file_say(disk->file, VDISK_WARNING, "vhd", "parent locator %d (%s) at 0x%llx: is not text: ignored", i,
                         kinds[kind].code, (unsigned long long)be64_get(locator->offset));
                err = 0;
            } else if (!err) {
                err = add_name(names, text, memcmp(locator->code, "MacX", 4) == 0);
            }
        }
    if (!err)
        err = add_name(names, vhd_parent_name(&v->header), false);
    for (int i = 0; i < DISK_PARENT_NAMES && err; i++) {
        free(names[i]);
        names[i] = NULL;
    }
    return err;
}

int vhd_parent_paths(struct vdisk *disk, char *paths[DISK_PARENT_NAMES])
{
    struct vhd *v = vhd_of(disk);
    int count = 0;

    memset(paths, 0, DISK_PARENT_NAMES * sizeof(paths[0]));
    for (int i = 0; i < VHD_LOCATORS && count < DISK_PARENT_NAMES; i++) {
        int err = vhd_locator_read(disk->file, &v->header.locator[i], &paths[count]);

        if (err == -ENOMEM)
            return err;
        count += !err && paths[count]; /* what is not text is said by vhd_parent_names */
    }
    return 0;
}

/* By the identity alone. The time that a child may have recorded is that of the parent's file, which every copy
 * changes: a difference is worth a note. Windows records none. */
bool vhd_parent_matches(struct vdisk *disk, struct vdisk *parent, char expected[64], char found[64])
{
    const struct vhd *v = vhd_of(disk), *p = vhd_of(parent);
    uint32_t recorded = be32_get(v->header.parent_timestamp);
    struct stat st;

    uuid_unparse_lower(v->header.parent_id, expected);
    if (parent->format != &vhd_format) {
        strcpy(found, "not a VHD");
        return false;
    }
    uuid_unparse_lower(p->footer.id, found);
    if (uuid_is_null(v->header.parent_id) || memcmp(v->header.parent_id, p->footer.id, 16) != 0)
        return false;
    if (recorded && recorded != be32_get(p->footer.timestamp) && parent->file->fd >= 0 &&
        fstat(parent->file->fd, &st) == 0 && st.st_mtime != (time_t)recorded + VHD_EPOCH)
        file_say(disk->file, VDISK_NOTE, "vhd", "its parent %s has another modification time than was recorded",
                 parent->file->path);
    return true;
}
