/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writers of parts of the same sectors, over a mount: each thread owns some bytes of every sector of a small area and
 * writes them, unaligned and across sectors' ends, while others write whole sectors of their own in between. What each
 * wrote last is there in the end. A build whose ranges are not locked (MUTANT "range-not-locked") loses some.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define SECTORS 24u
#define THREADS 8u
#define PART (SECTOR / THREADS)
#define ROUNDS 3000

struct writer {
    pthread_t thread;
    unsigned number;
    int fd;
    int error;
    uint8_t last[SECTORS]; /* what it wrote last into its part of each sector */
};

static void *write_parts(void *arg)
{
    struct writer *w = arg;
    unsigned seed = w->number * 7919 + 1;
    uint8_t part[PART];

    for (int i = 0; i < ROUNDS; i++) {
        unsigned sector = (unsigned)rand_r(&seed) % SECTORS;

        w->last[sector] = (uint8_t)rand_r(&seed);
        memset(part, w->last[sector], sizeof(part));
        if (pwrite(w->fd, part, sizeof(part), sector * SECTOR + w->number * PART) != sizeof(part))
            w->error = errno ? errno : EIO;
    }
    return NULL;
}

/* A sector behind the area belongs to one thread: aligned writes run beside the others. */
static void *write_whole(void *arg)
{
    struct writer *w = arg;
    uint8_t sector[SECTOR];

    for (int i = 0; i < ROUNDS; i++) {
        memset(sector, i, sizeof(sector));
        if (pwrite(w->fd, sector, sizeof(sector), SECTORS * SECTOR) != sizeof(sector))
            w->error = errno ? errno : EIO;
    }
    w->last[0] = (uint8_t)(ROUNDS - 1);
    return NULL;
}

static int verify(const struct writer *writer, int fd)
{
    static uint8_t area[(SECTORS + 1) * SECTOR];
    int wrong = 0;

    if (pread(fd, area, sizeof(area), 0) != sizeof(area))
        return 1;
    for (unsigned i = 0; i < SECTORS * SECTOR; i++)
        wrong += area[i] != writer[i % SECTOR / PART].last[i / SECTOR];
    for (unsigned i = 0; i < SECTOR; i++)
        wrong += area[SECTORS * SECTOR + i] != writer[THREADS].last[0];
    if (wrong)
        fprintf(stderr, "%d bytes are not what was written last\n", wrong);
    for (unsigned i = 0; i <= THREADS; i++)
        wrong += writer[i].error != 0;
    return wrong;
}

static int run(const char *command)
{
    char line[4096];
    const char *program = getenv("VDISK");

    snprintf(line, sizeof(line), "'%s' %s", program ? program : "build/vdisk", command);
    return system(line) == 0 ? 0 : -1;
}

int main(void)
{
    static struct writer writer[THREADS + 1];
    const char *build = getenv("BUILD");
    char helper[4096];
    int fd, wrong = 1;

    snprintf(helper, sizeof(helper), "%s/vdisk-fuse", build ? build : "build");
    if (access(helper, X_OK) < 0 || access("/dev/fuse", W_OK) < 0) {
        puts("no vdisk-fuse in this build, or no /dev/fuse");
        return 77;
    }
    if (run("create parts.vhdx --size 16M --block-size 1M --quiet") < 0 || mkdir("m", 0700) < 0 ||
        run("mount parts.vhdx m") < 0)
        return 1;
    fd = open("m/disk", O_RDWR);
    for (unsigned i = 0; fd >= 0 && i <= THREADS; i++) {
        writer[i].number = i;
        writer[i].fd = fd;
        if (pthread_create(&writer[i].thread, NULL, i < THREADS ? write_parts : write_whole, &writer[i]))
            abort();
    }
    for (unsigned i = 0; fd >= 0 && i <= THREADS; i++)
        pthread_join(writer[i].thread, NULL);
    if (fd >= 0) {
        wrong = verify(writer, fd);
        close(fd);
    }
    if (run("umount m") < 0 || run("check parts.vhdx --quiet") < 0)
        return 1;
    return wrong ? 1 : 0;
}
