/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Children whose parent is not what it should be: names that lead elsewhere, files that are no images, circles, chains
 * without end. Both formats, by the same kinds. Every child here is right in itself: check finds nothing.
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/hostile_vhdx.h"

#undef P
#define VHD_HEADER 512u
#define VHD_LOCATORS (VHD_HEADER + 576u)
#define NAME_MAX_BYTES 8192u

enum { PARENT, ONLY_CHILD, GRANDCHILD, CHAIN_BASES };

static char the_dir[TEST_PATH];
static const char *the_suffix;

static bool is_vhd(void)
{
    return strcmp(the_suffix, ".vhd") == 0;
}

static const char *in_dir(const char *name)
{
    return scratch_path(the_dir, name);
}

/* "trap.vhd" in the directory, where nothing is any more. */
static const char *trap(void)
{
    static char path[TEST_PATH];
    char name[32];

    snprintf(name, sizeof(name), "trap%s", the_suffix);
    strcpy(path, in_dir(name));
    unlink(path);
    rmdir(path);
    return path;
}

/* ---- What a child says of its parent ------------------------------------------------------------------------- */

static void vhd_mend(struct hostile_image *image, uint64_t at, size_t length, size_t field)
{
    uint8_t bytes[1024];
    uint32_t sum = 0;

    image_read(image, bytes, length, at);
    for (size_t i = 0; i < length; i++)
        sum += i < field || i >= field + 4 ? bytes[i] : 0;
    image_put(image, at + field, 4, ~sum & 0xffffffff, true);
}

/* ASCII as UTF-16. */
static size_t wide(const char *text, uint8_t *out, bool big_endian)
{
    size_t length = strlen(text);

    test_true(2 * length <= NAME_MAX_BYTES);
    for (size_t i = 0; i < length; i++) {
        out[2 * i + big_endian] = (uint8_t)text[i];
        out[2 * i + !big_endian] = 0;
    }
    return 2 * length;
}

/* One locator, where the first was, and the name in the header. */
static void vhd_name_set(struct hostile_image *image, const char *code, const char *name)
{
    static const uint8_t zeros[8 * 24];
    uint8_t text[NAME_MAX_BYTES] = {0};
    uint64_t at = image_get(image, VHD_LOCATORS + 16, 8, true);
    size_t bytes = strcmp(code, "MacX") == 0 ? strlen(name) : wide(name, text, false);

    if (strcmp(code, "MacX") == 0)
        memcpy(text, name, bytes);
    test_true(bytes <= 512);
    image_write(image, zeros, sizeof(zeros), VHD_LOCATORS);
    image_write(image, text, 512, at);
    image_write(image, code, 4, VHD_LOCATORS);
    image_put(image, VHD_LOCATORS + 4, 4, 512, true);
    image_put(image, VHD_LOCATORS + 8, 4, bytes ? bytes : 2, true);
    image_put(image, VHD_LOCATORS + 16, 8, at, true);
    memset(text, 0, 512);
    if (strcmp(code, "MacX") != 0)
        wide(name, text, true);
    image_write(image, text, 512, VHD_HEADER + 64);
    vhd_mend(image, VHD_HEADER, 1024, 36);
}

/* The position of the value whose key begins with these letters, and its length. */
static uint64_t vhdx_value(struct hostile_image *image, const char *key, uint64_t *length)
{
    uint64_t item = vhdx_image_item(image, 5), count = le_get(image, item + 18, 2);
    uint8_t want[64], found[64];
    size_t bytes = wide(key, want, false);

    for (uint64_t entry = item + 20; entry < item + 20 + 12 * count; entry += 12) {
        image_read(image, found, bytes, item + le_get(image, entry, 4));
        if (memcmp(want, found, bytes) == 0) {
            *length = le_get(image, entry + 10, 2);
            return item + le_get(image, entry + 4, 4);
        }
    }
    test_fail("the locator lacks a %s", key);
}

