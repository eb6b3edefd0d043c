#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A point of a disk that is mounted: made while it is used, not gone back to while it is used, dropped while it is used. Not
# mounted any more, it goes back. A signal to a command that its holder works for ends the work, and the disk goes on.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported
need jq

write() { # OFFSET LENGTH SEED: to the mounted disk, and to ref.raw
    local out
    for out in m/disk ref.raw; do
        random_bytes "$2" "$3" | dd of=$out bs=64K seek="$1" oflag=seek_bytes conv=notrunc,fsync status=none
    done
}

for f in vhdx vhd; do
    raw ref.raw 12M
    quietly create disk.$f --size 12M
    put disk.$f 0 3000000 1 ref.raw
    attach disk.$f m
    cp ref.raw point.raw
    status 0 vdisk snapshot disk.$f monday.a$f --block-size 1M
    grep -q 'blocks of 1 MiB, requests waited' out || fail "$(cat out)"
    sum=$(sha_of disk.$f)
    write 1000000 4000000 2

    # its guest would go on with what it remembers
    refused 'monday\.a'$f': is in use: a disk goes back to a point only while nobody uses it' vdisk snapshot monday.a$f --back
    same "$(sha_of m/disk)" "$(sha_of ref.raw)" "what was not to go back"
    write 6000000 100000 3
    same "$(sha_of disk.$f)" "$sum" "the parent's file"
    detach m
    holds monday.a$f ref.raw
    status 0 vdisk snapshot monday.a$f --back
    holds monday.a$f point.raw
    cp point.raw ref.raw
    attach monday.a$f m
    same "$(sha_of m/disk)" "$(sha_of ref.raw)" "back at the point, mounted"

    # interrupted while it is used
    head -c 4000000 /dev/zero | dd of=m/disk bs=64K seek=8000000 oflag=seek_bytes conv=notrunc,fsync status=none
    head -c 4000000 /dev/zero | dd of=ref.raw bs=64K seek=8000000 oflag=seek_bytes conv=notrunc status=none
    for signal in INT TERM; do
        env --default-signal=INT "$VDISK" compact monday.a$f --rate-limit 64K >job.out 2>job.err & # minutes
        job=$!
        until [ "$(vdisk stats monday.a$f --json | jq -r '."working-on".operation')" = compact ]; do
            kill -0 $job || fail "it has ended: $(cat job.out job.err)"
            sleep 0.02
        done
        refused 'is busy with compact' vdisk merge monday.a$f
        kill -$signal $job
        ! wait $job || fail "interrupted, yet done: $(cat job.out)"
        same "$(cat job.err)" "vdisk: interrupted" "what it says"
        write 3000000 50000 6
        same "$(sha_of m/disk)" "$(sha_of ref.raw)" "interrupted"
    done

    # dropped while it is used
    write 2000000 3000000 4
    held=$(vdisk info monday.a$f --chain --json | jq -r '.[].file' | wc -l)
    same "$held" 2 "the links"
    status 0 vdisk merge monday.a$f
    [ ! -e monday.a$f ] || fail "the child that was merged is still there"
    write 9000000 200000 5
    same "$(sha_of m/disk)" "$(sha_of ref.raw)" "the point was dropped"
    detach m
    holds disk.$f ref.raw
    clean disk.$f
    rm disk.$f
done
