#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# convert on a file system that shares blocks: nothing is moved, the content is the same, each file is its own.
. "$(dirname "$0")/../lib.sh"

need mkfs.xfs filefrag mount
[ "$(id -u)" -eq 0 ] || skip "mounting is root's"
truncate -s 1G xfs.img
mkfs.xfs -q -m reflink=1 xfs.img || skip "mkfs.xfs knows no reflink"
mkdir xfs
mount -o loop xfs.img xfs 2>/dev/null || skip "no loop device, or no XFS in this kernel"
mounts+=("$PWD/xfs")

# shared FILE MIN: at least so many bytes of it are shared.
shared() {
    local blocks
    blocks=$(filefrag -v "$1" | awk '/shared/ { gsub(":", "", $0); n += $6 } END { print n + 0 }')
    [ $((blocks * 4096)) -ge "$2" ] || fail "$1 shares $blocks blocks: $(filefrag -v "$1")"
}

raw xfs/s.raw 100M
for i in 1 2 3 4 5; do
    random_bytes 9000000 $i | dd of=xfs/s.raw bs=64K seek=$((i * 17000000 + i)) oflag=seek_bytes conv=notrunc status=none
done
sync xfs/s.raw
ref=$(sha_of xfs/s.raw)
before=$(df --output=used -B1 xfs | tail -n 1)

from=xfs/s.raw
for to in a.vhdx b.vhd c.vhdx d.raw e.vhd; do
    case $to in
    c.vhdx) vdisk convert $from xfs/$to --type fixed --sector-size 4096 2>/dev/null >out ;;
    e.vhd) vdisk convert $from xfs/$to --type fixed >out ;;
    *) vdisk convert $from xfs/$to >out ;;
    esac
    grep -q 'read 0 bytes.*shared' out || fail "$to: bytes were moved: $(cat out)"
    same "$(hash_of xfs/$to)" "$ref" "the content of $to"
    case $to in *.vhd*) clean xfs/$to ;; esac
    shared xfs/$to 44000000
    after=$(df --output=used -B1 xfs | tail -n 1)
    case $to in # fixed disks have space of their own for what is not data
    a.vhdx | b.vhd) [ $((after - before)) -lt 10000000 ] || fail "$to: $((after - before)) bytes more are used" ;;
    esac
    from=xfs/$to
done

# Writing to one changes no other.
put xfs/a.vhdx 17000000 5000000 99
put xfs/d.raw 34000000 5000000 98
same "$(hash_of xfs/b.vhd)" "$ref" "b.vhd"
same "$(sha_of xfs/s.raw)" "$ref" "s.raw"
[ "$(hash_of xfs/a.vhdx)" != "$ref" ] || fail "a.vhdx has not changed"

# A chain, flattened and kept: what cannot be shared is moved.
quietly create xfs/child.vhdx --parent xfs/a.vhdx
put xfs/child.vhdx 40000123 3000000 97
put xfs/child.vhdx 80000000 1000 96
vdisk convert xfs/child.vhdx xfs/flat.vhdx >out
grep -q shared out || fail "$(cat out)"
status 0 vdisk compare xfs/child.vhdx xfs/flat.vhdx
quietly convert xfs/child.vhdx xfs/kept.vhdx --type differencing
status 0 vdisk compare xfs/child.vhdx xfs/kept.vhdx
clean xfs/flat.vhdx
clean xfs/kept.vhdx

# Another file system: moved.
quietly convert xfs/b.vhd out.vhdx
same "$(hash_of out.vhdx)" "$ref" "out.vhdx"
umount xfs
unset 'mounts[-1]'
