/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON as the commands print it. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include "control/json.h"

static inline json_t *cli_json_text(const char *text)
{
    return control_json_text(text);
}

/* An array that is printed while it grows: elements one a line, with nothing kept. */
struct cli_json_array {
    unsigned long long count;
};

/* Takes object. 0 or -ENOMEM. */
int cli_json_array_put(struct cli_json_array *array, json_t *object);
void cli_json_array_end(struct cli_json_array *array);

#endif
