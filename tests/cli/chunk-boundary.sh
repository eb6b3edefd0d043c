#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Past the first chunk of a VHDX: its sector-bitmap entry stands between the payload entries. 4 GiB with 512-byte sectors,
# 32 GiB with 4096-byte ones, whatever the block size.
. "$(dirname "$0")/../lib.sh"
need qemu-img jq

try() { # SECTOR BLOCK
    local chunk=$((8388608 * $1)) size i=0
    size=$((2 * chunk + 5 * 1048576))
    raw ref.raw $size
    quietly create a.vhdx --size $size --sector-size "$1" --block-size "$2" --force
    for at in 0 $((chunk - 300000)) $((chunk + 700000)) $((2 * chunk - 100)) $((2 * chunk + 3000000)) $((size - 4096)); do
        i=$((i + 1))
        put a.vhdx $at 4096 $i ref.raw
    done
    sound a.vhdx
    vdisk compare a.vhdx ref.raw >/dev/null
    [ "$1" != 512 ] || qemu-img compare -f vhdx -F raw a.vhdx ref.raw >/dev/null || fail "qemu-img reads other bytes"

    # and a child, whose bitmaps are behind the same entries
    rm -f kid.vhdx
    quietly create kid.vhdx --parent a.vhdx --block-size "$2"
    for at in 512 $((chunk - 200000)) $((chunk + 800000)) $((2 * chunk - 50)) $((2 * chunk + 3001000)); do
        i=$((i + 1))
        put kid.vhdx $at 2048 $i ref.raw
    done
    sound kid.vhdx
    vdisk compare kid.vhdx ref.raw >/dev/null
}
try 512 1M
try 512 32M
try 4096 1M
