#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The testbed's side inside: runs each script and leaves the results on their disk.
set -u
export SRC=/testbed/src BUILD=/testbed/src/build VDISK=/testbed/src/build/vdisk FILES=/testbed/files RESULTS=/var/results TESTBED=1
unset job_disk
modprobe kvm_amd 2>/dev/null || modprobe kvm_intel 2>/dev/null || echo "testbed: no nested KVM"
mkdir -p "$RESULTS"
while read -r script; do
    name=$(basename "$script" .sh)
    mkdir -p "/var/tests/$name"
    cd "/var/tests/$name" || exit 1
    began=$EPOCHREALTIME
    TMPDIR=$PWD bash "$SRC/$script" >"$RESULTS/$name.log" 2>&1 </dev/null
    status=$?
    echo $status >"$RESULTS/$name.status"
    tenths=$(((${EPOCHREALTIME/./} - ${began/./}) / 100000))
    case $status in 0) verdict=pass ;; 77) verdict=skip ;; *) verdict=FAIL ;; esac
    printf 'testbed: %s  %-30s %4d.%d s  %s\n' $verdict "$name" $((tenths / 10)) $((tenths % 10)) "$(tail -n 1 "$RESULTS/$name.log" | cut -c 1-100)"
    cd / && rm -rf "/var/tests/$name"
done </testbed/scripts
touch "$RESULTS/done"
for disk in /sys/block/vd*; do
    [ "$(cat "$disk/serial")" != results ] || tar -C "$RESULTS" -cf "/dev/${disk##*/}" .
done