/* A new locator item behind all others: the linkage as it was, and one path. */
static void vhdx_name_set(struct hostile_image *image, const char *name)
{
    static const char *const keys[] = {"parent_linkage", "relative_path"};
    uint64_t entry = vhdx_image_item_entry(image, 5), old = vhdx_image_item(image, 5), length, at = 64;
    uint64_t item = vhdx_image_metadata(image) + 512 * KIB, value = vhdx_value(image, "parent_linkage", &length);
    uint8_t type[16], text[NAME_MAX_BYTES];

    image_read(image, type, sizeof(type), old);
    image_write(image, type, sizeof(type), item);
    le_put(image, item + 18, 2, 2);
    image_read(image, text, length, value);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t key[64];
        size_t bytes = wide(keys[i], key, false);

        if (i == 1)
            length = wide(name, text, false);
        if (length == 0) /* an empty value is no value */
            text[length++] = '.', text[length++] = 0;
        le_put(image, item + 20 + 12 * i, 4, at);
        le_put(image, item + 24 + 12 * i, 4, at + bytes);
        le_put(image, item + 28 + 12 * i, 2, bytes);
        le_put(image, item + 30 + 12 * i, 2, length);
        image_write(image, key, bytes, item + at);
        image_write(image, text, length, item + at + bytes);
        at += bytes + length;
    }
    le_put(image, entry + 16, 4, 512 * KIB);
    le_put(image, entry + 20, 4, at);
}

static void name_set(struct hostile_image *image, const char *name)
{
    if (is_vhd())
        vhd_name_set(image, "W2ru", name);
    else
        vhdx_name_set(image, name);
}

static void name_trap(struct hostile_image *image)
{
    char name[32];

    snprintf(name, sizeof(name), "trap%s", the_suffix);
    name_set(image, name);
}

/* The child's parent has the child's own identity. */
static void parent_is_own(struct hostile_image *image)
{
    uint8_t id[16], text[80];
    char guid[40];
    uint64_t length, value;

    if (is_vhd()) {
        image_read(image, id, 16, 68);
        image_write(image, id, 16, VHD_HEADER + 40);
        vhd_mend(image, VHD_HEADER, 1024, 36);
        return;
    }
    image_read(image, id, 16, vhdx_image_header(image, true) + 32);
    snprintf(guid, sizeof(guid), "{%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x}", id[3], id[2],
             id[1], id[0], id[5], id[4], id[7], id[6], id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]);
    value = vhdx_value(image, "parent_linkage", &length);
    test_equal(wide(guid, text, false), length);
    image_write(image, text, length, value);
}

static void own_name(char name[32])
{
    snprintf(name, 32, "hostile%s", the_suffix);
}

/* ---- Circles ------------------------------------------------------------------------------------------------- */

static void circle_of_one(struct hostile_image *image)
{
    char name[32];

    own_name(name);
    name_set(image, name);
}

static void circle_by_hard_link(struct hostile_image *image)
{
    char name[32];

    own_name(name);
    name_trap(image);
    test_equal(link(in_dir(name), trap()), 0);
}

/* A copy of the image stands at path and names next as its parent. */
static void copy_to(const char *path, const char *next)
{
    struct hostile_image copy;
    char name[32];

    own_name(name);
    unlink(path);
    file_copy(in_dir(name), path);
    image_open(&copy, path);
    name_set(&copy, next);
    image_close(&copy);
}

static void circle_of_two(struct hostile_image *image)
{
    char name[32];

    own_name(name);
    parent_is_own(image);
    copy_to(trap(), name);
    name_trap(image);
}

static void no_end(struct hostile_image *image)
{
    char next[32], name[32];

    parent_is_own(image);
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "link%u%s", i, the_suffix);
        snprintf(next, sizeof(next), "link%u%s", i + 1, the_suffix);
        copy_to(in_dir(name), next);
    }
    snprintf(name, sizeof(name), "link0%s", the_suffix);
    name_set(image, name);
}

/* ---- Files that are no parents ------------------------------------------------------------------------------- */

static void is_fifo(struct hostile_image *image)
{
    name_trap(image);
    test_equal(mkfifo(trap(), 0600), 0);
}

static void is_directory(struct hostile_image *image)
{
    name_trap(image);
    test_equal(mkdir(trap(), 0700), 0);
}

static void is_socket(struct hostile_image *image)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    name_trap(image);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", trap());
    test_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

