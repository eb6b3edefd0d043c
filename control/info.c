/* SPDX-License-Identifier: BSD-2-Clause */
#include "info.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "json.h"

static const char *const types[] = {
    [VDISK_FIELD_TEXT] = "text",
    [VDISK_FIELD_NUMBER] = "number",
    [VDISK_FIELD_BYTES] = "bytes",
    [VDISK_FIELD_FLAG] = "flag",
};

static void add(void *arg, const struct vdisk_field *field)
{
    json_t *value = field->type == VDISK_FIELD_TEXT   ? control_json_text(field->text)
                    : field->type == VDISK_FIELD_FLAG ? json_boolean(field->number)
                                                      : json_integer((json_int_t)field->number);

    json_array_append_new(arg, json_pack("[s, s, s, o]", field->group, field->name, types[field->type], value));
}

/* The facts that every disk has, in the same form as those of the format's headers. */
static void common_fields(struct vdisk *disk, json_t *fields)
{
    const struct {
        const char *name;
        uint64_t bytes;
        bool known;
    } sizes[] = {
        {"virtual-size", vdisk_size(disk), true},
        {"block-size", vdisk_block_size(disk), vdisk_block_size(disk) > 0},
        {"logical-sector-size", vdisk_sector_size(disk), true},
        {"physical-sector-size", vdisk_physical_sector_size(disk), true},
    };
    struct stat file;

    add(fields, &(struct vdisk_field){"disk", "format", VDISK_FIELD_TEXT, vdisk_format(disk), 0});
    add(fields, &(struct vdisk_field){"disk", "type", VDISK_FIELD_TEXT, vdisk_type(disk), 0});
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        if (sizes[i].known)
            add(fields, &(struct vdisk_field){"disk", sizes[i].name, VDISK_FIELD_BYTES, NULL, sizes[i].bytes});
    if (stat(vdisk_path(disk), &file) < 0)
        return;
    add(fields, &(struct vdisk_field){"disk", "file-size", VDISK_FIELD_BYTES, NULL, (uint64_t)file.st_size});
    add(fields, &(struct vdisk_field){"disk", "space-used", VDISK_FIELD_BYTES, NULL, (uint64_t)file.st_blocks * 512});
}

json_t *control_info(struct vdisk *disk, bool chain)
{
    json_t *links = json_array();

    for (; disk; disk = chain ? vdisk_parent(disk) : NULL) {
        json_t *fields = json_array();

        common_fields(disk, fields);
        vdisk_info(disk, add, fields);
        json_array_append_new(links,
                              json_pack("{s:o, s:o}", "file", control_json_text(vdisk_path(disk)), "fields", fields));
    }
    return links;
}

static int each(json_t *entry, vdisk_field_fn *field, void *arg)
{
    struct vdisk_field one = {0};
    const char *type;
    json_t *value;

    if (json_unpack(entry, "[s, s, s, o!]", &one.group, &one.name, &type, &value) < 0)
        return -EPROTO;
    for (one.type = VDISK_FIELD_TEXT; strcmp(types[one.type], type) != 0; one.type++)
        if (one.type == VDISK_FIELD_FLAG)
            return -EPROTO;
    one.text = json_string_value(value);
    one.number = json_is_boolean(value) ? json_is_true(value) : (uint64_t)json_integer_value(value);
    if ((one.type == VDISK_FIELD_TEXT) != (one.text != NULL))
        return -EPROTO;
    field(arg, &one);
    return 0;
}

int control_info_each(const json_t *link, vdisk_field_fn *field, void *arg)
{
    json_t *fields = json_object_get(link, "fields"), *entry;
    int err = json_is_array(fields) ? 0 : -EPROTO;
    size_t i;

    json_array_foreach (fields, i, entry)
        if (err == 0)
            err = each(entry, field, arg);
    return err;
}
