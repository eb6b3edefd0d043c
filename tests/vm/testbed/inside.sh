#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The testbed's side inside: runs each script and leaves the results on their disk. inside.sh TREE RESULTS: with that tree, on the
# machine as it is, and in that folder.
set -u
tree=${1:-/testbed} tests=${TMPDIR:-/var/tests}
export SRC=$tree/src BUILD=$tree/src/build VDISK=$tree/src/build/vdisk FILES=$tree/files RESULTS=${2:-/var/results} TESTBED=1
unset job_disk
[ -c /dev/kvm ] || modprobe kvm_amd 2>/dev/null || modprobe kvm_intel 2>/dev/null || echo "testbed: no nested KVM"
mkdir -p "$RESULTS"
while read -r script; do
    name=$(basename "$script" .sh)
    mkdir -p "$tests/$name"
    cd "$tests/$name" || exit 1
    began=$EPOCHREALTIME
    TMPDIR=$PWD bash "$SRC/$script" >"$RESULTS/$name.log" 2>&1 </dev/null
    status=$?
    echo $status >"$RESULTS/$name.status"
    tenths=$(((${EPOCHREALTIME/./} - ${began/./}) / 100000))
    case $status in 0) verdict=pass ;; 77) verdict=skip ;; *) verdict=FAIL ;; esac
    printf 'testbed: %s  %-30s %4d.%d s  %s\n' $verdict "$name" $((tenths / 10)) $((tenths % 10)) "$(tail -n 1 "$RESULTS/$name.log" | cut -c 1-100)"
    cd / && rm -rf "${tests:?}/$name"
done <"$tree/scripts"
touch "$RESULTS/done"
[ $# -eq 0 ] || exit 0
for disk in /sys/block/vd*; do
    [ "$(cat "$disk/serial")" != results ] || tar -C "$RESULTS" -cf "/dev/${disk##*/}" .
done
