/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parent locator: who a child's parent is, and where it was. [MS-VHDX] 2.6.2.6
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vhdx.h"

const struct vhdx_guid vhdx_locator_type =
    VHDX_GUID(0xB04AEFB7u, 0xD19Eu, 0x4A81u, 0xB7, 0x89, 0x25, 0xB8, 0xE9, 0x44, 0x59, 0x13);

static const char *const keys[] = {"parent_linkage", "parent_linkage2", "relative_path", "volume_path",
                                   "absolute_win32_path"};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static char **value_of(struct vhdx_locator *locator, size_t key)
{
    char **const values[KEYS] = {&locator->linkage, &locator->linkage2, &locator->relative, &locator->volume,
                                 &locator->absolute};

    return values[key];
}

/* ---- Reading ---- */

struct item {
    struct vhdx_report *report;
    uint64_t position;
    uint32_t length;
    const uint8_t *bytes;
};

static int take_text(const struct item *item, uint32_t offset, uint32_t length, const char *what, char **text)
{
    int err;

    if (offset == 0 || length == 0 || offset > item->length || length > item->length - offset)
        return vhdx_fault(item->report, "locator-range", item->position,
                          "parent locator at 0x%" PRIx64
                          ": a %s at offset %u of %u bytes, expected inside its %u bytes",
                          item->position, what, offset, length, item->length);
    err = vhdx_text_read(item->bytes + offset, length, text);
    if (err == -EILSEQ)
        return vhdx_fault(item->report, "locator-text", item->position,
                          "parent locator at 0x%" PRIx64 ": the %s at offset %u is not UTF-16 text", item->position,
                          what, offset);
    return err;
}

/* Keys that are not known are none of our business. */
static int take_entry(const struct item *item, const struct vhdx_locator_entry *e, struct vhdx_locator *locator)
{
    char *name;
    int err = take_text(item, le32_get(e->key_offset), le16_get(e->key_length), "key", &name);
    size_t key = 0;

    if (err)
        return err;
    while (key < KEYS && strcmp(keys[key], name) != 0)
        key++;
    if (key < KEYS && *value_of(locator, key))
        err = vhdx_fault(item->report, "locator-duplicate", item->position,
                         "parent locator at 0x%" PRIx64 ": the key %s is there twice", item->position, name);
    else if (key < KEYS)
        err = take_text(item, le32_get(e->value_offset), le16_get(e->value_length), name, value_of(locator, key));
    free(name);
    return err;
}

static int take_item(const struct item *item, struct vhdx_locator *locator)
{
    const struct vhdx_locator_header *h = (const struct vhdx_locator_header *)item->bytes;
    const struct vhdx_locator_entry *entry = (const struct vhdx_locator_entry *)(h + 1);
    uint32_t count = le16_get(h->key_value_count);
    int err = 0;

    if (!vhdx_guid_is(&h->type, &vhdx_locator_type)) {
        char guid[VHDX_GUID_TEXT];

        vhdx_guid_text(&h->type, guid);
        vhdx_fault(item->report, "locator-type", item->position,
                   "parent locator at 0x%" PRIx64 ": the type %s is unknown", item->position, guid);
        return -EOPNOTSUPP;
    }
    if (count > (item->length - sizeof(*h)) / sizeof(*entry))
        return vhdx_fault(item->report, "locator-count", item->position,
                          "parent locator at 0x%" PRIx64 ": %u entries do not fit in its %u bytes", item->position,
                          count, item->length);
    for (uint32_t i = 0; i < count && !err; i++)
        err = take_entry(item, &entry[i], locator);
    return err;
}

int vhdx_locator_read(struct vhdx_report *report, struct file *file, const struct vhdx_metadata *metadata,
                      struct vhdx_locator *locator)
{
    uint8_t *bytes = malloc(metadata->locator_length);
    struct item item = {report, metadata->locator_position, metadata->locator_length, bytes};
    int err;

    *locator = (struct vhdx_locator){0};
    if (!bytes)
        return -ENOMEM;
    err = vhdx_read(report, file, bytes, item.length, item.position, "parent locator");
    if (!err)
        err = take_item(&item, locator);
    free(bytes);
    if (err)
        vhdx_locator_free(locator);
    return err;
}

void vhdx_locator_free(struct vhdx_locator *locator)
{
    for (size_t key = 0; key < KEYS; key++) {
        free(*value_of(locator, key));
        *value_of(locator, key) = NULL;
    }
}

/* ---- Writing ---- */

struct pair {
    char *text[2]; /* key, value; UTF-16 */
    size_t bytes[2];
};

static int make_pair(struct pair *pair, const char *key, const char *value)
{
    int err = vhdx_text_write(key, &pair->text[0], &pair->bytes[0]);

    if (!err)
        err = vhdx_text_write(value, &pair->text[1], &pair->bytes[1]);
    return !err && pair->bytes[1] > UINT16_MAX - 1 ? -ENAMETOOLONG : err;
}

/* Windows style: what we are given has '/' between the parts, what Windows reads has '\'. An absolute path must begin
 * with "\\?\"; without a drive letter it means nothing to Windows, which then goes by the relative one. */
static char *windows_path(const char *prefix, const char *path)
{
    char *text;

    if (asprintf(&text, "%s%s", prefix, path) < 0)
        return NULL;
    for (char *c = text; *c; c++)
        if (*c == '/')
            *c = '\\';
    return text;
}

