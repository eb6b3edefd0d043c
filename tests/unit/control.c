/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: who finds it, what it answers, and what a client that means ill can do to it: nothing that the disk's
 * users would notice.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/client.h"
#include "control/info.h"
#include "control/job.h"
#include "control/place.h"
#include "tests/support.h"

#define MIB (1u << 20)

static char dir[TEST_PATH];
static struct messages messages = MESSAGES_INIT;
static struct vdisk_log log_;
static struct control_log words;
static struct vdisk_port *port;
static struct control_server *server;
static char image[TEST_PATH + 64];
static unsigned resizes;

static void resized(void *arg)
{
    (void)arg;
    resizes++;
}

static struct control_holder holder = {.program = "a test", .resized = resized};

static int hold(void **state)
{
    struct vdisk_create_options options = {.size = 10 * MIB, .format = "vhdx", .flags = VDISK_CREATE_OVERWRITE};
    struct vdisk_open_options how = {.flags = VDISK_OPEN_WRITE};
    struct vdisk *disk;

    (void)state;
    messages_clear(&messages);
    log_ = messages_log(&messages);
    words = (struct control_log)CONTROL_LOG_INIT(log_);
    how.log = control_log(&words);
    snprintf(image, sizeof(image), "%s", scratch_path(dir, "a.vhdx"));
    test_ok(vdisk_create(image, &options, &disk));
    test_ok(vdisk_commit(disk));
    test_ok(vdisk_port_open(image, &how, &port));
    test_ok(control_server_open(port, &holder, &words, &server));
    return 0;
}

static int release(void **state)
{
    (void)state;
    control_server_close(server);
    test_ok(vdisk_port_close(port));
    test_equal(place_connect(image, PLACE_DISK), -ENOENT);
    return 0;
}

/* ---- As it is meant ---- */

static json_t *ask(struct control *control, json_t *request)
{
    json_t *result;

    test_ok(control_call(control, request, NULL, &log_, &result));
    return result;
}

static void size_found(void *arg, const struct vdisk_field *field)
{
    if (strcmp(field->group, "disk") == 0 && strcmp(field->name, "virtual-size") == 0)
        *(uint64_t *)arg = field->number;
}

static void answers(void **state)
{
    struct vdisk_ring *ring;
    struct control *control;
    json_t *result, *links;
    uint64_t size = 0;
    char buffer[4096] = "bytes";

    (void)state;
    test_ok(vdisk_ring_open(0, VDISK_BACKEND_AUTO, &ring));
    test_ok(vdisk_port_transfer(port, ring, VDISK_WRITE, buffer, 8192, sizeof(buffer)));
    vdisk_ring_close(ring);
    test_ok(control_open(image, &control));
    result = ask(control, json_pack("{s:s, s:b}", "do", "info", "chain", 1));
    links = json_object_get(result, "links");
    test_equal(json_array_size(links), 1);
    test_ok(control_info_each(json_array_get(links, 0), size_found, &size));
    test_equal(size, 10 * MIB);
    json_decref(result);
    result = ask(control, json_pack("{s:s}", "do", "stats"));
    links = json_object_get(json_object_get(result, "operations"), "write");
    test_equal(json_integer_value(json_object_get(links, "count")), 1);
    test_equal(json_integer_value(json_object_get(links, "bytes")), sizeof(buffer));
    test_equal(json_array_size(json_object_get(links, "latency")), 1);
    json_decref(result);
    control_close(control);
}

static void refuses(void **state)
{
    struct control *control;
    json_t *result;

    (void)state;
    test_ok(control_open(image, &control));
    test_equal(control_call(control, json_pack("{s:s, s:i}", "do", "info", "depth", 3), NULL, &log_, &result), -EINVAL);
    test_true(strstr(messages.first, "depth"));
    messages_clear(&messages);
    test_equal(control_call(control, json_pack("{s:s}", "do", "format"), NULL, &log_, &result), -EOPNOTSUPP);
    test_true(strstr(messages.first, "no operation 'format'"));
    control_close(control);
}

/* ---- What a holder says of itself ---- */

static int resize(struct control *control, uint64_t size)
{
    json_t *result = NULL;
    int err = control_call(control, json_pack("{s:s, s:I}", "do", "resize", "size", (json_int_t)size), NULL, &log_, &result);

    json_decref(result);
    return err;
}

static void told_of_sizes(void **state)
{
    struct control *control;

    (void)state;
    resizes = 0;
    test_ok(control_open(image, &control));
    test_ok(resize(control, 20 * MIB));
    test_equal(resizes, 1);
    test_ok(resize(control, 20 * MIB));
    test_equal(resize(control, 10 * MIB), -EINVAL);
    test_equal(resizes, 1);
    control_close(control);
}

static int snapshot(struct control *control, const char *child)
{
    json_t *result = NULL;
    int err = control_call(control, json_pack("{s:s, s:s}", "do", "snapshot", "child", child), NULL, &log_, &result);

    json_decref(result);
    return err;
}

