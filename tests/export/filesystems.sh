#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# File systems inside: made on the mounted disk, filled with a real tree, checked by their own tools; by a loop device and
# by vdisk mount --fs.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported
root_and_loop

tree=/usr/include/linux
[ -d $tree/usb ] || skip "no $tree"
sums() {
    (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
}
want=$(sums $tree)
done_any=

# try FORMAT TYPE MKFS FSCK...
try() {
    local format=$1 type=$2 mkfs=$3
    command -v "${mkfs%% *}" >/dev/null && command -v "$4" >/dev/null || { echo "no ${mkfs%% *} or $4"; return 0; }
    [ "$type" = ntfs ] || grep -qw "$type" /proc/filesystems || { echo "this kernel has no $type"; return 0; }
    [ "$type" != ntfs ] || command -v ntfs-3g >/dev/null || { echo "no ntfs-3g"; return 0; }
    quietly create disk.$format --size 600M --force
    attach disk.$format m
    $mkfs m/disk >mkfs.log 2>&1 || fail "$mkfs: $(cat mkfs.log)"
    mkdir -p inside
    if [ "$type" = ntfs ]; then ntfs-3g m/disk inside; else mount -o loop m/disk inside; fi
    mounts+=("$PWD/inside")
    cp -r $tree inside/tree
    rm -rf inside/tree/usb
    cp -r $tree/usb inside/tree/
    umount inside
    unset 'mounts[-1]'
    for ((i = 0; i < 50; i++)); do # ntfs-3g ends later than umount
        "${@:4}" m/disk >fsck.log 2>&1 && break
        sleep 0.1
    done
    "${@:4}" m/disk >fsck.log 2>&1 || fail "$*: $(tail -n 20 fsck.log)"
    detach m
    sound disk.$format
    attach disk.$format m --fs --read-only
    same "$(sums m/fs/tree)" "$want" "the tree on $type in $format"
    detach m
    attach disk.$format m --fs
    rm -rf m/fs/tree/usb
    echo hello >m/fs/file
    detach m
    attach disk.$format m
    "${@:4}" m/disk >fsck.log 2>&1 || fail "$*: $(tail -n 20 fsck.log)"
    detach m
    sound disk.$format
    done_any=yes
}

try vhdx ext4 "mkfs.ext4 -q -F" e2fsck -f -n
try vhd xfs "mkfs.xfs -q -f" xfs_repair -n -f
try vhdx btrfs "mkfs.btrfs -q -f" btrfs check --force
try vhd ntfs "mkntfs -q -F -f" ntfsfix -n
[ -n "$done_any" ] || skip "no file system could be tried"
