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

# known TYPE: to this kernel.
known() {
    modprobe -q "$1" 2>/dev/null || true
    grep -qw "$1" /proc/filesystems
}

# try FORMAT TYPE MKFS FSCK...
try() {
    local format=$1 type=$2 mkfs=$3
    command -v "${mkfs%% *}" >/dev/null && command -v "$4" >/dev/null || { echo "no ${mkfs%% *} or $4"; return 0; }
    [ "$type" = ntfs ] || known "$type" || { echo "this kernel has no $type"; return 0; }
    [ "$type" != ntfs ] || command -v ntfs-3g >/dev/null || { echo "no ntfs-3g"; return 0; }
    quietly create disk.$format --size 600M --force
    attach disk.$format m
    $mkfs m/disk >mkfs.log 2>&1 || fail "$mkfs: $(cat mkfs.log)"
    mkdir -p inside
    if [ "$type" = ntfs ]; then ntfs_mount m/disk inside; else
        mount -o loop m/disk inside
        mounts+=("$PWD/inside")
    fi
    cp -r $tree inside/tree
    rm -rf inside/tree/usb
    cp -r $tree/usb inside/tree/
    if [ "$type" = ntfs ]; then ntfs_umount inside; else
        umount inside
        unset 'mounts[-1]'
    fi
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

# by_mtools FORMAT: FAT without the kernel, whose mount --fs then leaves nothing mounted.
by_mtools() {
    local image=disk.$1
    command -v mkfs.vfat >/dev/null && command -v mcopy >/dev/null || { echo "no mkfs.vfat or mcopy"; return 0; }
    quietly create "$image" --size 600M --force
    attach "$image" m
    mkfs.vfat -F 32 m/disk >mkfs.log 2>&1 || fail "mkfs.vfat: $(cat mkfs.log)"
    cp -r $tree tree
    mcopy -s -Q -i m/disk tree ::
    mdeltree -i m/disk ::/tree/usb
    mcopy -s -Q -i m/disk tree/usb ::/tree
    rm -r tree
    fsck.fat -n m/disk >fsck.log || fail "fsck.fat: $(cat fsck.log)"
    detach m
    sound "$image"
    status 1 vdisk mount "$image" m --fs
    grep -q 'no file system of the disk could be mounted' err || fail "$(cat err)"
    attach "$image" m --read-only
    fsck.fat -n m/disk >fsck.log || fail "fsck.fat: $(cat fsck.log)"
    mcopy -s -Q -i m/disk ::/tree .
    same "$(sums tree)" "$want" "the tree on FAT in $1"
    rm -r tree
    detach m
    done_any=yes
}

try vhdx ext4 "mkfs.ext4 -q -F" e2fsck -f -n
try vhd xfs "mkfs.xfs -q -f" xfs_repair -n -f
try vhdx btrfs "mkfs.btrfs -q -f" btrfs check --force
try vhd ntfs "mkntfs -q -F -f" ntfsfix -n
cp -r $tree plain # to FAT names are the same that differ in case only
find plain | sort | awk 'seen[tolower($0)]++' | xargs -r -d '\n' rm -rf
tree=$PWD/plain want=$(sums plain)
if known vfat; then try vhdx vfat "mkfs.vfat -F 32" fsck.fat -n; else by_mtools vhdx; fi
[ -n "$done_any" ] || skip "no file system could be tried"
