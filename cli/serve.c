/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk serve: starts nbdkit with our plugin on a Unix socket. The image is opened here first, and closed again, so that
 * what is wrong with it is said as every command says it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/export.h"

#define PID_TEXT_MAX 16 /* bytes */
#define WORDS_MAX (32 + CLI_PARENTS_MAX)

static struct {
    const char *socket, *pid_file;
    bool read_only, foreground;
} given;

static const struct cli_option options[] = {
    {"socket", CLI_TEXT, "PATH", &given.socket, "the Unix socket; otherwise FILE.sock"},
    {"read-only", CLI_FLAG, NULL, &given.read_only, "nothing can be written; others may read the image meanwhile"},
    {"pid-file", CLI_TEXT, "PATH", &given.pid_file, "write the server's process number there"},
    {"foreground", CLI_FLAG, NULL, &given.foreground, "stay until a signal ends it"},
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

struct words {
    const char **word;
    unsigned count;
};

static void add(struct words *words, const char *word)
{
    words->word[words->count++] = word;
}

static int add_key(struct words *words, const char *key, const char *value)
{
    char *word;

    if (asprintf(&word, "%s=%s", key, value) < 0)
        return -ENOMEM;
    add(words, word);
    return 0;
}

/* A socket that nobody listens on any more is removed; everything else that stands there is refused. */
static int socket_free(struct cli *cli, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat file;
    int fd, err;

    if (strlen(path) >= sizeof(address.sun_path))
        return cli_fail(cli, "%s: a socket's path has at most %zu bytes", path, sizeof(address.sun_path) - 1);
    if (lstat(path, &file) < 0)
        return 0;
    if (!S_ISSOCK(file.st_mode))
        return cli_fail(cli, "%s: exists and is not a socket", path);
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    err = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (err == ECONNREFUSED && unlink(path) == 0)
        return 0;
    return cli_fail(cli, "%s: %s", path, err ? strerror(err) : "somebody listens there already");
}

/* The image opens, as it will be opened. */
static int image_try(struct cli *cli, const char *path)
{
    struct vdisk *disk;
    int err = cli_open(cli, path, given.read_only ? 0 : VDISK_OPEN_WRITE, &disk);

    if (err == 0)
        err = vdisk_close(disk);
    return err < 0 ? cli_error(cli, path, err) : 0;
}

static int words_make(struct cli *cli, struct words *words, const char *image, const char *plugin)
{
    int err = 0;

    add(words, "nbdkit");
    add(words, "--unix");
    add(words, given.socket);
    if (given.read_only)
        add(words, "--readonly");
    if (given.foreground)
        add(words, "--foreground");
    if (cli->verbose)
        add(words, "--verbose");
    if (given.pid_file) {
        add(words, "--pidfile");
        add(words, given.pid_file);
    }
    for (char **word = cli->rest; *word; word++)
        add(words, *word);
    add(words, plugin);
    err |= add_key(words, "file", image);
    if (given.read_only)
        add(words, "readonly=true");
    if (cli->input_format)
        err |= add_key(words, "format", cli->input_format);
    if (cli->parent_dir)
        err |= add_key(words, "parent-dir", cli->parent_dir);
    for (unsigned i = 0; i < cli->map_count; i++)
        err |= add_key(words, "parent-map", cli->parent_map[i]);
    for (unsigned i = 0; i < cli->parent_count; i++)
        err |= add_key(words, "parent", cli->parents[i]);
    add(words, NULL);
    return err;
}

/* Where clients find it: what is not plain in a path is written as %XX. */
static void uri_print(const char *path)
{
    char *whole = path[0] == '/' ? NULL : getcwd(NULL, 0);

    printf("nbd+unix:///?socket=");
    for (int part = whole ? 0 : 2; part < 3; part++) {
        const char *text = part == 0 ? whole : part == 1 ? "/" : path;

        for (; *text; text++) {
            bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                         (*text >= '0' && *text <= '9') || strchr("/-_.~", *text);
            printf(plain ? "%c" : "%%%02X", (unsigned char)*text);
        }
    }
    putchar('\n');
    free(whole);
}

/* A former server's number is taken away; what is longer is something else, and not ours to overwrite. */
static int pid_file_free(struct cli *cli, const char *path)
{
    struct stat file;

    if (lstat(path, &file) < 0)
        return 0;
    if (!S_ISREG(file.st_mode) || file.st_size > PID_TEXT_MAX)
        return cli_fail(cli, "%s: exists and is not the file of a process number", path);
    return unlink(path) < 0 ? cli_error(cli, path, -errno) : 0;
}

/* nbdkit listens, goes to the background, and only then writes its number, which is what scripts look for next: waits
 * until it is there. */
static bool pid_written(const char *path)
{
    const struct timespec nap = {.tv_nsec = 10000000};
    char text[PID_TEXT_MAX];

    for (int i = 0; i < 1000; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text));

        if (fd >= 0)
            close(fd);
        if (length > 0 && text[length - 1] == '\n')
            return true;
        nanosleep(&nap, NULL);
    }
    return false;
}

