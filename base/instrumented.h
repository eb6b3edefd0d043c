/* SPDX-License-Identifier: BSD-2-Clause */
/* INSTRUMENTED: whether a sanitizer is in the build, which needs more memory, and more system calls, than the program. gcc
 * and clang say so differently. */
#ifndef BASE_INSTRUMENTED_H
#define BASE_INSTRUMENTED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED 1
#endif
#endif
#ifndef INSTRUMENTED
#define INSTRUMENTED 0
#endif

#endif
