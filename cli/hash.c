/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdisk hash: the SHA-256 of what a guest would read. OpenSSL is loaded when it is needed: a process that is linked with
 * it takes 1.6 MiB more, whatever it does.
 */
#include <dlfcn.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/opensslv.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_option options[] = {
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

#define TEXT_OF(value) #value
#define NAME_OF(version) "libcrypto.so." TEXT_OF(version)
#define LIBCRYPTO NAME_OF(OPENSSL_SHLIB_VERSION)

static struct {
    __typeof__(EVP_MD_CTX_new) *make;
    __typeof__(EVP_MD_CTX_free) *free;
    __typeof__(EVP_sha256) *sha256;
    __typeof__(EVP_DigestInit_ex) *begin;
    __typeof__(EVP_DigestUpdate) *add;
    __typeof__(EVP_DigestFinal_ex) *end;
} evp;

/* NULL, or what is wrong. */
static const char *evp_load(void)
{
    const struct {
        void *function; /* a pointer to a pointer to it */
        const char *name;
    } wanted[] = {
        {&evp.make, "EVP_MD_CTX_new"},     {&evp.free, "EVP_MD_CTX_free"}, {&evp.sha256, "EVP_sha256"},
        {&evp.begin, "EVP_DigestInit_ex"}, {&evp.add, "EVP_DigestUpdate"}, {&evp.end, "EVP_DigestFinal_ex"},
    };
    void *library = dlopen(LIBCRYPTO, RTLD_LAZY | RTLD_LOCAL);

    for (size_t i = 0; library && i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        void *function = dlsym(library, wanted[i].name);

        if (!function)
            return dlerror();
        memcpy(wanted[i].function, &function, sizeof(function));
    }
    return library ? NULL : dlerror();
}

/* What the map knows to be zero is hashed from here, not read. */
static const uint8_t zeros[1 << 20];

static int digest_add(void *arg, const void *data, uint64_t length)
{
    EVP_MD_CTX *digest = arg;

    while (length > 0) {
        uint64_t part = data || length < sizeof(zeros) ? length : sizeof(zeros);
        if (evp.add(digest, data ? data : zeros, part) != 1)
            return -EIO;
        length -= part;
    }
    return 0;
}

static int hash(struct cli *cli, struct vdisk *disk, unsigned char sum[EVP_MAX_MD_SIZE], unsigned *length)
{
    struct vdisk_progress progress;
    EVP_MD_CTX *digest = evp.make();
    int err = digest && evp.begin(digest, evp.sha256(), NULL) == 1 ? 0 : -ENOMEM;

    cli_say_backend(cli);
    cli_progress_begin(cli, &progress);
    if (err == 0)
        err = cli_stream(disk, 0, vdisk_size(disk), &progress, digest_add, digest);
    cli_progress_end(cli);
    if (err == 0 && evp.end(digest, sum, length) != 1)
        err = -EIO;
    evp.free(digest);
    return err;
}

static int run(struct cli *cli, char **operand)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    const char *missing = evp_load();
    unsigned length = 0;
    struct vdisk *disk;
    int err;

    if (missing)
        return cli_fail(cli, "OpenSSL cannot be used: %s", missing);
    err = cli_open(cli, operand[0], 0, &disk);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    err = hash(cli, disk, sum, &length);
    vdisk_close(disk);
    if (err < 0)
        return cli_error(cli, operand[0], err);
    for (unsigned i = 0; i < length; i++)
        printf("%02x", sum[i]);
    fputs("  ", stdout);
    cli_put_text(stdout, operand[0]);
    putchar('\n');
    return EXIT_SUCCESS;
}

const struct cli_command cli_hash = {
    .name = "hash",
    .summary = "print the SHA-256 of a disk's content",
    .operands = "FILE",
    .description =
        "Print the SHA-256 of what a guest would read from the disk, through the chain, as sha256sum prints it.\n"
        "The same content has the same sum in every format.",
    .examples = "vdisk hash disk.vhdx\n"
                "vdisk hash child.vhd --parent-dir /srv/parents",
    .options = options,
    .operand_count = 1,
    .failure = EXIT_FAILURE,
    .run = run,
};
