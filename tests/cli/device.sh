#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A block device is a raw disk; one that is mounted, or that another has open for writing, is not written to.
. "$(dirname "$0")/../lib.sh"
need losetup mke2fs
[ "$(id -u)" -eq 0 ] || skip "only root has block devices"

raw fs.raw 16M
mke2fs -q -t ext2 fs.raw
device=$(losetup -f --show fs.raw 2>/dev/null) || skip "no loop device"
trap 'losetup -d "$device"; cleanup' EXIT
holds "$device" fs.raw
random_bytes 100000 1 | quietly write "$device" --offset 5M
sync "$device"
cmp <(part fs.raw 5242880 100000) <(random_bytes 100000 1) || fail "not written"

mkdir m
mount -o ro "$device" m || skip "cannot mount"
mounts+=("$PWD/m")
sum=$(sha_of "$device")
refused "$device: cannot open for writing: is in use: it is mounted" vdisk write "$device"
refused "$device: cannot open for writing: is in use: it is mounted" vdisk compact "$device"
holds "$device" "$device" # reading is everybody's
umount m
unset 'mounts[-1]'

mkfifo input
"$VDISK" write "$device" --quiet <input &
exec 5>input
waits_for_pipe $!
refused "$device: cannot open for writing: is in use" vdisk write "$device"
exec 5>&-
wait $!
same "$(sha_of "$device")" "$sum" "the device"