static void is_link(struct hostile_image *image, const char *to)
{
    name_trap(image);
    test_equal(symlink(to, trap()), 0);
}

static void is_link_to_device(struct hostile_image *image)
{
    is_link(image, "/dev/zero");
}

static void is_link_to_passwd(struct hostile_image *image)
{
    is_link(image, "/etc/passwd");
}

static void is_link_out(struct hostile_image *image)
{
    is_link(image, "../../../../../../../etc/passwd");
}

static void is_link_to_itself(struct hostile_image *image)
{
    char name[32];

    snprintf(name, sizeof(name), "trap%s", the_suffix);
    is_link(image, name);
}

static void is_link_to_parent(struct hostile_image *image)
{
    char name[32];

    snprintf(name, sizeof(name), "base0%s", the_suffix);
    is_link(image, name);
}

static void is_bytes(struct hostile_image *image, const void *bytes, size_t length)
{
    int fd;

    name_trap(image);
    fd = open(trap(), O_WRONLY | O_CREAT | O_EXCL, 0600);
    test_true(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
    close(fd);
}

static void is_empty(struct hostile_image *image)
{
    is_bytes(image, "", 0);
}

static void is_text(struct hostile_image *image)
{
    is_bytes(image, "root:x:0:0:root:/root:/bin/bash\n", 32);
}

static void is_signature(struct hostile_image *image)
{
    is_bytes(image, is_vhd() ? "conectix" : "vhdxfile", 8);
}

/* The true parent, but for what change does to it. */
static void is_parent_but(struct hostile_image *image, void (*change)(struct hostile_image *parent))
{
    struct hostile_image parent;
    char name[32];

    snprintf(name, sizeof(name), "base0%s", the_suffix);
    name_trap(image);
    file_copy(in_dir(name), trap());
    image_open(&parent, in_dir(is_vhd() ? "trap.vhd" : "trap.vhdx"));
    change(&parent);
    image_close(&parent);
}

static void cut_short(struct hostile_image *parent)
{
    image_resize(parent, is_vhd() ? 700 : 300 * KIB);
}

static void change_identity(struct hostile_image *parent)
{
    if (is_vhd()) {
        image_put(parent, parent->size - 512 + 68, 8, 42, true);
        vhd_mend(parent, parent->size - 512, 512, 64);
        return;
    }
    for (uint64_t at = 64 * KIB; at <= 128 * KIB; at += 64 * KIB) {
        le_put(parent, at + 32, 8, 42);
        vhdx_image_mend(parent, at, 4096);
    }
}

static void break_bat(struct hostile_image *parent)
{
    if (is_vhd())
        image_put(parent, image_get(parent, VHD_HEADER + 16, 8, true) + 4, 4, 0xfffffff0, true);
    else
        le_put(parent, vhdx_image_bat(parent) + 8, 8, ENTRY(4000, 6));
}

static void is_cut_short(struct hostile_image *image)
{
    is_parent_but(image, cut_short);
}

static void is_another(struct hostile_image *image)
{
    is_parent_but(image, change_identity);
}

static void is_damaged(struct hostile_image *image)
{
    is_parent_but(image, break_bat);
}

/* ---- Names --------------------------------------------------------------------------------------------------- */

#define NAME_KIND(function, name)                                                                                      \
    static void function(struct hostile_image *image)                                                                  \
    {                                                                                                                  \
        name_set(image, name);                                                                                         \
    }

NAME_KIND(name_nowhere, "nowhere")
NAME_KIND(name_passwd, "/etc/passwd")
NAME_KIND(name_shadow_dots, "..\\..\\..\\..\\..\\..\\etc\\shadow")
NAME_KIND(name_proc, "/proc/self/fd/0")
NAME_KIND(name_unc, "\\\\server\\share\\etc\\passwd")
NAME_KIND(name_device, "\\\\.\\PhysicalDrive0")
NAME_KIND(name_volume, "\\\\?\\Volume{00000000-0000-0000-0000-000000000000}")
NAME_KIND(name_drive, "C:")
NAME_KIND(name_dot, ".")
NAME_KIND(name_dots, "..")
NAME_KIND(name_slash, "/")
NAME_KIND(name_slashes, "\\\\\\\\\\\\\\\\")
NAME_KIND(name_parent_of_dot, "./../.")
NAME_KIND(name_newline, "two\nlines")
NAME_KIND(name_escapes, "\x1b]0;owned\x07\x1b[2J")
NAME_KIND(name_format, "%s%s%s%n%n%n")
NAME_KIND(name_empty, "")

/* The last part of a path is looked for beside the child, and there it is. */
static void name_up_and_beside(struct hostile_image *image)
{
    char name[64];

    snprintf(name, sizeof(name), "..\\elsewhere\\base0%s", the_suffix);
    name_set(image, name);
}

static void name_long(struct hostile_image *image, size_t length)
{
    char name[NAME_MAX_BYTES / 2];

    memset(name, 'a', length);
    name[length] = '\0';
    name_set(image, name);
}

static void name_of_250(struct hostile_image *image)
{
    name_long(image, 250);
}

static void name_of_4000(struct hostile_image *image)
{
    name_long(image, 4000);
}

static void name_of_many_parts(struct hostile_image *image)
{
    char name[NAME_MAX_BYTES / 2];

    for (size_t i = 0; i < 2000; i++)
        memcpy(name + 2 * i, "a/", 2);
    name[4000] = '\0';
    name_set(image, name);
}

static void url_up(struct hostile_image *image)
{
    vhd_name_set(image, "MacX", "file://localhost/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd");
}

static void url_zero(struct hostile_image *image)
{
    vhd_name_set(image, "MacX", "file:///base0.vhd%00%2");
}

static void url_cut(struct hostile_image *image)
{
    vhd_name_set(image, "MacX", "file:///nowhere%");
}

/* ---- The kinds ----------------------------------------------------------------------------------------------- */

#define BOTH_FORMATS                                                                                                   \
    {"nothing wrong: a child", FINE, ONLY_CHILD, {{0}}, NULL},                                                         \
        {"nothing wrong: a child's child", FINE, GRANDCHILD, {{0}}, NULL},                                             \
        {"circle: its own parent", ORPHAN, ONLY_CHILD, {{0}}, circle_of_one},                                          \
        {"circle: its own parent by a hard link", ORPHAN, ONLY_CHILD, {{0}}, circle_by_hard_link},                     \
        {"circle: of two", ORPHAN, ONLY_CHILD, {{0}}, circle_of_two},                                                  \
        {"chain: 301 links", ORPHAN, ONLY_CHILD, {{0}}, no_end},                                                       \
        {"parent: a FIFO", ORPHAN, ONLY_CHILD, {{0}}, is_fifo},                                                        \
        {"parent: a directory", ORPHAN, ONLY_CHILD, {{0}}, is_directory},                                              \
        {"parent: a socket", ORPHAN, ONLY_CHILD, {{0}}, is_socket},                                                    \
        {"parent: a link to a device", ORPHAN, ONLY_CHILD, {{0}}, is_link_to_device},                                  \
        {"parent: a link to /etc/passwd", ORPHAN, ONLY_CHILD, {{0}}, is_link_to_passwd},                               \
        {"parent: a link that climbs out", ORPHAN, ONLY_CHILD, {{0}}, is_link_out},                                    \
        {"parent: a link to itself", ORPHAN, ONLY_CHILD, {{0}}, is_link_to_itself},                                    \
        {"parent: a link to the parent", FINE, ONLY_CHILD, {{0}}, is_link_to_parent},                                  \
        {"parent: an empty file", ORPHAN, ONLY_CHILD, {{0}}, is_empty},                                                \
        {"parent: text", ORPHAN, ONLY_CHILD, {{0}}, is_text},                                                          \
        {"parent: a signature and no more", ORPHAN, ONLY_CHILD, {{0}}, is_signature},                                  \
        {"parent: cut short", ORPHAN, ONLY_CHILD, {{0}}, is_cut_short},                                                \
        {"parent: another one", ORPHAN, ONLY_CHILD, {{0}}, is_another},                                                \
        {"parent: with a block past its end", SURVIVE, ONLY_CHILD, {{0}}, is_damaged},                                 \
        {"parent: its parent's parent", ORPHAN, GRANDCHILD, {{0}}, is_link_to_parent},                                 \
        {"name: nowhere", ORPHAN, ONLY_CHILD, {{0}}, name_nowhere},                                                    \
        {"name: /etc/passwd", ORPHAN, ONLY_CHILD, {{0}}, name_passwd},                                                 \
        {"name: up to /etc/shadow", ORPHAN, ONLY_CHILD, {{0}}, name_shadow_dots},                                      \
        {"name: in /proc", ORPHAN, ONLY_CHILD, {{0}}, name_proc},                                                      \
        {"name: on a server", ORPHAN, ONLY_CHILD, {{0}}, name_unc},                                                    \
        {"name: a device of Windows", ORPHAN, ONLY_CHILD, {{0}}, name_device},                                         \
        {"name: a volume alone", ORPHAN, ONLY_CHILD, {{0}}, name_volume},                                              \
        {"name: a drive alone", ORPHAN, ONLY_CHILD, {{0}}, name_drive},                                                \
        {"name: '.'", ORPHAN, ONLY_CHILD, {{0}}, name_dot}, {"name: '..'", ORPHAN, ONLY_CHILD, {{0}}, name_dots},      \
        {"name: '/'", ORPHAN, ONLY_CHILD, {{0}}, name_slash},                                                          \
        {"name: backslashes", ORPHAN, ONLY_CHILD, {{0}}, name_slashes},                                                \
        {"name: './../.'", ORPHAN, ONLY_CHILD, {{0}}, name_parent_of_dot},                                             \
        {"name: with a newline", ORPHAN, ONLY_CHILD, {{0}}, name_newline},                                             \
        {"name: escape sequences", ORPHAN, ONLY_CHILD, {{0}}, name_escapes},                                           \
        {"name: a format string", ORPHAN, ONLY_CHILD, {{0}}, name_format},                                             \
        {"name: up, and found beside", FINE, ONLY_CHILD, {{0}}, name_up_and_beside},                                   \
    {                                                                                                                  \
        "name: of 250 letters", ORPHAN, ONLY_CHILD, {{0}}, name_of_250                                                 \
    }

static const struct hostile_kind vhd_kinds[] = {
    BOTH_FORMATS,
    {"name: empty", SURVIVE, ONLY_CHILD, {{0}}, name_empty},
    {"name: a URL that climbs", ORPHAN, ONLY_CHILD, {{0}}, url_up},
    {"name: a URL with a zero", ORPHAN, ONLY_CHILD, {{0}}, url_zero},
    {"name: a URL that ends early", ORPHAN, ONLY_CHILD, {{0}}, url_cut},
    {NULL, HOSTILE_END, 0, {{0}}, NULL},
};

static const struct hostile_kind vhdx_kinds[] = {
    BOTH_FORMATS,
    {"name: of 4000 letters", ORPHAN, ONLY_CHILD, {{0}}, name_of_4000},
    {"name: of 2000 parts", ORPHAN, ONLY_CHILD, {{0}}, name_of_many_parts},
    {NULL, HOSTILE_END, 0, {{0}}, NULL},
};

static void make(const char *dir, unsigned base, const char *path)
{
    struct messages messages = MESSAGES_INIT;
    struct vdisk_create_options options = {.format = the_suffix + 1, .size = 16 * MIB, .block_size = MIB};
    char parent[32];

    messages.echo = true;
    options.log = messages_log(&messages);
    strcpy(the_dir, dir);
    snprintf(parent, sizeof(parent), "base%u%s", base - 1, the_suffix);
    if (base > PARENT)
        options.parent = in_dir(parent);
    hostile_make(path, &options);
}

static int run(const char *format, const char *suffix, const struct hostile_kind *kinds)
{
    struct hostile_suite suite = {format, suffix, kinds, CHAIN_BASES, make, NULL};

    the_suffix = suffix;
    return hostile_run(&suite);
}

int main(void)
{
    return run("vhd", ".vhd", vhd_kinds) | run("vhdx", ".vhdx", vhdx_kinds);
}
