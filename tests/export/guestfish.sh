#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# guestfish works on a disk over NBD: its Linux makes a partition and a file system in it, copies a tree there, trims, and reads it
# all back; then so does this machine. Only where GUESTFISH is how to call it ("guestfish"): it brings a kernel and a hundred packages,
# and starts a virtual machine, which takes a minute where that is emulated.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
[ -n "${GUESTFISH:-}" ] || skip "GUESTFISH is not set: it starts a virtual machine, for a minute"
served
need jq
tree=/usr/include/linux
[ -d $tree/usb ] || skip "no $tree"

# fish COMMAND...: separated by ":".
fish() {
    # shellcheck disable=SC2086
    env LIBGUESTFS_BACKEND=direct timeout 900 $GUESTFISH --format=raw -a "nbd://?socket=$PWD/disk.vhdx.sock" run : "$@" </dev/null
}
tar -C $tree -cf tree.tar .
(cd $tree && find . -type f -exec sha256sum {} +) | sort -k2 >want

quietly create parent.vhdx --size 256M
quietly create disk.vhdx --parent parent.vhdx
before=$(sha_of parent.vhdx)
serve disk.vhdx
same "$(fish blockdev-getsize64 /dev/sda)" $((256 << 20)) "the size that a guest sees"
fish part-disk /dev/sda gpt : mkfs ext4 /dev/sda1 : mount /dev/sda1 / : tar-in "$PWD/tree.tar" / : mkdir /more : \
    tar-in "$PWD/tree.tar" /more : rm-rf /more : fstrim / : umount / : e2fsck-f /dev/sda1
fish mount-ro /dev/sda1 / : checksums-out sha256 / "$PWD/sums"
sort -k2 sums | grep -v lost+found | diff -q want - || fail "the tree reads otherwise"
unserve disk.vhdx
sound disk.vhdx
same "$(sha_of parent.vhdx)" "$before" "the parent"
if [ -x "$BUILD/vdisk-fuse" ] && [ -w /dev/fuse ] && [ "$(id -u)" -eq 0 ]; then
    attach disk.vhdx m --fs --read-only
    (cd m/fs1 && find . -type f -exec sha256sum {} +) | sort -k2 | diff -q want - || fail "the tree reads otherwise here"
    detach m
fi
echo "$(wc -l <want) files"
