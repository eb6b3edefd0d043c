/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON as we print and send it: sizes are integers in bytes; text that is not UTF-8 has U+FFFD in its place. */
#ifndef CONTROL_JSON_H
#define CONTROL_JSON_H

#include <jansson.h>

/* Never NULL but for want of memory. */
json_t *control_json_text(const char *text);

#endif
