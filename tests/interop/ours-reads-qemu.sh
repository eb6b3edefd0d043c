#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What QEMU writes, vdisk reads alike, and may write to.
. "$(dirname "$0")/../lib.sh"
need qemu-img qemu-io

M=$((1 << 20))
SIZE=$((20 * M))
qemu_writes() { # FORMAT FILE: the same writes into the image and into ref.raw
    local at
    for at in 0 512 $((2 * M - 4096)) $((5 * M)) $((SIZE - 65536)); do
        qemu-io -f "$1" -c "write -P $((at % 250 + 1)) $at 65536" "$2" >/dev/null
        qemu-io -f raw -c "write -P $((at % 250 + 1)) $at 65536" ref.raw >/dev/null
    done
}
try() { # FORMAT OPTIONS
    rm -f q."$1"
    qemu-img create -q -f "$1" -o "$2" q."$1" $SIZE
    # QEMU may have rounded the size to a geometry
    raw ref.raw "$(vdisk info q."$1" --json | jq '."virtual-size"')"
    same "$(qemu-img info -f "$1" --output json q."$1" | jq '."virtual-size"')" "$(size_of ref.raw)" "the size ($2)"
    qemu_writes "$1" q."$1"
    holds q."$1" ref.raw
    sound q."$1"
    scatter q."$1" ref.raw 6 3
    holds q."$1" ref.raw
    sound q."$1"
    status 0 qemu-img compare -f "$1" -F raw q."$1" ref.raw
    # and QEMU once more on top of ours
    qemu_writes "$1" q."$1"
    holds q."$1" ref.raw
    sound q."$1"
}
need jq
try vpc subformat=dynamic
try vpc subformat=dynamic,force_size=on
try vpc subformat=fixed
try vpc subformat=fixed,force_size=on
try vhdx subformat=dynamic
try vhdx subformat=dynamic,block_size=1M
try vhdx subformat=dynamic,block_size=2M,log_size=2M
try vhdx subformat=dynamic,block_state_zero=off
try vhdx subformat=fixed,block_size=1M
try vhdx subformat=fixed
