#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Genuine differencing disks of Windows, merged into their parents, hold what their chain shows; other readers agree.
. "$(dirname "$0")/../lib.sh"
need qemu-img

for f in vhd vhdx; do
    image ntfs-parent.$f
    image ntfs-differential.$f
    want=$(awk -F'\t' -v name=ntfs-differential.$f '$1 == name { for (i = 1; i <= NF; i++) if (i == c) print $i }
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == "sha256_content") c = i }' "$IMAGES/MANIFEST.tsv")
    held=$(vdisk map ntfs-differential.$f --json |
        jq '[.[] | select(.depth == 0 and .kind == "data") | .length] | add')

    # a link over it first, so that the genuine one is merged in the middle too
    cp ntfs-parent.$f keep.$f
    quietly snapshot ntfs-differential.$f top.$f
    status 0 vdisk merge ntfs-differential.$f
    [ "$(sed -n 's/.*(\([0-9]*\) bytes).*/\1/p' out)" -le "$held" ] || fail "more moved than it held: $(cat out)"
    [ ! -e ntfs-differential.$f ] || fail "the child is still there"
    same "$(hash_of ntfs-parent.$f)" "$want" "$f: the parent"
    same "$(hash_of top.$f)" "$want" "$f: the child's child"
    sound ntfs-parent.$f
    rm top.$f
    case $f in vhd) as=vpc ;; *) as=vhdx ;; esac
    qemu-img convert -f $as -O raw ntfs-parent.$f qemu.raw
    same "$(sha_of qemu.raw)" "$want" "$f: what QEMU reads"
    vhdi_agrees ntfs-parent.$f qemu.raw
    rm -f ./*."$f" qemu.raw
done
