#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Every test of tests/vm/inner/, in one start of the testbed. With VM_FULL=1 (make check-vm, 15 minutes) Linux is started in every
# way, from every bus, with one and with two processors.
. "$(dirname "$0")/../lib.sh"
need qemu-system-x86_64 mmdebstrap
[ "$(id -u)" -eq 0 ] || skip "not root: the testbed's image cannot be made"
[ -x "$BUILD/hv" ] || skip "hv is not in this build"
nm -D "$BUILD/vdisk" | grep -q '__asan_init\|__tsan_init' && skip "instrumented programs do not run in the testbed"
given=() timeout=800
if [ -n "${VM_FULL:-}" ]; then
    : >full
    given=(--file "$PWD/full") timeout=3500
fi
"$SRC/tests/vm/testbed/testbed.sh" run --guest --timeout $timeout "${given[@]}" "$SRC"/tests/vm/inner/*.sh
