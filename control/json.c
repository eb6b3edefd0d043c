/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>

#include "json.h"

/* How many bytes the first character of text has; 0: it is not UTF-8. Asked of jansson, which will not take it. */
static size_t character_length(const char *text)
{
    for (size_t length = 1; length <= 4 && text[length - 1]; length++) {
        json_t *one = json_stringn(text, length);
        json_decref(one);
        if (one)
            return length;
    }
    return 0;
}

json_t *control_json_text(const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    json_t *string = json_string(text);
    char *mended, *end;

    if (string)
        return string;
    mended = end = malloc(strlen(text) * 3 + 1);
    if (!mended)
        return NULL;
    while (*text) {
        size_t length = character_length(text);
        end = length > 0 ? mempcpy(end, text, length) : mempcpy(end, replacement, 3);
        text += length > 0 ? length : 1;
    }
    *end = '\0';
    string = json_string(mended);
    free(mended);
    return string;
}
