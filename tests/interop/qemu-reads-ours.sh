#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What vdisk writes, QEMU reads alike: fixed and dynamic, both formats, several block sizes, after random writes; and
# `qemu-img check` finds nothing.
. "$(dirname "$0")/../lib.sh"
need qemu-img

M=$((1 << 20))
agree() { # FORMAT-OF-QEMU FILE
    status 0 qemu-img compare -f "$1" -F raw "$2" ref.raw
    [ "$1" != vhdx ] || status 0 qemu-img check -f vhdx "$2"
    clean "$2"
}
try() { # FILE OPTION...
    local f=$1 format=vpc
    case $f in *.vhdx) format=vhdx ;; esac
    raw ref.raw $((23 * M + 512))
    quietly create "$f" --size $((23 * M + 512)) "${@:2}"
    agree $format "$f"
    scatter "$f" ref.raw 12 $((n + 1))
    holds "$f" ref.raw
    agree $format "$f"
    # in one go, and once more over it
    quietly convert ref.raw "$f" --force "${@:2}"
    agree $format "$f"
    scatter "$f" ref.raw 6 $((n + 100))
    agree $format "$f"
    rm -f "$f"
    n=$((n + 1))
}
n=0
try a.vhd
try b.vhd --block-size 512K
try c.vhd --type fixed
try a.vhdx
try b.vhdx --block-size 1M
try c.vhdx --block-size 2M
try d.vhdx --block-size 8M
try e.vhdx --block-size 1M --type fixed
echo "$n kinds"
