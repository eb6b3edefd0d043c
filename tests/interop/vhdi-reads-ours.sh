#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What vdisk writes, libvhdi reads alike: fixed, dynamic and differencing, both formats, several block sizes; and
# of a child that was told that its parent has another name.
#
# Where libvhdi 20210425 is wrong about children (seen in its source and measured), and what is written here instead:
# - of a VHD's sector bitmap it takes every bit for set that follows a set one in the same byte (it shifts the byte and
#   forgets the mask): whole groups of eight sectors are written.
# - in a VHDX chunk without a sector bitmap block it takes the start of the file for the bitmap: children are compared
#   once there is one.
. "$(dirname "$0")/../lib.sh"
need vhdimount
[ -w /dev/fuse ] || skip "no /dev/fuse"

M=$((1 << 20))
SIZE=$((17 * M + 512))
agree() {
    holds "$1" ref.raw
    vhdi_agrees "$1" ref.raw
}
try() { # FILE OPTION...
    raw ref.raw $SIZE
    quietly create "$1" --size $SIZE "${@:2}"
    scatter "$1" ref.raw 8 $((seed + n))
    agree "$1"
    n=$((n + 1))
}
child() { # FILE PARENT OPTION...: on what ref.raw holds now
    quietly create "$1" --parent "$2" "${@:3}"
    case $1 in *.vhd) agree "$1" && grain=4096 ;; *) grain=1 ;; esac
    scatter "$1" ref.raw 8 $((seed + n + 50)) $grain
    agree "$1"
    n=$((n + 1))
}
n=0 seed=${SEED:-1}
for f in vhd vhdx; do
    try fixed.$f --type fixed
    child of-fixed.$f fixed.$f
    try dynamic.$f
    child kid.$f dynamic.$f
    child grandkid.$f kid.$f
    case $f in vhd) block=512K ;; *) block=1M ;; esac
    try small.$f --block-size $block
    child small-kid.$f small.$f --block-size $block
    mv small.$f renamed.$f
    quietly relink small-kid.$f --parent renamed.$f
    agree small-kid.$f
done
echo "$n disks"
