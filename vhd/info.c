/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything in the footer, the header, the parent locators and the BAT, as facts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uuid/uuid.h>

#include "vhd.h"

struct teller {
    vdisk_field_fn *field;
    void *arg;
    const char *group;
};

static void tell(const struct teller *t, const char *name, enum vdisk_field_type type, const char *text,
                 uint64_t number)
{
    struct vdisk_field field = {.group = t->group, .name = name, .type = type, .text = text, .number = number};

    t->field(t->arg, &field);
}

static void tell_text(const struct teller *t, const char *name, const char *text)
{
    tell(t, name, VDISK_FIELD_TEXT, text, 0);
}

static void tell_number(const struct teller *t, const char *name, uint64_t number)
{
    tell(t, name, VDISK_FIELD_NUMBER, NULL, number);
}

/* Four characters, what cannot be shown as '.', without the spaces and zeros at the end. */
static void tell_code(const struct teller *t, const char *name, const char code[4])
{
    char text[5] = "";
    size_t length = 4;

    while (length > 0 && (code[length - 1] == ' ' || code[length - 1] == '\0'))
        length--;
    for (size_t i = 0; i < length; i++)
        text[i] = code[i] > 0x20 && code[i] < 0x7F ? code[i] : '.';
    tell_text(t, name, text);
}

static void tell_version(const struct teller *t, const char *name, uint32_t version)
{
    char text[32];

    snprintf(text, sizeof(text), "%u.%u", version >> 16, version & 0xFFFF);
    tell_text(t, name, text);
}

static void tell_time(const struct teller *t, const char *name, uint32_t timestamp)
{
    time_t when = (time_t)timestamp + VHD_EPOCH;
    struct tm parts;
    char text[32];

    if (timestamp == 0) {
        tell_text(t, name, "none");
        return;
    }
    gmtime_r(&when, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    tell_text(t, name, text);
}

static void tell_id(const struct teller *t, const char *name, const uint8_t id[16])
{
    char text[40];

    uuid_unparse_lower(id, text);
    tell_text(t, name, text);
}

static void tell_footer(struct teller *t, const struct vhd *v)
{
    const struct vhd_footer *f = &v->footer;
    char geometry[32];

    t->group = "footer";
    snprintf(geometry, sizeof(geometry), "%u/%u/%u", be16_get(f->cylinders), f->heads, f->sectors_per_track);
    tell_code(t, "creator", f->creator);
    tell_version(t, "creator-version", be32_get(f->creator_version));
    tell_code(t, "creator-host", f->creator_host);
    tell_version(t, "version", be32_get(f->version));
    tell_number(t, "features", be32_get(f->features));
    tell_time(t, "created", be32_get(f->timestamp));
    tell_id(t, "id", f->id);
    tell(t, "original-size", VDISK_FIELD_BYTES, NULL, be64_get(f->original_size));
    tell(t, "current-size", VDISK_FIELD_BYTES, NULL, be64_get(f->current_size));
    tell_text(t, "geometry", geometry);
    tell_text(t, "size-from", vhd_footer_size(f) == be64_get(f->current_size) ? "current-size" : "geometry");
    tell(t, "saved-state", VDISK_FIELD_FLAG, NULL, f->saved_state != 0);
    tell(t, "at-end", VDISK_FIELD_FLAG, NULL, v->footers.end_valid);
    if (v->disk.type != DISK_FIXED)
        tell(t, "copy-at-start", VDISK_FIELD_FLAG, NULL, v->footers.copy_valid);
}

static void tell_header(struct teller *t, const struct vhd *v)
{
    t->group = "header";
    tell_number(t, "offset", v->layout.header_at);
    tell_version(t, "version", be32_get(v->header.version));
    tell(t, "block-size", VDISK_FIELD_BYTES, NULL, v->layout.block_size);
    tell_number(t, "bat-offset", v->layout.bat_at);
    tell_number(t, "bat-entries", v->layout.max_entries);
}

static void tell_parent(struct teller *t, const struct vhd *v)
{
    char *text = vhd_parent_name(&v->header), name[32];

    t->group = "parent";
    tell_id(t, "id", v->header.parent_id);
    tell_time(t, "modified", be32_get(v->header.parent_timestamp));
    if (text)
        tell_text(t, "name", text);
    free(text);
    for (int i = 0; i < VHD_LOCATORS; i++) {
        const struct vhd_locator *locator = &v->header.locator[i];

        if (memcmp(locator->code, "\0\0\0\0", 4) == 0)
            continue;
        snprintf(name, sizeof(name), "locator-%d-code", i);
        tell_code(t, name, locator->code);
        if (vhd_locator_read(v->disk.file, locator, &text) || !text)
            continue;
        snprintf(name, sizeof(name), "locator-%d", i);
        tell_text(t, name, text);
        free(text);
    }
}

static void tell_bat(struct teller *t, const struct vhd *v)
{
    uint64_t used = 0;

    for (uint32_t block = 0; block < v->layout.blocks; block++) {
        const void *page = table_page(v->bat, block / VHD_PAGE_ENTRIES);

        if (!page &&
            (table_load(v->bat, block / VHD_PAGE_ENTRIES) || !(page = table_page(v->bat, block / VHD_PAGE_ENTRIES))))
            return;
        used += vhd_bat_get(page, block) != VHD_UNUSED;
    }
    t->group = "bat";
    tell_number(t, "blocks", v->layout.blocks);
    tell_number(t, "allocated", used);
}

void vhd_info(struct vdisk *disk, vdisk_field_fn *field, void *arg)
{
    const struct vhd *v = vhd_of(disk);
    struct teller t = {field, arg, ""};

    tell_footer(&t, v);
    if (disk->type == DISK_FIXED)
        return;
    tell_header(&t, v);
    if (disk->type == DISK_DIFFERENCING)
        tell_parent(&t, v);
    tell_bat(&t, v);
}