static uint8_t *join_pairs(const struct pair *pairs, size_t count, size_t *length)
{
    size_t at = sizeof(struct vhdx_locator_header) + count * sizeof(struct vhdx_locator_entry);
    struct vhdx_locator_header *h;
    struct vhdx_locator_entry *entry;
    uint8_t *item;

    *length = at;
    for (size_t i = 0; i < count; i++)
        *length += pairs[i].bytes[0] + pairs[i].bytes[1];
    item = calloc(1, *length);
    if (!item)
        return NULL;
    h = (struct vhdx_locator_header *)item;
    h->type = vhdx_locator_type;
    h->key_value_count = le16_of((uint16_t)count);
    entry = (struct vhdx_locator_entry *)(h + 1);
    for (size_t i = 0; i < count; i++) {
        entry[i].key_offset = le32_of((uint32_t)at);
        entry[i].key_length = le16_of((uint16_t)pairs[i].bytes[0]);
        memcpy(item + at, pairs[i].text[0], pairs[i].bytes[0]);
        at += pairs[i].bytes[0];
        entry[i].value_offset = le32_of((uint32_t)at);
        entry[i].value_length = le16_of((uint16_t)pairs[i].bytes[1]);
        memcpy(item + at, pairs[i].text[1], pairs[i].bytes[1]);
        at += pairs[i].bytes[1];
    }
    return item;
}

int vhdx_locator_write(const struct vhdx_locator *locator, uint8_t **item, size_t *length)
{
    struct pair pairs[KEYS] = {0};
    size_t count = 0;
    int err = 0;

    for (size_t key = 0; key < KEYS && !err; key++) {
        const char *value = *value_of((struct vhdx_locator *)locator, key);

        if (value)
            err = make_pair(&pairs[count++], keys[key], value);
    }
    if (!err) {
        *item = join_pairs(pairs, count, length);
        err = *item ? 0 : -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        free(pairs[i].text[0]);
        free(pairs[i].text[1]);
    }
    return err;
}

int vhdx_locator_make(const struct vhdx_guid *linkage, const char *relative, const char *absolute,
                      struct vhdx_locator *locator)
{
    char guid[VHDX_GUID_TEXT];

    vhdx_guid_text(linkage, guid);
    *locator = (struct vhdx_locator){.linkage = strdup(guid),
                                     .relative = relative ? windows_path("", relative) : NULL,
                                     .absolute = absolute ? windows_path("\\\\?", absolute) : NULL};
    if (locator->linkage && !locator->relative == !relative && !locator->absolute == !absolute)
        return 0;
    vhdx_locator_free(locator);
    return -ENOMEM;
}

/* ---- disk_format ---- */

/* "\\?\C:\a\b", "\\?\Volume{...}\a\b", "\\server\share\a\b" -> "a/b"; ".\b" -> "./b" */
static char *portable_path(const char *path)
{
    char *copy = strdup(path), *from = copy, *portable;
    bool share = false;

    if (!copy)
        return NULL;
    for (char *c = copy; *c; c++)
        if (*c == '\\')
            *c = '/';
    if (strncmp(from, "//?/", 4) == 0 || strncmp(from, "//./", 4) == 0) {
        from += 4;
        share = strncasecmp(from, "UNC/", 4) == 0;
        from += share ? 4 : 0;
    } else if (strncmp(from, "//", 2) == 0) {
        share = true;
        from += 2;
    }
    for (int parts = share ? 2 : strncasecmp(from, "Volume{", 7) == 0 ? 1 : 0; parts > 0; parts--) {
        char *slash = strchr(from, '/');

        from = slash ? slash + 1 : from + strlen(from);
    }
    if (from[0] && from[1] == ':')
        from += 2;
    while (*from == '/')
        from++;
    portable = strdup(from);
    free(copy);
    return portable;
}

int vhdx_parent_names(struct vdisk *disk, char *names[DISK_PARENT_NAMES])
{
    const struct vhdx_locator *locator = &vhdx_of(disk)->locator;
    const char *const paths[] = {locator->relative, locator->volume, locator->absolute};
    int count = 0;

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (!paths[i])
            continue;
        names[count] = portable_path(paths[i]);
        if (!names[count++])
            return -ENOMEM;
    }
    return 0;
}

int vhdx_parent_paths(struct vdisk *disk, char *paths[DISK_PARENT_NAMES])
{
    const struct vhdx_locator *locator = &vhdx_of(disk)->locator;
    const char *const texts[] = {locator->absolute, locator->volume, locator->relative};
    int count = 0;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!texts[i])
            continue;
        paths[count] = strdup(texts[i]);
        if (!paths[count++])
            return -ENOMEM;
    }
    return 0;
}

static bool linkage_is(const char *linkage, const char *guid)
{
    static const char zero[] = "{00000000-0000-0000-0000-000000000000}";

    return linkage && strcasecmp(linkage, zero) != 0 && strcasecmp(linkage, guid) == 0;
}

bool vhdx_parent_matches(struct vdisk *disk, struct vdisk *parent, char expected[64], char found[64])
{
    const struct vhdx_locator *locator = &vhdx_of(disk)->locator;
    char guid[VHDX_GUID_TEXT];

    snprintf(expected, 64, "%s", locator->linkage ? locator->linkage : "not recorded");
    vhdx_guid_text(&vhdx_of(parent)->header.data_write_guid, guid);
    snprintf(found, 64, "%s", guid);
    return linkage_is(locator->linkage, guid) || linkage_is(locator->linkage2, guid);
}