static void directories(void **state)
{
    const char *const inside[] = {"/absent", realpath(dir, NULL), NULL}, *const anywhere[] = {"/", NULL};
    struct control *control;
    char path[TEST_PATH + 64];

    (void)state;
    test_ok(control_open(image, &control));
    holder.allowed = inside;
    snprintf(path, sizeof(path), "%s/../child.vhdx", inside[1]);
    test_equal(snapshot(control, path), -EACCES);
    test_true(strstr(messages.first, "--allow"));
    test_equal(snapshot(control, "/child.vhdx"), -EACCES);
    snprintf(path, sizeof(path), "%sx/child.vhdx", inside[1]); /* begins like one that is allowed */
    *strrchr(path, '/') = '\0';
    test_ok(mkdir(path, 0700));
    strcat(path, "/child.vhdx");
    test_equal(snapshot(control, path), -EACCES);
    *strrchr(path, '/') = '\0';
    test_ok(rmdir(path));
    snprintf(path, sizeof(path), "%s/child.vhdx", inside[1]);
    test_ok(snapshot(control, path));
    control_close(control);
    test_ok(control_open(path, &control)); /* the top is the child now */
    holder.allowed = anywhere;
    snprintf(path, sizeof(path), "%s/grandchild.vhdx", inside[1]);
    test_ok(snapshot(control, path));
    holder.allowed = NULL;
    control_close(control);
    snprintf(image, sizeof(image), "%s", path);
    free((char *)inside[1]);
}

/* ---- Nobody else's ---- */

static void owner_only(void **state)
{
    const char *run = getenv("VDISK_RUNTIME_DIR");
    struct stat st;
    int fd;

    (void)state;
    test_ok(stat(run, &st));
    test_equal(st.st_mode & 0777, 0700);
    fd = place_connect(image, PLACE_DISK);
    test_ok(fd);
    close(fd);
    /* One that others may enter is not believed. */
    test_ok(chmod(run, 0755));
    test_equal(place_connect(image, PLACE_DISK), -ENOENT);
    test_equal(place_open_own(NULL), -EPERM);
    test_ok(chmod(run, 0700));
}

static void dead_sockets(void **state)
{
    char name[PLACE_NAME_MAX];
    struct stat st;
    int directory, fd;

    (void)state;
    test_ok(stat(image, &st));
    directory = place_open_own(NULL);
    test_ok(directory);
    place_name(&st, PLACE_DISK, place_lot(), name);
    fd = place_listen(directory, name);
    test_ok(fd);
    test_ok(faccessat(directory, name, F_OK, 0));
    close(fd); /* its name stays, as after a kill */
    for (int i = 0; i < 3; i++) {
        fd = place_connect(image, PLACE_DISK);
        test_ok(fd);
        close(fd);
    }
    control_server_close(server);
    server = NULL;
    test_equal(place_connect(image, PLACE_DISK), -ENOENT);
    test_true(faccessat(directory, name, F_OK, 0) < 0);
    close(directory);
}

/* A link, which might lead to anybody's socket, is not followed. */
static void link_refused(void **state)
{
    char name[PLACE_NAME_MAX], other[] = "elsewhere.0";
    struct stat st;
    int directory = place_open_own(NULL), fd;

    (void)state;
    control_server_close(server);
    server = NULL;
    test_ok(stat(image, &st));
    fd = place_listen(directory, other);
    test_ok(fd);
    place_name(&st, PLACE_DISK, 1, name);
    test_ok(symlinkat(other, directory, name));
    test_equal(place_connect(image, PLACE_DISK), -ENOENT);
    test_ok(unlinkat(directory, name, 0));
    test_ok(linkat(directory, other, directory, name, 0));
    test_ok(close(place_connect(image, PLACE_DISK)));
    test_ok(unlinkat(directory, name, 0));
    test_ok(unlinkat(directory, other, 0));
    close(fd);
    close(directory);
}

/* Who wants to stop does not wait for ever for a holder that says nothing. */
static void silence(void **state)
{
    static const volatile sig_atomic_t cancel = 1;
    const struct vdisk_progress progress = {.cancel = &cancel};
    int directory = place_open_own(NULL), fd;
    char name[PLACE_NAME_MAX];
    struct control *control;
    json_t *result;
    struct stat st;

    (void)state;
    control_server_close(server);
    server = NULL;
    test_ok(stat(image, &st));
    place_name(&st, PLACE_DISK, 1, name);
    fd = place_listen(directory, name);
    test_ok(fd);
    test_ok(control_open(image, &control));
    test_equal(control_call(control, json_pack("{s:s}", "do", "stats"), &progress, &log_, &result), -ECANCELED);
    control_close(control);
    test_ok(unlinkat(directory, name, 0));
    close(fd);
    close(directory);
}

/* ---- Ill will ---- */

static int raw_open(void)
{
    int fd = place_connect(image, PLACE_DISK);

    test_ok(fd);
    return fd;
}

