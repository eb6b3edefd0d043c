#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Every test of tests/vm/inner/ in one start of the testbed, but for boot.sh, which starts Linux in every way, from every bus,
# with one and with two processors: with VM_FULL=1 (make check-vm, 15 minutes).
. "$(dirname "$0")/../lib.sh"
need qemu-system-x86_64 mmdebstrap
[ "$(id -u)" -eq 0 ] || skip "not root: the testbed's image cannot be made"
[ -x "$BUILD/hv" ] || skip "hv is not in this build"
nm -D "$BUILD/vdisk" | grep -q '__asan_init\|__tsan_init' && skip "instrumented programs do not run in the testbed"
scripts=() timeout=800
for script in "$SRC"/tests/vm/inner/*.sh; do
    [ "${script##*/}" = boot.sh ] && [ -z "${VM_FULL:-}" ] || scripts+=("$script")
done
[ -z "${VM_FULL:-}" ] || timeout=3500
"$SRC/tests/vm/testbed/testbed.sh" run --guest --timeout $timeout "${scripts[@]}"
