#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A merge that is stopped by SIGINT, SIGTERM or a full file system: status 1, the chain shows what it showed, and the same
# command again finishes.
. "$(dirname "$0")/../lib.sh"

random_bytes 67108864 1 >part

chain() { # FORMAT SIZE: base and a child that holds the second half of it all
    rm -f base."$1" child."$1"
    quietly create base."$1" --size "$2"
    head -c 3000000 part | quietly write base."$1"
    quietly snapshot base."$1" child."$1"
    for ((at = 2; at < ${2%M} - 64; at += 64)); do
        quietly write child."$1" --offset ${at}M <part
    done
    vdisk hash child."$1" >want
}
shows_it() { # FILE
    vdisk hash "$1" | cut -d' ' -f1 | cmp - <(cut -d' ' -f1 want) || fail "$1 shows something else"
}

for f in vhdx vhd; do
    for signal in INT TERM; do
        met=
        chain $f 400M
        for delay in 0.06 0.03 0.1 0.015 0.2; do
            env --default-signal=INT "$VDISK" merge child.$f >out 2>err &
            pid=$!
            sleep $delay
            kill -$signal $pid 2>/dev/null || true
            rc=0
            wait $pid || rc=$?
            if [ $rc -eq 1 ]; then
                met=1
                break
            fi
            [ -e child.$f ] || chain $f 400M
        done
        [ "$met" ] || skip "this machine is too fast to interrupt it (status $rc)"
        grep -q 'interrupted' err || fail "not told: $(cat err)"
        shows_it child.$f
        status 0 vdisk merge child.$f
        [ ! -e child.$f ] || fail "the child is still there"
        shows_it base.$f
    done
done
rm -f base.* child.*

# no space: on a file system of its own
mkdir small
if [ "$(id -u)" != 0 ] || ! mount -t tmpfs -o size=120M vdisk-test small 2>/dev/null; then
    skip "cannot mount a small file system"
fi
mounts+=("$PWD/small")
for f in vhdx vhd; do
    cd small || exit
    ln -sf ../part part
    chain $f 110M # base has 3 MB, the child 64 MB: the copies need as much again
    random_bytes 20971520 2 >filler
    mv want ..
    cd ..
    refused "base\.$f: .*No space left" vdisk merge small/child.$f # however many writes are in flight
    [ -e small/child.$f ] || fail "the child is gone"
    shows_it small/child.$f
    rm small/filler
    cp small/base.$f small/child.$f .
    rm small/base.$f small/child.$f
    # elsewhere, with room
    status 0 vdisk merge child.$f
    shows_it base.$f
    rm -f base.$f child.$f
done
