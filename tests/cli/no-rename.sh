#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A file system that cannot rename without replacing (NFS; here one of FUSE's): images are made there as elsewhere, and what
# stands there is not replaced.
. "$(dirname "$0")/../lib.sh"
need mkntfs ntfs-3g
[ -w /dev/fuse ] || skip "no /dev/fuse"

raw fs.raw 64M
mkntfs -q -Q -F fs.raw 2>/dev/null
mkdir m
mounts+=("$PWD/m")
ntfs-3g fs.raw m || skip "ntfs-3g cannot mount"

raw content 4M
random_bytes 100000 1 | dd of=content conv=notrunc status=none
for f in vhd vhdx; do
    quietly convert content m/base.$f
    holds m/base.$f content
    quietly create m/child.$f --parent m/base.$f
    quietly snapshot m/child.$f m/top.$f
    quietly move m/top.$f m/moved.$f
    mkdir m/chain
    quietly move m/moved.$f m/chain --chain
    holds m/chain/moved.$f content
    same "$(ls -A m/chain | tr '\n' ' ')" "base.$f child.$f moved.$f " "in the directory of the chain"
    same "$(ls -A m | tr '\n' ' ')" "base.$f chain child.$f " "what is left"

    refused "m/base.$f: exists" vdisk create m/base.$f --size 1M
    holds m/base.$f content
    rm -r m/chain m/*.$f
done
