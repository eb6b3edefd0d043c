/* SPDX-License-Identifier: BSD-2-Clause */
/* What a disk's headers say, as JSON: the same whether a command reads the file or asks the disk's holder. */
#ifndef CONTROL_INFO_H
#define CONTROL_INFO_H

#include <jansson.h>

#include "disk/vdisk.h"

/* An array with an object for each link, from disk down; without chain of the first only:
 *   {"file": path, "fields": [[group, name, type, value], ...]}
 * type is "text", "number", "bytes" or "flag"; the group "disk" comes first: what every disk has. NULL: out of memory. */
json_t *control_info(struct vdisk *disk, bool chain);

/* Calls field for each of a link's fields. -EPROTO: it is not such an object. */
int control_info_each(const json_t *link, vdisk_field_fn *field, void *arg);

#endif
