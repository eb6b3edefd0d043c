#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Images of others, written to: the content is what it was but for the write, other readers agree, check is content.
. "$(dirname "$0")/../lib.sh"
need zstd jq qemu-img

# believed_by_qemu NAME: QEMU cuts some VHDs to their geometry, and knows no differencing.
believed_by_qemu() {
    case $1 in vbox.vhd | hst-1gb.vhd | *differential*) return 1 ;; esac
}
for name in ntfs-fixed.vhd ntfs-dynamic.vhd ntfs-differential.vhd dissect-dynamic.vhd win8.vhd vbox.vhd xapi.vhd hst-1gb.vhd \
    ntfs-fixed.vhdx ntfs-dynamic.vhdx ntfs-differential.vhdx dissect-dynamic.vhdx velociraptor-test.vhdx \
    coreoshv-config2_base.vhdx iotest-dynamic-1G.vhdx iotest-dirtylog-10G-4M.vhdx; do
    image "$name"
    case $name in *differential*) image ntfs-parent."${name##*.}" && chmod a-w ntfs-parent."${name##*.}" ;; esac
    quietly convert "$name" ref.raw --force
    size=$(size_of ref.raw)
    put "$name" 1000 5000 1 ref.raw
    put "$name" $((size - 600)) 600 2 ref.raw
    put "$name" $((size / 2 - 100000)) 300000 3 ref.raw
    put "$name" $((size / 4 * 3 / 512 * 512)) 512 4 ref.raw
    status 0 vdisk compare "$name" ref.raw
    status 0 vdisk check "$name"
    if believed_by_qemu "$name"; then
        case $name in
        *.vhdx) status 0 qemu-img check -f vhdx "$name" && status 0 qemu-img compare -f vhdx -F raw "$name" ref.raw ;;
        *) status 0 qemu-img compare -f vpc -F raw "$name" ref.raw ;;
        esac
    fi
    # libvhdi misreads bitmaps of a child VHD that are not whole bytes: see vhdi-reads-ours.sh
    if [ "$name" != ntfs-differential.vhd ] && command -v vhdimount >/dev/null && [ -w /dev/fuse ] && [ "$size" -le $((2 << 30)) ]; then
        vhdi_agrees "$name" ref.raw
    fi
    rm -f "$name" ref.raw
done
