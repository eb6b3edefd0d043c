#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A guest writes to its disk while commands of vdisk find the machine by the image and work on it: information, points,
# snapshots, compact, resize, of which the guest hears, move, relink and merge. Then everything that it wrote is there, the images are
# clean, and each of the machine's threads is confined as it has to be.
. "$(dirname "$0")/../machine.sh"
here=$(realpath .)

# start IMAGE [OPTION...]: with a guest that writes until it is told "q" by descriptor 7.
start() {
    rm -f serial keys
    mkfifo keys
    "$BUILD/hv" run --kernel "$guests/disk" --append w --memory 64M --name m --disk "$1,queues=2" "${@:2}" <keys >serial 2>said &
    pid=$!
    exec 7>keys
    until_said serial 'the guest writes'
}

# stop: the guest reads everything and says the sum of it, which is kept.
stop() {
    echo q >&7
    exec 7>&-
    ended 0
    ! grep bad serial || fail "the guest: $(cat serial said)"
    sum=$(grep '^sum ' serial | tr -d '\r')
    same "$(find "$VDISK_RUNTIME_DIR" -type s)" "" "sockets that are left"
}

# kept IMAGE: after all is closed, its content is what the guest wrote.
kept() {
    clean "$1"
    status 0 timeout 120 "$BUILD/hv" run --kernel "$guests/disk" --append v --memory 64M --nic none --disk "$1,readonly"
    same "$(grep -E '^(sum|bad)' out | tr -d '\r')" "$sum" "$1: the content, read again"
}

# filters NAME NUMBER: how many filters of system calls each thread of that name has; the process's own is one.
filters() {
    local task found=""
    for task in /proc/$pid/task/*; do
        [ "$(cat "$task/comm")" = "$1" ] || continue
        same "$(awk '/^Seccomp_filters:/ {print $2}' "$task/status")" "$2" "filters of thread $1"
        found=yes
    done
    [ -n "$found" ] || fail "no thread is called $1: $(cat /proc/$pid/task/*/comm)"
}

mkdir disks other
quietly create disks/a.vhdx --size 4M --block-size 1M
start disks/a.vhdx --nic user --allow other
vdisk stats disks/a.vhdx --json >stats
grep -q '"program": *"hv run"' stats || fail "who has the disk: $(cat stats)"
vdisk info disks/a.vhdx >info
quietly point disks/a.vhdx begin
if ! nm -D "$VDISK" 2>/dev/null | grep '__[at]san_init' >/dev/null; then
    for thread in 'cpu 0' 'blk0.0' 'blk0.1' 'net 0'; do
        filters "$thread" 2
    done
    same "$(awk '/^Seccomp_filters:/ {print $2}' /proc/$pid/status)" 2 "filters of the main thread"
fi
quietly snapshot disks/a.vhdx disks/b.vhdx
refused 'a.vhdx: is beneath the disk that hv' vdisk compact disks/a.vhdx
quietly compact disks/b.vhdx
quietly resize disks/b.vhdx 6M
until_said serial 'told 12288'
vdisk changes disks/b.vhdx --since begin >changes
[ -s changes ] || fail "nothing has changed since the point"
refused 'its --allow names' vdisk move disks/b.vhdx c.vhdx
refused 'its --allow names' vdisk snapshot disks/b.vhdx "$here/c.vhdx"
quietly merge disks/b.vhdx
quietly move disks/a.vhdx other/c.vhdx
[ ! -e disks/a.vhdx ] || fail "the source is still there"
quietly snapshot other/c.vhdx other/d.vhdx
quietly resize other/d.vhdx 8M
until_said serial 'told 16384'
refused 'becomes smaller only when nobody' vdisk resize other/d.vhdx 2M
mv other/c.vhdx other/f.vhdx
mv other/c.vhdx.points other/f.vhdx.points
quietly relink other/d.vhdx --parent other/f.vhdx
quietly merge other/d.vhdx
quietly move other/f.vhdx disks/e.vhd
stop
kept disks/e.vhd
same "$(ls -A disks other)" "$(printf 'disks:\ne.vhd\ne.vhd.points\n\nother:')" "what is left"

# An overlay has nothing that could be asked for; a read-only disk tells what it is, and is not changed.
quietly create base.vhdx --size 4M
start base.vhdx,overlay --nic none
status 0 vdisk info base.vhdx
stop
exec 7<>/dev/null
"$BUILD/hv" run --kernel "$guests/first" --append z --memory 64M --nic none --disk base.vhdx,readonly >serial 2>said </dev/null &
pid=$!
until_said serial 'the guest waits'
vdisk stats base.vhdx --json | grep '"hv run"' >/dev/null || fail "a read-only disk is not found"
status 1 "$VDISK" resize base.vhdx 32M
kill -9 $pid
wait $pid 2>/dev/null || true
status 1 "$BUILD/hv" run --kernel "$guests/first" --append o --allow absent
grep -q 'absent: No such file' err || fail "a directory that is not there: $(cat err)"

# Where the sockets are is a place for a request's files if a disk is there too.
mkdir -m 700 own
usual=$VDISK_RUNTIME_DIR VDISK_RUNTIME_DIR=$here/own
quietly create own/a.vhdx --size 4M
quietly create other/c.vhdx --size 4M
start own/a.vhdx --nic none
quietly move own/a.vhdx own/b.vhdx
stop
[ ! -e own/a.vhdx ] || fail "the source is still there"
kept own/b.vhdx
start other/c.vhdx --nic none
refused 'its --allow names' vdisk move other/c.vhdx own/c.vhdx
stop
rm other/c.vhdx
VDISK_RUNTIME_DIR=$usual

# A guest that reads from IDE for ever is switched off in the middle of a move: nothing waits for what is in flight. By the
# firmware; the first sector reads 64 others, again and again.
[ -e /usr/share/seabios/bios-256k.bin ] || skip "the package seabios is not installed"
truncate -s 64M disks/s.raw
random_bytes 60000000 3 | dd of=disks/s.raw bs=1M seek=1 conv=notrunc status=none
printf '\x31\xc0\x8e\xd8\xfb\xbe\x10\x7c\xb4\x42\xb2\x80\xcd\x13\xeb\xf5\x10\0\x40\0\0\0\0\x10\0\x08' |
    dd of=disks/s.raw conv=notrunc status=none
printf '\x55\xaa' | dd of=disks/s.raw bs=1 seek=510 conv=notrunc status=none
before=$(sha_of disks/s.raw)
for try in 1 2 3; do
    timeout -s KILL 60 "$BUILD/hv" run --disk disks/s.raw,bus=ide,direct --nic none --serial none --allow other >said 2>&1 </dev/null &
    pid=$!
    for ((tries = 0; tries < 400; tries++)); do
        ! vdisk stats disks/s.raw --json 2>/dev/null | jq -e '.read.requests > 100' >/dev/null || break
        sleep 0.05
    done
    "$VDISK" move disks/s.raw other/s.raw --rate-limit 4M --quiet >moved 2>&1 &
    move=$!
    for ((tries = 0; tries < 400; tries++)); do
        ! compgen -G 'other/.*.tmp' >/dev/null || break
        sleep 0.05
    done
    while pkill -P "$pid" -x hv; do # the guest does not heed the first; two that come at once are one
        sleep 0.1
    done
    ended 5
    ! wait "$move" || fail "the move went on: $(cat moved)"
    same "$(ls -A other)" "" "try $try: what is left of a move that was ended"
    same "$(sha_of disks/s.raw)" "$before" "try $try: the source"
done
