#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The tests of tests/vm/inner/: on this machine if its KVM runs Linux, else in one start of the testbed. VM_FULL=1 (make
# check-vm, half an hour in the testbed): devices.sh, login.sh and boot.sh, too, in which Linux starts in every way, from every bus, with
# one and with two processors; VM_WAYS="seabios:ide:1 ...": in these.
. "$(dirname "$0")/../lib.sh"
need qemu-system-x86_64 mmdebstrap
[ "$(id -u)" -eq 0 ] || skip "not root: the testbed's image cannot be made"
[ -x "$BUILD/hv" ] || skip "hv is not in this build"
nm -D "$BUILD/vdisk" | grep -q '__asan_init\|__tsan_init' && skip "instrumented programs do not run in the testbed"

# Whether Linux comes up to where it starts its init. Here can also be a /dev/kvm that runs no more than guests of our own.
plain_kvm() {
    local image
    image=$("$SRC/tests/vm/testbed/testbed.sh" image)
    [ -w /dev/kvm ] || return
    timeout -s KILL 10 "$BUILD/hv" run --kernel "$image/vmlinuz" --initrd "$image/initrd.small" --memory 256M --nic none --no-reboot \
        --append 'console=ttyS0 panic=-1 rdinit=/bin/busybox' </dev/null >probe 2>&1 || true
    grep 'as init process' probe >/dev/null
}

where=run
! plain_kvm || where=here
scripts=("$SRC"/tests/vm/inner/{kvm,killed,work}.sh) timeout=800
if [ -n "${VM_FULL:-}" ]; then
    scripts=("$SRC"/tests/vm/inner/*.sh) timeout=3500
    echo "${VM_WAYS:-$(echo {kernel,seabios}:{virtio,scsi,ide}:{1,2})}" >ways
    set -- --file "$PWD/ways"
fi
"$SRC/tests/vm/testbed/testbed.sh" $where --guest --timeout $timeout "$@" "${scripts[@]}"
