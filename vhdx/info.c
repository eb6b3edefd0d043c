/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the headers, tables and items of an open file say.
 */
#include <stdlib.h>
#include <string.h>

#include "vhdx.h"

struct teller {
    vdisk_field_fn *field;
    void *arg;
    const char *group;
};

static void tell(const struct teller *to, const char *name, enum vdisk_field_type type, const char *text,
                 uint64_t number)
{
    struct vdisk_field field = {.group = to->group, .name = name, .type = type, .text = text, .number = number};

    to->field(to->arg, &field);
}

static void tell_text(const struct teller *to, const char *name, const char *text)
{
    if (text)
        tell(to, name, VDISK_FIELD_TEXT, text, 0);
}

static void tell_guid(const struct teller *to, const char *name, const struct vhdx_guid *guid)
{
    char text[VHDX_GUID_TEXT];

    vhdx_guid_text(guid, text);
    tell(to, name, VDISK_FIELD_TEXT, text, 0);
}

static void tell_number(const struct teller *to, const char *name, uint64_t number)
{
    tell(to, name, VDISK_FIELD_NUMBER, NULL, number);
}

static void tell_bytes(const struct teller *to, const char *name, uint64_t bytes)
{
    tell(to, name, VDISK_FIELD_BYTES, NULL, bytes);
}

static void tell_flag(const struct teller *to, const char *name, bool flag)
{
    tell(to, name, VDISK_FIELD_FLAG, NULL, flag);
}

static void tell_file(struct vhdx *v, struct teller *to)
{
    struct vhdx_identifier identifier;
    size_t units = 0;
    char *creator;

    to->group = "file";
    if (file_read(v->disk.file, &identifier, sizeof(identifier), 0))
        return;
    while (units < 256 && le16_get(identifier.creator[units]) != 0)
        units++;
    if (vhdx_text_read(identifier.creator, units * 2, &creator) == 0) {
        tell_text(to, "creator", creator);
        free(creator);
    }
    tell_bytes(to, "size", v->disk.file->size);
}

static void tell_header(struct vhdx *v, struct teller *to)
{
    struct vhdx_header copy, *h = &copy;
    unsigned slot = vhdx_header_copy(v, &copy);

    to->group = "header";
    tell_number(to, "offset", VHDX_HEADER_AT(slot));
    tell_number(to, "sequence-number", le64_get(h->sequence));
    tell_guid(to, "file-write-guid", &h->file_write_guid);
    tell_guid(to, "data-write-guid", &h->data_write_guid);
    tell_guid(to, "log-guid", &h->log_guid);
    tell_number(to, "version", le16_get(h->version));
    to->group = "log";
    tell_number(to, "version", le16_get(h->log_version));
    tell_number(to, "offset", le64_get(h->log_offset));
    tell_bytes(to, "length", le32_get(h->log_length));
    tell_text(to, "state", !v->replayed ? "clean" : v->disk.writable ? "replayed" : "replayed-in-memory");
}

static void tell_regions(const struct vhdx *v, struct teller *to)
{
    const struct vhdx_shape *shape = &v->shape;

    to->group = "region";
    tell_number(to, "bat-offset", v->regions.bat.position);
    tell_bytes(to, "bat-length", v->regions.bat.length);
    tell_number(to, "bat-entries", shape->entries);
    tell_number(to, "payload-blocks", shape->blocks);
    tell_number(to, "chunk-ratio", UINT64_C(1) << shape->ratio_shift);
    tell_number(to, "metadata-offset", v->regions.metadata.position);
    tell_bytes(to, "metadata-length", v->regions.metadata.length);
}

static void tell_metadata(const struct vhdx *v, struct teller *to)
{
    const struct vhdx_metadata *m = &v->metadata;

    to->group = "metadata";
    tell_bytes(to, "virtual-disk-size", m->size);
    tell_guid(to, "virtual-disk-id", &m->disk_id);
    tell_bytes(to, "block-size", m->block_size);
    tell_flag(to, "leave-blocks-allocated", m->leave_blocks_allocated);
    tell_flag(to, "has-parent", m->has_parent);
    tell_bytes(to, "logical-sector-size", m->logical_sector);
    tell_bytes(to, "physical-sector-size", m->physical_sector);
}

static void tell_parent(const struct vhdx *v, struct teller *to)
{
    to->group = "parent";
    if (!v->metadata.has_parent)
        return;
    tell_guid(to, "locator-type", &vhdx_locator_type);
    tell_text(to, "linkage", v->locator.linkage);
    tell_text(to, "linkage2", v->locator.linkage2);
    tell_text(to, "relative-path", v->locator.relative);
    tell_text(to, "volume-path", v->locator.volume);
    tell_text(to, "absolute-win32-path", v->locator.absolute);
}

void vhdx_info(struct vdisk *disk, vdisk_field_fn *field, void *arg)
{
    struct vhdx *v = vhdx_of(disk);
    struct teller to = {.field = field, .arg = arg};

    tell_file(v, &to);
    tell_header(v, &to);
    tell_regions(v, &to);
    tell_metadata(v, &to);
    tell_parent(v, &to);
}
