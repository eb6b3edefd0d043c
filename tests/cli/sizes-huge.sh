#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# 2040 GiB in a VHD and 64 TiB in a VHDX: made, opened, written at both ends and read back in a moment, in a few MiB.
. "$(dirname "$0")/../lib.sh"
need jq

T=$((1 << 40))
LIMIT_KIB=40000 # resident memory; address space would count the threads' stacks too

# small COMMAND...: within the memory and two seconds
small() {
    local began kib
    began=$EPOCHREALTIME
    /usr/bin/time -f %M -o kib "$@" >out
    kib=$(tail -n 1 kib)
    [ "$kib" -le $LIMIT_KIB ] || [ -n "${ASAN_OPTIONS:-}" ] || [[ $BUILD == */?san ]] || fail "$kib KiB: $*"
    [ $(((${EPOCHREALTIME/./} - ${began/./}) / 1000)) -le 2000 ] || [[ $BUILD == */?san ]] || fail "too slow: $*"
}
[ -x /usr/bin/time ] || skip "no /usr/bin/time"

try() { # FILE SIZE BLOCK OPTION...
    local f=$1 size=$2
    small "$VDISK" create "$f" --size "$size" --quiet "${@:3}"
    [ "$(used_of "$f")" -le $((32 << 20)) ] || fail "$f takes $(used_of "$f") bytes"
    small "$VDISK" info "$f" --json
    same "$(jq '."virtual-size"' out)" "$size" "$f"
    for at in 0 $((size / 2 - 3000)) $((4 << 30)) $(((4 << 30) - 5000)) $((size - 7000)); do
        random_bytes 7000 $((at % 1000 + 1)) >part
        small "$VDISK" write "$f" --quiet --offset $at <part
        small "$VDISK" read "$f" --offset $at --length 7000
        cmp out part
    done
    small "$VDISK" read "$f" --offset $((size / 3)) --length 100000
    cmp out <(head -c 100000 /dev/zero)
    small "$VDISK" map "$f" --json
    same "$(jq 'map(.length) | add' out)" "$size" "the map of $f"
    [ "$(used_of "$f")" -le $((512 << 20)) ] || fail "$f takes $(used_of "$f") bytes"
}

try a.vhdx $((64 * T)) --block-size 1M
sound a.vhdx
try b.vhdx $((64 * T)) --block-size 256M --sector-size 4096
sound b.vhdx
try c.vhdx $((64 * T))
sound c.vhdx
try d.vhd $((2040 << 30))
sound d.vhd
small "$VDISK" create kid.vhdx --parent a.vhdx --block-size 1M --quiet
for at in $((63 * T)) 4096; do
    random_bytes 5000 9 >part
    small "$VDISK" write kid.vhdx --quiet --offset $at <part
    small "$VDISK" read kid.vhdx --offset $at --length 5000
    cmp out part
done
small "$VDISK" read kid.vhdx --offset $((64 * T - 7000)) --length 7000
cmp out <(random_bytes 7000 $(((64 * T - 7000) % 1000 + 1)))
sound kid.vhdx