/* Becomes the command; with a file for its number, waits for both. The exit status. */
static int become(struct cli *cli, char *const *word)
{
    pid_t child = 0, parent = getpid();
    int status;

    if (given.pid_file && !given.foreground) {
        child = fork();
        if (child < 0)
            return cli_error(cli, "fork", -errno);
        if (child > 0) {
            if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
                return cli_fail(cli, "nbdkit was ended by a signal");
            if (WEXITSTATUS(status) == 0 && !pid_written(given.pid_file))
                return cli_fail(cli, "%s: the server has not written its process number", given.pid_file);
            return WEXITSTATUS(status);
        }
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* not the server's: it is a child of this one */
        if (getppid() != parent)
            _exit(EXIT_FAILURE);
    }
    execvp(word[0], word);
    status = cli_fail(cli, "nbdkit: %s", errno == ENOENT ? "is not installed" : strerror(errno));
    if (given.pid_file && !given.foreground)
        _exit(status);
    return status;
}

static int run(struct cli *cli, char **operand)
{
    char plugin[PATH_MAX], *beside;
    struct words words = {0};
    unsigned rest = 0;
    int status;

    if (cli_find_nbd(plugin) < 0)
        return cli_fail(cli, "the plugin for nbdkit is not installed: it is made where nbdkit is (make deps)");
    if (asprintf(&beside, "%s.sock", operand[0]) < 0)
        return cli_error(cli, operand[0], -ENOMEM);
    if (!given.socket)
        given.socket = beside;
    while (cli->rest[rest])
        rest++;
    words.word = calloc(WORDS_MAX + rest, sizeof(*words.word));
    status = socket_free(cli, given.socket);
    if (status == 0)
        status = image_try(cli, operand[0]);
    if (status == 0 && given.pid_file)
        status = pid_file_free(cli, given.pid_file);
    if (status == 0 && (!words.word || words_make(cli, &words, operand[0], plugin) < 0))
        status = cli_error(cli, operand[0], -ENOMEM);
    if (status != 0)
        return status;
    if (!cli->quiet)
        uri_print(given.socket);
    fflush(stdout);
    umask(077); /* the socket is its owner's */
    return become(cli, (char *const *)words.word);
}

const struct cli_command cli_serve = {
    .name = "serve",
    .summary = "serve a disk over NBD",
    .operands = "FILE [-- NBDKIT-OPTION...]",
    .description = "Serve a disk over NBD on a Unix socket that only its owner may use, by nbdkit. Prints where clients find\n"
                   "it and returns when they can; SIGTERM ends the server, everything durable and the image closed.\n"
                   "Options after -- are nbdkit's: TLS, filters, limits.",
    .examples = "vdisk serve disk.vhdx --socket /run/disk.sock --pid-file /run/disk.pid\n"
                "nbdcopy 'nbd+unix:///?socket=/run/disk.sock' copy.raw\n"
                "vdisk serve disk.vhdx --read-only -- --run 'nbdinfo \"$uri\"'",
    .options = options,
    .operand_count = 1,
    .rest = true,
    .failure = EXIT_FAILURE,
    .run = run,
};
