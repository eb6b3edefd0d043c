#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A guest of our own, directly on /dev/kvm: says hello, switches off, looks where nobody is.
. "$(dirname "$0")/../machine.sh"

# guest STATUS LETTER [OPTION...]
guest() {
    status "$1" timeout 20 "$BUILD/hv" run --kernel "$guests/first" --append "$2" --memory 64M "${@:3}"
}
hellos() {
    same "$(grep -c 'hello from the guest' out || true)" "$1" "how often it said hello"
}
guest 0 o && hellos 1
guest 0 o --cpus 4 && hellos 1
guest 0 d && hellos 1
grep -q 'nobody is there' out || fail "what is read where nobody is: $(cat out err)"
for others in 1 63; do
    guest 0 m$others --cpus $((others + 1)) && hellos 2
    same "$(grep -c 'all processors have started' out || true)" 2 "how often $others other processors started"
done
status 1 "$BUILD/hv" run --kernel "$SRC/README.md"
grep -q 'not a Linux kernel' err || fail "a kernel that is none: $(cat err)"
guest 0 o --nic user --nic user,mac=52:54:00:00:00:09
guest 1 o --nic user,forward=tcp:1
grep -q 'forward=tcp:1' err || fail "a bad forward: $(cat err)"

# An overlay has no name, whatever becomes of the machine.
mkdir overlay
"$VDISK" create base.vhdx --size 16M
TMPDIR=$PWD/overlay "$BUILD/hv" run --kernel "$guests/first" --append s --memory 64M --nic none --disk base.vhdx,overlay >running </dev/null &
machine=$!
until_said running 'hello from the guest'
same "$(ls -A overlay)" "" "what is in the overlay's directory"
kill -9 $machine
wait $machine || true
same "$(ls -A overlay)" "" "what is left of the overlay"
