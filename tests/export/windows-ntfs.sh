#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# NTFS on disks that Windows made, chains included: mounted with their files listed, and the images left as they are.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported
need ntfs-3g

for name in ntfs-fixed.vhd ntfs-dynamic.vhd ntfs-fixed.vhdx ntfs-dynamic.vhdx ntfs-parent.vhd ntfs-differential.vhd \
    ntfs-parent.vhdx ntfs-differential.vhdx dissect-dynamic.vhdx; do
    image $name
    before=$(sha_of $name)
    attach $name m --fs --read-only
    [ -f m/p1 ] || fail "$name: no partition"
    found=$(find m/fs1 -type f -printf '%P ')
    case $name in
    ntfs-parent*) [[ $found = *WPSettings.dat* ]] || fail "$name: $found" ;;
    ntfs-*) [[ $found = *passwords.txt* ]] || fail "$name: $found" ;;
    esac
    echo "$name: $found"
    find m/fs1 -type f -exec cat {} + >/dev/null
    detach m
    same "$(sha_of $name)" "$before" $name
done

# Written with ntfs-3g, on the disk and on an overlay.
chmod u+w ntfs-dynamic.vhdx
attach ntfs-dynamic.vhdx m --fs --overlay
echo no >m/fs1/overlay
detach m
attach ntfs-dynamic.vhdx m --fs
[ ! -e m/fs1/overlay ] || fail "what was written to an overlay is in the image"
echo yes >m/fs1/new
detach m
sound ntfs-dynamic.vhdx
attach ntfs-dynamic.vhdx m --fs --read-only
same "$(cat m/fs1/new)" yes
detach m
