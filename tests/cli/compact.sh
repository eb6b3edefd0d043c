#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# compact: what it gives back in every kind of file, that nothing else changes, and that it can be interrupted and slowed.
. "$(dirname "$0")/../lib.sh"
need qemu-img jq mke2fs debugfs e2fsck sfdisk

MIB=1048576
shown() {
    vdisk hash "$1" | cut -d' ' -f1
}
# number AFTER: of bytes, in what compact said
number() {
    sed -E "s/.*$1 ([^;,]*).*/\1/; s/.*\(//; s/ bytes.*//" out
}
# compacts IMAGE LEAST: the same content, a clean file, at least so much returned, and that is true
compacts() {
    local before after sum
    before=$(used_of "$1") sum=$(shown "$1")
    status 0 vdisk compact "$1" "${@:3}"
    after=$(used_of "$1")
    same "$(shown "$1")" "$sum" "$1 after compacting"
    same "$(number returned)" $((before - after)) "what $1 returned"
    [ $((before - after)) -ge "$2" ] || fail "$1: returned $((before - after)), not $2: $(cat out)"
    cp out said
    status 0 vdisk check "$1"
    ! grep -q leak out || fail "$1: $(cat out)"
    cp said out
}

# Data, zeros that were written, data behind: the last 8 MiB move to where zeros were.
raw base.raw $((48 * MIB))
random_bytes $((8 * MIB)) 1 | dd of=base.raw bs=64K seek=$((4 * MIB)) oflag=seek_bytes conv=notrunc status=none
random_bytes $((8 * MIB)) 2 | dd of=base.raw bs=64K seek=$((36 * MIB)) oflag=seek_bytes conv=notrunc status=none
for image in d.vhdx d.vhd f.vhdx f.vhd r.raw; do
    case $image in
    d.vhdx) quietly create $image --size 48M --block-size 1M ;;
    d.vhd) quietly create $image --size 48M ;;
    f.*) quietly create $image --size 48M --type fixed ;;
    r.raw) quietly create $image --size 48M ;;
    esac
    head -c $((48 * MIB)) base.raw | vdisk write $image --quiet
    head -c $((16 * MIB)) /dev/zero | vdisk write $image --offset 16M --quiet
    truncate -s 48M want.raw
    compacts $image $((15 * MIB))
    same "$(shown $image)" "$(sha_of base.raw)" "$image"
    case $image in
    d.*)
        [ "$(number moved)" -ge $((8 * MIB)) ] && [ "$(number moved)" -le $((12 * MIB)) ] || fail "$image: $(cat out)"
        [ "$(size_of $image)" -le $((22 * MIB)) ] || fail "$image has $(size_of $image) bytes"
        ;;
    *) same "$(number moved)" 0 "what moved in $image" ;;
    esac
    compacts $image 0 # again: nothing to do
    same "$(number moved)" 0 "what moved the second time"
    case $image in
    *.vhd) qemu-img compare -q -f vpc -F raw $image base.raw && vhdi_agrees $image base.raw ;;
    *.vhdx) qemu-img compare -q -f vhdx -F raw $image base.raw ;;
    esac || fail "others read $image otherwise"
done

# A child: its own zeros over a parent's data stay zeros.
for kind in vhdx vhd; do
    quietly convert base.raw p.$kind --block-size 1M
    quietly create c.$kind --parent p.$kind --block-size 1M
    random_bytes $((4 * MIB)) 3 | vdisk write c.$kind --offset $((20 * MIB)) --quiet
    head -c $((6 * MIB)) /dev/zero | vdisk write c.$kind --offset 5M --quiet
    random_bytes $((4 * MIB)) 4 | vdisk write c.$kind --offset $((30 * MIB + 512)) --quiet
    compacts c.$kind $((5 * MIB))
    sum=$(sha_of p.$kind)
    for option in --quiet --no-filesystems; do
        refused "p.$kind: has a child, .*c.$kind, which would lose its parent" vdisk compact p.$kind $option
    done
    same "$(sha_of p.$kind)" "$sum" "the parent's file"
done

# Interrupted, it leaves a good file, says what it reached, and goes on the next time. A rate is kept.
quietly create slow.vhdx --size 64M --block-size 1M
random_bytes $((40 * MIB)) 5 | vdisk write slow.vhdx --offset 16M --quiet
head -c $((20 * MIB)) /dev/zero | vdisk write slow.vhdx --offset 16M --quiet
sum=$(shown slow.vhdx)
has_open() { # FILE
    [ -n "$(find /proc/$!/fd -lname "*/$1" 2>/dev/null)" ]
}
for signal in INT TERM; do
    env --default-signal=INT "$VDISK" compact slow.vhdx --rate-limit 64K >out 2>err & # 15 minutes
    cut_short $signal $! has_open slow.vhdx
    same "$(shown slow.vhdx)" "$sum" "interrupted"
    status 0 vdisk check slow.vhdx
