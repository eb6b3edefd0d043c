#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Every test of tests/vm/inner/, in one start of the testbed.
. "$(dirname "$0")/../lib.sh"
need qemu-system-x86_64 mmdebstrap
[ "$(id -u)" -eq 0 ] || skip "not root: the testbed's image cannot be made"
[ -x "$BUILD/hv" ] || skip "hv is not in this build"
nm -D "$BUILD/vdisk" | grep -q '__asan_init\|__tsan_init' && skip "instrumented programs do not run in the testbed"
"$SRC/tests/vm/testbed/testbed.sh" run --guest --timeout 800 "$SRC"/tests/vm/inner/*.sh
