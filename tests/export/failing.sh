#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The storage fails beneath a disk that is mounted or served: the kernel says EIO for one place of the image, then its file
# system dies. Who reads or writes there is told, and nobody else; a move stops there with one error, and nothing is lost;
# what was not made durable is never called durable. The image is on a file of QEMU's, which injects the errors.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported
need jq qemu-storage-daemon
qemu-storage-daemon --help | grep 'fuse,id=' >/dev/null || skip "this qemu-storage-daemon has no FUSE"

PLACE=9437184 # of the disk, a page: where the image cannot be read, or written

# failing IMAGE read|write: bad.FORMAT is the image's file, with this error at the place.
failing() {
    local bad=bad.${1##*.} at
    at=$(vdisk map "$1" --json | jq "[.[] | select(.kind == \"data\" and .offset <= $PLACE and .offset + .length > $PLACE)
        | .position + $PLACE - .offset][0]")
    : >"$bad"
    mounts+=("$PWD/$bad")
    qemu-storage-daemon --daemonize --pidfile bad.pid --blockdev "driver=file,node-name=f,filename=$1" --blockdev \
        "driver=blkdebug,node-name=b,image=f,inject-error.0.event=none,inject-error.0.iotype=$2,inject-error.0.once=off,inject-error.0.sector=$((at / 512))" \
        --export "type=fuse,id=e,node-name=b,mountpoint=$bad,writable=on,growable=on"
}

# mended FORMAT [SIGNAL]: it fails no more, but has ended.
mended() {
    local pid
    pid=$(cat bad.pid)
    kill "-${2:-TERM}" "$pid"
    ended "$pid" || fail "QEMU does not end"
    rm -f bad.pid
    [ "${2:-}" = KILL ] || gone "$1"
}
gone() {
    fusermount3 -u -z "bad.$1" 2>/dev/null || true
    unset 'mounts[-1]'
    rm "bad.$1"
}

# told COMMAND...: it fails, with EIO.
told() {
    status 1 "$@"
    grep -q 'Input/output error' err || fail "no EIO: $*: $(cat err)"
}

# put_mounted OFFSET LENGTH SEED
put_mounted() {
    random_bytes "$2" "$3" | dd of=m/disk bs=64K seek="$1" oflag=seek_bytes conv=notrunc,fsync status=none
    random_bytes "$2" "$3" | dd of=ref.raw bs=64K seek="$1" oflag=seek_bytes conv=notrunc status=none
}

# elsewhere: all else is as it has to be.
elsewhere() {
    cmp -n $PLACE m/disk ref.raw
    cmp -i $((PLACE + 4096)) m/disk ref.raw
}

# A write that waits for its storage keeps nobody waiting who needs none.
stuck() {
    local pid i got=0
    dd if=m/disk of=/dev/null bs=4096 count=500 skip=1024 iflag=direct status=none # one request after the other
    kill -STOP "$(cat bad.pid)"
    random_bytes 4096 4 >page
    dd if=page of=m/disk bs=4096 seek=1024 oflag=direct conv=notrunc status=none &
    pid=$!
    for ((i = 0; i < 1500; i++)); do
        ! grep -qs '^1 ' "/proc/$pid/syscall" || break # write
        sleep 0.02
    done
    timeout -s KILL 20 stat m/disk >/dev/null || got=$?
    kill -CONT "$(cat bad.pid)"
    same $got 0 "asking for the size while a write waits"
    wait $pid
    dd if=page of=ref.raw bs=4096 seek=1024 conv=notrunc status=none
}

for f in vhdx vhd; do
    raw ref.raw 64M
    quietly create a.$f --size 64M --block-size 2M
    put a.$f 0 16000000 1 ref.raw

    failing a.$f read
    attach bad.$f m
    elsewhere
    told dd if=m/disk of=page bs=4096 skip=$((PLACE / 4096)) count=1
    refused "bad.$f: read of .*: Input/output error" vdisk move bad.$f moved.vhdx
    [ ! -e moved.vhdx ] || fail "a part of it is there"
    nothing_left
    same "$(vdisk stats bad.$f --json | jq -r .program)" "vdisk mount" "who has it open"
    put_mounted 1000000 100000 2
    elsewhere
    detach m
    if command -v nbdkit >/dev/null && [ -f "$BUILD/nbdkit-vdisk-plugin.so" ] && command -v qemu-io >/dev/null; then
        serve bad.$f
        qemu-io -r -f raw -c "read $PLACE 4096" "$uri" >out 2>&1 || true
        grep -q 'Input/output error' out || fail "over NBD: $(cat out)"
        qemu-io -r -f raw -c "read -P 0 32M 4096" "$uri" >out 2>&1 || fail "over NBD, elsewhere: $(cat out)"
        unserve bad.$f
    fi
    mended $f
    clean a.$f
    holds a.$f ref.raw

    failing a.$f write
    attach bad.$f m
    head -c 4096 /dev/zero >page
    told dd if=page of=m/disk bs=4096 seek=$((PLACE / 4096)) conv=notrunc
    put_mounted 2000000 100000 3
    elsewhere
    stuck
    printf x | dd of=m/disk bs=1 seek=1M oflag=seek_bytes conv=notrunc status=none # not made durable before
    mended $f KILL
    status 1 sync m/disk
    status 1 sync m/disk # and not by asking again
    status 1 dd if=page of=m/disk conv=notrunc
    refused "m/disk: what was written could not be made durable" vdisk umount m
    unset 'mounts[-1]'
    gone $f
    sound a.$f
    printf x | dd of=ref.raw bs=1 seek=1M oflag=seek_bytes conv=notrunc status=none
    cmp <(vdisk read a.$f --length $PLACE) <(part ref.raw 0 $PLACE)
    cmp <(vdisk read a.$f --offset $((PLACE + 4096))) <(part ref.raw $((PLACE + 4096)) $((67108864 - PLACE - 4096)))
    rm -f a.$f
done
