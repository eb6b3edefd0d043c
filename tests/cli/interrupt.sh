#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# SIGINT, SIGTERM or SIGHUP during a long convert, create or merge into a new image: status 1, one line, no file, the old output untouched.
. "$(dirname "$0")/../lib.sh"

# Long enough to be met in the middle, however fast the machine: the content is repeated by a chain of one parent.
raw src.raw 3G
random_bytes 67108864 1 >part
for ((i = 0; i < 20; i++)); do
    dd if=part of=src.raw bs=1M seek=$((i * 150)) conv=notrunc status=none
done
rm part

# interrupted SIGNAL COMMAND...: 1 only where the signal came in time.
interrupted() {
    local signal=$1 delay pid rc
    shift
    for delay in 0.05 0.02 0.01 0.005 0.2; do
        "$@" >out 2>err &
        pid=$!
        sleep $delay
        kill -"$signal" $pid 2>/dev/null || true
        rc=0
        wait $pid || rc=$?
        [ $rc -ne 0 ] && [ $rc -le 128 ] && break
        rm -f new.*
    done
    [ $rc -eq 1 ] || skip "this machine is too fast to interrupt it (status $rc)"
    same "$(cat err)" "vdisk: interrupted" "the error"
    [ ! -e new.vhdx ] && [ ! -e new.vhd ] || fail "left behind after SIG$signal"
    same "$(find . -name '*.tmp' | wc -l)" 0 "temporary files"
}

for signal in INT TERM HUP; do
    # a background job of a shell ignores SIGINT: given back by env
    interrupted $signal env --default-signal=INT "$VDISK" convert src.raw new.vhdx
done
interrupted INT env --default-signal=INT "$VDISK" convert src.raw new.vhd --type fixed --hydrate
interrupted INT env --default-signal=INT "$VDISK" create new.vhdx --from src.raw
quietly create chain.vhdx --from src.raw
quietly snapshot chain.vhdx child.vhdx
for signal in INT TERM; do
    interrupted $signal env --default-signal=INT "$VDISK" merge child.vhdx --into new.vhdx
done
[ -e chain.vhdx ] && [ -e child.vhdx ] || fail "the chain is gone"
rm chain.vhdx child.vhdx

echo precious >new2.vhdx
interrupted INT env --default-signal=INT "$VDISK" convert src.raw new2.vhdx --force
same "$(cat new2.vhdx)" precious "the old output"
nothing_left
