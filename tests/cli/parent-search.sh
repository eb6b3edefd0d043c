#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A parent is found beside the child, beneath --parent-dir, or in the caller's list; by identity, never by name alone.
. "$(dirname "$0")/../lib.sh"

for f in vhdx vhd; do
    rm -rf a b c
    mkdir -p a b/deep c
    raw ref.raw 6M
    quietly create a/base.$f --size 6M
    put a/base.$f 0 100000 1 ref.raw
    quietly create a/kid.$f --parent a/base.$f
    put a/kid.$f 200000 5000 2 ref.raw
    quietly create a/other.$f --size 6M
    holds a/kid.$f ref.raw
    (cd a && holds kid.$f ../ref.raw)
    (cd c && holds ../a/kid.$f ../ref.raw)

    # moved together
    mv a/base.$f a/kid.$f b
    holds b/kid.$f ref.raw

    # moved apart
    mv b/base.$f c
    refused "base.$f" vdisk hash b/kid.$f
    holds_with() {
        same "$(hash_of b/kid.$f "$@")" "$(sha_of ref.raw)" "kid with $*"
    }
    holds_with --parent c/base.$f
    holds_with --parent-dir c
    holds_with --parent a/other.$f --parent c/base.$f
    refused 'other|parent' vdisk hash b/kid.$f --parent a/other.$f
    refused "base.$f" vdisk hash b/kid.$f --parent-dir a

    # renamed: only the list can say
    mv c/base.$f c/moved.$f
    holds_with --parent c/moved.$f
    refused "base.$f" vdisk hash b/kid.$f --parent-dir c

    # one that has the name, but not the identity
    cp a/other.$f b/base.$f
    refused "base.$f" vdisk hash b/kid.$f
    grep -Eqi '[0-9a-f]{8}-[0-9a-f]{4}-.*[0-9a-f]{8}-[0-9a-f]{4}-' err || fail "both identities are not shown: $(cat err)"
    holds_with --parent c/moved.$f

    # a parent in another directory, by relative path
    rm -f b/base.$f c/moved.$f
    quietly create a/p.$f --size 6M
    put a/p.$f 0 1000 3
    quietly create b/q.$f --parent a/p.$f
    same "$(hash_of a/p.$f)" "$(hash_of b/q.$f --parent-dir a)" "a parent beneath a directory"

    # parents that bear the child's own name, in other directories: neither is a circle
    raw ref.raw 6M
    for d in c b a; do
        rm -f $d/same.$f
    done
    quietly create c/same.$f --size 6M
    put c/same.$f 0 100000 4 ref.raw
    quietly create b/same.$f --parent c/same.$f
    refused "its parent '[^']*same.$f' was not found" vdisk write b/same.$f
    put_with() { # FILE OFFSET LENGTH SEED: with both as parents that it may have
        random_bytes "$3" "$4" | quietly write "$1" --offset "$2" --parent b/same.$f --parent c/same.$f
        random_bytes "$3" "$4" | dd of=ref.raw bs=64K seek="$2" oflag=seek_bytes conv=notrunc status=none
    }
    put_with b/same.$f 50000 100000 5
    quietly create a/same.$f --parent b/same.$f --parent-dir c
    put_with a/same.$f 123000 70000 6
    refused "its parent '[^']*same.$f' was not found" vdisk hash a/same.$f
    refused "its parent '[^']*same.$f' was not found" vdisk hash a/same.$f --parent-dir a
    refused "b/same.$f: its parent '[^']*same.$f' was not found" vdisk hash a/same.$f --parent-dir b
    refused "identity is [^ ]*, but c/same.$f has" vdisk hash a/same.$f --parent-dir c
    same "$(hash_of a/same.$f --parent b/same.$f --parent c/same.$f)" "$(sha_of ref.raw)" "three of one name"
    same "$(hash_of a/same.$f --parent c/same.$f --parent b/same.$f)" "$(sha_of ref.raw)" "three of one name"
    status 0 vdisk relink a/same.$f --parent b/same.$f --parent c/same.$f
    mv b/same.$f a/renamed.$f
    mv c/same.$f a/base.$f
    status 0 vdisk relink a/renamed.$f --parent a/base.$f
    status 0 vdisk relink a/same.$f --parent a/renamed.$f
    holds a/same.$f ref.raw
done