done
clocked compacts slow.vhdx $((1 * MIB)) --rate-limit 40M
least=$(((38 * MIB + $(number moved)) * 100 / (40 * MIB) - 2)) # what of 40 MiB was left to be read, and what moved
[ "$took" -ge $least ] || fail "$took hundredths of a second, not $least: faster than 40 MiB a second: $(cat out)"
[ "$(size_of slow.vhdx)" -le $((26 * MIB)) ] || fail "slow.vhdx has $(size_of slow.vhdx) bytes"

# What of a file without blocks has no space is not read: at this rate all of it would take far too long. Space that was
# never written comes back.
quietly create huge.raw --size 1T
put huge.raw 500G 100000 8
head -c 4M /dev/zero | vdisk write huge.raw --offset 600G --quiet
status 0 timeout 300 "$VDISK" compact huge.raw --no-filesystems --rate-limit 20M
same "$(number returned)" $((4 * MIB)) "what huge.raw returned"
cmp <(vdisk read huge.raw --offset 500G --length 100000) <(random_bytes 100000 8) || fail "huge.raw holds something else"
rm huge.raw
for kind in vhd vhdx; do
    quietly create space.$kind --size 32M --type fixed
    compacts space.$kind $((30 * MIB))
done

# File systems: what ext4 does not use comes back, on the whole disk and in a partition; one that is not clean stays.
mkdir tree
random_bytes $((6 * MIB)) 6 >tree/kept
random_bytes $((20 * MIB)) 7 >tree/gone
truncate -s 40M fs.raw
mke2fs -q -t ext4 -d tree fs.raw
debugfs -w -R 'rm gone' fs.raw 2>/dev/null
truncate -s 42M disk.raw
printf 'label: gpt\nstart=2048,size=81920\n' | sfdisk -q disk.raw || truncate -s 44M disk.raw
sfdisk -q disk.raw <<<'label: gpt
start=2048,size=81920' >/dev/null 2>&1 || true
dd if=fs.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
for image in whole.vhdx whole.vhd part.vhdx part.raw fixed.vhd; do
    image_of_fs $image
    before=$(used_of $image)
    status 0 vdisk compact $image --verbose
    grep -q 'ext file system at 0x[0-9a-f]*: [0-9]* bytes are free' err || fail "$image: $(cat err)"
    [ $((before - $(used_of $image))) -ge $((19 * MIB)) ] || fail "$image: $(cat out)"
    vdisk read $image --offset ${skip}M --length 40M >after.raw
    e2fsck -fn after.raw >/dev/null 2>&1 || fail "$image: e2fsck"
    debugfs -R 'dump kept kept' after.raw 2>/dev/null
    cmp kept tree/kept || fail "$image: a file was changed"
    status 0 vdisk check $image
done
cp fs.raw dirty.raw
debugfs -w -R 'set_super_value state 0' dirty.raw 2>/dev/null
sum=$(sha_of dirty.raw)
status 0 vdisk compact dirty.raw --verbose
grep -q 'it is not clean; its free space stays' err || fail "$(cat err)"
same "$(sha_of dirty.raw)" "$sum" "a file system that is not clean"
cp fs.raw plain.raw
status 0 vdisk compact plain.raw --no-filesystems
same "$(sha_of plain.raw)" "$(sha_of fs.raw)" "--no-filesystems"

# What an older file system has left where another thing is now is not believed: of a disk that has partitions since, of an
# extended partition, of one that something else was put into.
raw stale.raw $((32 * MIB))
mke2fs -q -t ext3 stale.raw
sfdisk -q stale.raw >sfdisk.log 2>&1 <<<'label: dos
start=2048'
random_bytes $((12 * MIB)) 9 | dd of=stale.raw bs=1M seek=16 conv=notrunc status=none
sfdisk -q disk.raw >sfdisk.log 2>&1 <<<'label: dos
start=2048,size=81920,type=5'
dd if=fs.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
cp disk.raw extended.raw
sfdisk -q disk.raw >sfdisk.log 2>&1 <<<'label: dos
start=2048,size=81920'
printf 'LUKS\xba\xbe\x00\x01' | dd of=disk.raw bs=1M seek=1 conv=notrunc status=none
cp disk.raw luks.raw
for image in stale.raw extended.raw luks.raw; do
    sum=$(shown $image)
    status 0 vdisk compact $image --verbose
    ! grep -q 'bytes are free' err || fail "$image: $(cat err)"
    same "$(shown $image)" "$sum" "$image after compacting"
done
grep -q 'something else is there too, and it may be an old one; its free space stays' err || fail "$(cat err)"

# Misuse
refused 'none' vdisk compact none
chmod 444 d.vhd
[ -w d.vhd ] || refused 'cannot open for writing' vdisk compact d.vhd
refused 'rate-limit' vdisk compact d.vhdx --rate-limit fast
nothing_left
