/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the C tests share: a seeded generator, a collector of the library's messages, a scratch directory that goes
 * away, and the fingerprint of a file.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vdisk.h"

#define TEST_SKIP 77
#define TEST_PATH 512

/* Says what is wrong and ends the test by abort. */
void test_fail_at(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
#define test_fail(...) test_fail_at(__FILE__, __LINE__, __VA_ARGS__)

#define test_true(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            test_fail("not true: %s", #condition);                                                                     \
    } while (0)

/* The expression is 0 or more, else the test ends with the error's name. */
#define test_ok(expression)                                                                                            \
    do {                                                                                                               \
        long long test_result = (long long)(expression);                                                               \
        if (test_result < 0)                                                                                           \
            test_fail("%s: %s", #expression, strerror((int)-test_result));                                             \
    } while (0)

#define test_equal(a, b)                                                                                               \
    do {                                                                                                               \
        long long test_a = (long long)(a), test_b = (long long)(b);                                                    \
        if (test_a != test_b)                                                                                          \
            test_fail("%s is %lld (%#llx), not %lld (%#llx)", #a, test_a, test_a, test_b, test_b);                     \
    } while (0)

/* A generator that gives the same numbers from the same seed everywhere. */
struct rng {
    uint64_t state;
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);                   /* 56 bits */
uint64_t rng_below(struct rng *rng, uint64_t below);  /* in [0, below) */

/* Counts what the library says and keeps the first error and all faults' text. Any thread. */
struct messages {
    pthread_mutex_t lock;
    unsigned count[3]; /* by enum vdisk_level */
    unsigned faults, leaks;
    char first[1024]; /* the first error */
    char fault[1024]; /* the first fault, "code: text" */
    bool echo;        /* errors, warnings and faults go to stderr too */
};

#define MESSAGES_INIT {.lock = PTHREAD_MUTEX_INITIALIZER}

struct vdisk_log messages_log(struct messages *messages);
void messages_fault(void *arg, const struct vdisk_fault *fault); /* a vdisk_fault_fn; arg is the messages */
void messages_clear(struct messages *messages);

/* Runs a test in a few processes (the environment says how many; 2). Each counts into count numbers of its own, at most
 * 16, which come together in counts. False: one of them failed. */
typedef void process_fn(unsigned number, unsigned of, uint64_t *counts);
bool processes_run(const char *variable, process_fn *run, uint64_t *counts, size_t count);

/* A number from the environment, or the default. */
uint64_t test_number(const char *name, uint64_t otherwise);

/* path has room for TEST_PATH bytes. fast: on tmpfs where there is one. The caller goes on in a child process, so that
 * the directory goes away however the test ends; TEST_KEEP in the environment keeps it, and the process. */
void scratch_make(char *path, bool fast);

/* dir + "/" + name, in one of a few buffers of the thread. */
const char *scratch_path(const char *dir, const char *name);

/* The file that will be path: path, or the temporary of a disk that is not yet committed. */
const char *scratch_standing(const char *path);

/* Of the file's size and bytes, whatever its holes. */
uint64_t file_fingerprint(const char *path);

/* Copies data, keeps holes. */
void file_copy(const char *from, const char *to);

#endif
