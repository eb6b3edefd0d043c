#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Chains: 256 links read and write, 257 are refused.
. "$(dirname "$0")/../lib.sh"

ulimit -n 1024
raw ref.raw 3M
for f in vhdx vhd; do
    raw ref.raw 3M
    quietly create 0.$f --size 3M
    put 0.$f 0 70000 1 ref.raw
    for ((i = 1; i < 256; i++)); do
        quietly create $i.$f --parent $((i - 1)).$f
        case $i in 1 | 100 | 254) put $i.$f $((i * 5000)) 9000 $i ref.raw ;; esac
    done
    put 255.$f 2000000 600 7 ref.raw
    holds 255.$f ref.raw
    status 0 vdisk info 255.$f --chain
    rc=0
    vdisk create 256.$f --parent 255.$f >out 2>err || rc=$?
    if [ $rc -eq 0 ]; then
        refused 256 vdisk hash 256.$f
    else
        grep -q 256 err || fail "$(cat err)"
    fi
    holds 255.$f ref.raw
    rm -f ./*.$f
done
