/* SPDX-License-Identifier: BSD-2-Clause */
/* Sizes as people write them. Exact: what is not a whole number of bytes, or does not fit, is refused. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"

static const char letters[] = "KMGTPE";

/* "", "B", "K", "KiB", ... up to E; 0: none of them. */
static uint64_t unit_parse(const char *text, const char **why)
{
    const char *letter;

    if (*text == '\0' || strcasecmp(text, "B") == 0)
        return 1;
    letter = strchr(letters, toupper((unsigned char)*text));
    if (letter && (text[1] == '\0' || strcasecmp(text + 1, "iB") == 0))
        return UINT64_C(1024) << (10 * (letter - letters));
    *why = letter && strcasecmp(text + 1, "B") == 0 ? "write K, M, G, T or KiB, MiB, GiB, TiB (powers of 1024)"
                                                    : "not a size: a number with K, M, G, T, P or E";
    return 0;
}

static int refuse(int error, const char **why, const char *text)
{
    *why = text;
    return error;
}

static int hex_parse(const char *text, uint64_t *bytes, const char **why)
{
    char *end;

    if (!isxdigit((unsigned char)text[2]))
        return refuse(-EINVAL, why, "not a number");
    errno = 0;
    *bytes = strtoull(text, &end, 16);
    if (errno || *bytes == CLI_NONE)
        return refuse(-ERANGE, why, "too large");
    return *end ? refuse(-EINVAL, why, "not a number") : 0;
}

/* Digits at *text as a number; *scale becomes 10 to the power of their count, without trailing zeros where trim. */
static int digits_parse(const char **text, bool trim, uint64_t *number, uint64_t *scale)
{
    size_t count = strspn(*text, "0123456789"), used = count;

    *number = 0;
    *scale = 1;
    while (trim && used > 0 && (*text)[used - 1] == '0')
        used--;
    for (size_t i = 0; i < used; i++) {
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)((*text)[i] - '0'), number))
            return -ERANGE;
        if (trim && __builtin_mul_overflow(*scale, 10, scale))
            return -ERANGE;
    }
    *text += count;
    return count > 0 ? 0 : -EINVAL;
}

int cli_size_parse(const char *text, uint64_t *bytes, const char **why)
{
    uint64_t whole, fraction = 0, scale = 1, unit;
    unsigned __int128 sum;
    int err;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return hex_parse(text, bytes, why);
    if (*text == '-')
        return refuse(-EINVAL, why, "less than nothing");
    err = digits_parse(&text, false, &whole, &scale);
    if (err == 0 && *text == '.') {
        text++;
        err = digits_parse(&text, true, &fraction, &scale);
    }
    if (err < 0)
        return refuse(err, why,
                      err == -ERANGE ? "too large, or too many digits"
                                     : "not a size: a number with K, M, G, T, P or E");
    unit = unit_parse(text, why);
    if (unit == 0)
        return -EINVAL;
    sum = (unsigned __int128)fraction * unit;
    if (sum % scale != 0)
        return refuse(-EINVAL, why, "not a whole number of bytes");
    sum = (unsigned __int128)whole * unit + sum / scale;
    if (sum >= CLI_NONE)
        return refuse(-ERANGE, why, "too large");
    *bytes = (uint64_t)sum;
    return 0;
}

const char *cli_size_text(char text[32], uint64_t bytes)
{
    unsigned power = 0;
    uint64_t unit = 1;

    while (power < strlen(letters) && bytes / unit >= 1024) {
        unit *= 1024;
        power++;
    }
    if (power > 1 && bytes % unit != 0 && bytes % (unit / 1024) == 0 && bytes / (unit / 1024) < 10000) {
        unit /= 1024; /* 2040 GiB rather than 2.0 TiB */
        power--;
    }
    if (power == 0)
        snprintf(text, 32, "%" PRIu64 " bytes", bytes);
    else if (bytes % unit == 0)
        snprintf(text, 32, "%" PRIu64 " %ciB", bytes / unit, letters[power - 1]);
    else
        snprintf(text, 32, "%.1f %ciB", (double)bytes / (double)unit, letters[power - 1]);
    return text;
}

const char *cli_size_full(char text[64], uint64_t bytes)
{
    char part[32];

    if (bytes < 1024)
        snprintf(text, 64, "%" PRIu64 " bytes", bytes);
    else
        snprintf(text, 64, "%s (%" PRIu64 " bytes)", cli_size_text(part, bytes), bytes);
    return text;
}
