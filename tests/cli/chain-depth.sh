#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Chains: 256 links read and write; a 257th is refused where it would be made, and when such a chain is opened.
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
    refused 'more than 256 links' vdisk create 256.$f --parent 255.$f
    refused 'more than 256 links' vdisk snapshot 255.$f 256.$f
    quietly create stray.$f --parent 0.$f
    refused 'more than 256 links' vdisk relink stray.$f --parent 255.$f --force
    [ ! -e 256.$f ] || fail "the 257th link was made"
    # What is put beneath the others makes a chain that is no disk, until it is taken away again.
    status 0 vdisk relink 1.$f --parent stray.$f --force
    refused 'more than 256 links' vdisk hash 255.$f
    status 0 vdisk relink 1.$f --parent 0.$f --force
    holds 255.$f ref.raw
    rm -f ./*.$f
done
