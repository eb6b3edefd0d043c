#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# NTFS that Windows made, compacted: each file as it was by ntfs-3g, the volume healthy, and of what was written and deleted
# the space returned. A log that Windows has not finished with is respected.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported
need ntfs-3g ntfsfix ntfsresize
[ -x "$BUILD/vdisk-ntfs" ] || skip "vdisk-ntfs is not in this build (ntfs-3g-dev)"

START=65536 # of the partition, in all of them
contents() {
    attach "$1" m --fs --read-only
    (cd m/fs1 && find . -type f -exec sha256sum {} + | sort -k2)
    leave
}
leave() { # as soon as nobody looks into it: what walks file systems in the background may
    local i
    for ((i = 0; i < 300; i++)); do
        ! vdisk umount m 2>umount.err || break
        grep -q 'is in use' umount.err || fail "umount: $(cat umount.err)"
        sleep 0.1
    done
    unset 'mounts[-1]'
    [ ! -e m/disk ] || fail "umount: $(cat umount.err)"
}
healthy() {
    local sectors
    sectors=$(vdisk read "$1" --offset $((START + 40)) --length 8 | od -An -tu8)
    vdisk read "$1" --offset $START --length $(((sectors + 1) * 512)) >volume
    status 0 ntfsfix -n volume
    status 0 ntfsresize --force --no-progress-bar --info volume
}
number() { # AFTER: of bytes, in what compact said
    sed -E "s/.*$1 ([^;,]*).*/\1/; s/.*\(//; s/ bytes.*//" out
}

image ntfs-parent.vhd
image ntfs-parent.vhdx
for name in ntfs-fixed.vhd ntfs-dynamic.vhd ntfs-differential.vhd ntfs-parent.vhd ntfs-fixed.vhdx ntfs-dynamic.vhdx \
    ntfs-differential.vhdx ntfs-parent.vhdx velociraptor-test.vhdx dissect-dynamic.vhd dissect-dynamic.vhdx; do
    case $name in *parent*) rm ${name/parent/differential} ;; esac
    image $name
    chmod u+w $name
    contents $name >want
    [ -s want ] || [[ $name = dissect* ]] || fail "$name: no files"
    status 0 vdisk compact $name --verbose
    grep -q "NTFS file system at 0x10000: [0-9]* bytes are free" err || fail "$name: $(cat out err)"
    echo "$(cat out), $(wc -l <want) files"
    contents $name >got
    cmp want got || fail "$name: a file has changed"
    sound $name
    healthy $name

    # what was written and deleted comes back
    case $name in *parent*) continue ;; dissect*) written=3000000 ;; *) written=150000 ;; esac
    attach $name m --fs
    random_bytes $written 1 >m/fs1/gone
    sync m/fs1/gone
    rm m/fs1/gone
    leave
    status 0 vdisk compact $name
    [ "$(number returned)" -ge $((written - 70000)) ] || fail "$name: of $written bytes: $(cat out err)"
    echo "$(cat out), of $written written and deleted"
    contents $name >got
    cmp want got || fail "$name: a file has changed"
    healthy $name
done

# The two restart areas of $LogFile say whether Windows has let go of the volume: a flag, and a client that is in use.
image dissect-dynamic.vhd
chmod u+w dissect-dynamic.vhd
vdisk read dissect-dynamic.vhd >disk
perl -0777 -pe 'for my $page (0, 1) {
        my $at = index($_, "RSTR", $page ? $first + 1 : 0);
        die "no restart page" if $at < 0;
        $first = $at;
        my $area = $at + unpack("v", substr($_, $at + 24, 2));
        substr($_, $area + 12, 4) = pack("vv", 0, unpack("v", substr($_, $area + 14, 2)) & ~2);
    }' disk >unfinished.raw
! cmp -s disk unfinished.raw || fail "nothing was changed"
cp unfinished.raw before.raw
status 0 vdisk compact unfinished.raw
grep -q 'log holds changes.*its free space stays' err || fail "$(cat out err)"
cmp unfinished.raw before.raw || fail "what is left alone has changed"