/* Sends what goes. False: the other side has let go. */
static bool raw_send(int fd, const void *bytes, size_t length)
{
    return send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Waits for a line that has text in it; false: the connection ended without. */
static bool raw_expect(int fd, const char *text)
{
    char line[4096];
    size_t length = 0;

    while (length < sizeof(line) - 1) {
        struct pollfd what = {.fd = fd, .events = POLLIN};

        if (poll(&what, 1, 10000) <= 0 || recv(fd, line + length, 1, 0) <= 0)
            return false;
        if (line[length++] != '\n')
            continue;
        line[length] = '\0';
        if (strstr(line, text))
            return true;
        length = 0;
    }
    return false;
}

static void alive(void)
{
    struct control *control;

    test_ok(control_open(image, &control));
    json_decref(ask(control, json_pack("{s:s}", "do", "info")));
    control_close(control);
}

static void nonsense(void **state)
{
    static const char *const lines[] = {
        "", "nonsense", "[]", "7", "{", "{}", "{\"version\":1}", "{\"version\":2,\"do\":\"info\"}",
        "{\"version\":\"1\",\"do\":\"info\"}", "{\"version\":1,\"do\":7}", "{\"version\":1,\"do\":\"info\",\"do\":\"info\"}",
        "{\"version\":1,\"do\":\"info\",\"chain\":7}", "{\"version\":1,\"do\":\"\xff\xfe\"}",
    };
    int fd = raw_open();

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        test_true(raw_send(fd, lines[i], strlen(lines[i])) && raw_send(fd, "\n", 1));
        test_true(raw_expect(fd, "\"error\""));
    }
    test_true(raw_send(fd, "{\"do\":\"cancel\"}\n{\"version\":1,\"id\":[9],\"do\":\"info\"}\n", 52));
    test_true(raw_expect(fd, "\"id\":[9]"));
    close(fd);
    alive();
}

static void long_and_deep(void **state)
{
    size_t length = 4 * CONTROL_REQUEST_MAX;
    char *bytes = malloc(length);
    int fd = raw_open();

    (void)state;
    memset(bytes, 'x', length);
    if (raw_send(fd, bytes, length))
        test_true(!raw_expect(fd, "result"));
    close(fd);
    fd = raw_open();
    memset(bytes, '[', CONTROL_REQUEST_MAX);
    bytes[CONTROL_REQUEST_MAX - 1] = '\n';
    test_true(raw_send(fd, bytes, CONTROL_REQUEST_MAX));
    test_true(raw_expect(fd, "depth"));
    close(fd);
    free(bytes);
    alive();
}

static void many_clients(void **state)
{
    int fd[CONTROL_CLIENTS + 1];

    (void)state;
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
        fd[i] = raw_open();
        test_true(raw_send(fd[i], "{\"version\":1,\"do\":\"info\"}\n", 26));
        test_true(raw_expect(fd[i], "result"));
    }
    fd[CONTROL_CLIENTS] = raw_open();
    test_true(raw_expect(fd[CONTROL_CLIENTS], "too many clients"));
    for (unsigned i = 0; i <= CONTROL_CLIENTS; i++)
        close(fd[i]);
    for (int i = 0; i < 50; i++) { /* and who goes in the middle of a word */
        int one = raw_open();

        raw_send(one, "{\"version\":1,\"do\":\"info\"}\n{\"vers", i % 32);
        close(one);
    }
    usleep(100000);
    alive();
}

/* Asks and never reads: it is let go when too much has come together. What it sends comes back with each reply. */
static void never_reads(void **state)
{
    const size_t size = CONTROL_REQUEST_MAX / 2;
    char *line = malloc(size);
    int fd = raw_open(), length = snprintf(line, size, "{\"version\":1,\"do\":\"stats\",\"id\":\"");

    (void)state;
    memset(line + length, 'x', size - (size_t)length);
    memcpy(line + size - 3, "\"}\n", 3);
    for (unsigned i = 0; i < 2 * CONTROL_REPLY_MAX / size && raw_send(fd, line, size); i++)
        ;
    test_true(!raw_send(fd, line, size));
    close(fd);
    free(line);
    alive();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers, hold, release),
        cmocka_unit_test_setup_teardown(refuses, hold, release),
        cmocka_unit_test_setup_teardown(told_of_sizes, hold, release),
        cmocka_unit_test_setup_teardown(directories, hold, release),
        cmocka_unit_test_setup_teardown(owner_only, hold, release),
        cmocka_unit_test_setup_teardown(dead_sockets, hold, release),
        cmocka_unit_test_setup_teardown(link_refused, hold, release),
        cmocka_unit_test_setup_teardown(silence, hold, release),
        cmocka_unit_test_setup_teardown(nonsense, hold, release),
        cmocka_unit_test_setup_teardown(long_and_deep, hold, release),
        cmocka_unit_test_setup_teardown(many_clients, hold, release),
        cmocka_unit_test_setup_teardown(never_reads, hold, release),
    };

    scratch_make(dir, true);
    setenv("VDISK_RUNTIME_DIR", scratch_path(dir, "run"), 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
