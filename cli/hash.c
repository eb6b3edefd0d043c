/* SPDX-License-Identifier: BSD-2-Clause */
/* vdisk hash: the SHA-256 of what a guest would read. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "cli/cli.h"

static const struct cli_option options[] = {
    {NULL, CLI_FLAG, NULL, NULL, NULL},
};

/* What the map knows to be zero is hashed from here, not read. */
static const uint8_t zeros[1 << 20];

static int digest_add(void *arg, const void *data, uint64_t length)
{
    EVP_MD_CTX *digest = arg;

    while (length > 0) {
        uint64_t part = data || length < sizeof(zeros) ? length : sizeof(zeros);
        if (EVP_DigestUpdate(digest, data ? data : zeros, part) != 1)
            return -EIO;
        length -= part;
    }
    return 0;
}

static int hash(struct cli *cli, struct vdisk *disk, unsigned char sum[EVP_MAX_MD_SIZE], unsigned *length)
{
    struct vdisk_progress progress;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    int err = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;

    cli_say_backend(cli);
    cli_progress_begin(cli, &progress);
    if (err == 0)
        err = cli_stream(disk, 0, vdisk_size(disk), &progress, digest_add, digest);
    cli_progress_end(cli);
    if (err == 0 && EVP_DigestFinal_ex(digest, sum, length) != 1)
        err = -EIO;
    EVP_MD_CTX_free(digest);
    return err;
}

static int run(struct cli *cli, char **operand)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    struct vdisk *disk;
    int err = cli_open(cli, operand[0], 0, &disk);

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
