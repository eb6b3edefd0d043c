/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON as the commands print it: sizes are integers in bytes; text that is not UTF-8 has U+FFFD in its place. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <jansson.h>

/* Never NULL but for want of memory. */
json_t *cli_json_text(const char *text);

/* An array that is printed while it grows: elements one a line, with nothing kept. */
struct cli_json_array {
    unsigned long long count;
};

/* Takes object. 0 or -ENOMEM. */
int cli_json_array_put(struct cli_json_array *array, json_t *object);
void cli_json_array_end(struct cli_json_array *array);

#endif
