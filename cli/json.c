/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>

#include "cli/json.h"

int cli_json_array_put(struct cli_json_array *array, json_t *object)
{
    if (!object)
        return -ENOMEM;
    fputs(array->count++ == 0 ? "[\n  " : ",\n  ", stdout);
    json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
    return 0;
}

void cli_json_array_end(struct cli_json_array *array)
{
    fputs(array->count == 0 ? "[]" : "\n]", stdout);
}
