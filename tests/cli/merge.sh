#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Merging: a child into its parent, a link in the middle, a chain into its base or into a new image. The content stays, the
# bytes moved are the child's, and each misuse is refused in one line, with the chain as it was.
. "$(dirname "$0")/../lib.sh"

moved() { # as the command before said, in bytes
    sed -n 's/.*(\([0-9]*\) bytes).*/\1/p' out
}
atmost() {
    [ "$1" -le "$2" ] || fail "moved $1 bytes, of $2 that the child holds"
}

chain() { # FORMAT: base, a, b, c; ref.raw is what c shows
    rm -f ./*."$1" ref.raw
    raw ref.raw 24M
    quietly create base."$1" --size 24M --block-size "$block"
    put base."$1" 0 9000000 1 ref.raw
    n=2
    for pair in "base a" "a b" "b c"; do
        # shellcheck disable=SC2086
        set -- "$1" $pair
        quietly snapshot "$2.$1" "$3.$1" --block-size "$block"
        scatter "$3.$1" ref.raw 2 $n
        n=$((n + 1))
    done
}

for f in vhdx vhd; do
    block=1M
    chain $f
    holds c.$f ref.raw

    # the top into its parent
    held=$(vdisk map c.$f --json | jq '[.[] | select(.depth == 0 and .kind == "data") | .length] | add')
    status 0 vdisk merge c.$f
    grep -q 'merged into .*b\.'$f'.*removed 1 file' out || fail "not told: $(cat out)"
    [ "$(moved)" -gt 0 ] && atmost "$(moved)" "$held"
    [ ! -e c.$f ] || fail "the child is still there"
    holds b.$f ref.raw
    sound b.$f

    # one in the middle, while its child is named, and while it is found
    quietly snapshot b.$f c.$f
    put c.$f 5000000 3000 9 ref.raw
    status 0 vdisk merge c.$f --link a.$f
    [ ! -e a.$f ] || fail "the link is still there"
    holds c.$f ref.raw
    status 0 vdisk merge b.$f
    [ ! -e b.$f ] || fail "the middle is still there"
    holds c.$f ref.raw
    vdisk info c.$f >out
    grep -q base.$f out || fail "c's parent is not base"
    clean base.$f && clean c.$f
    same "$(qemu-img info --output=json base.$f | jq '."virtual-size"')" $((24 << 20)) "what QEMU sees"
    status 0 vdisk merge c.$f
    qemu-img convert -O raw base.$f qemu.raw
    cmp qemu.raw ref.raw || fail "QEMU reads something else"

    # all of it, each link's bytes once
    chain $f
    held=$(for d in a b c; do vdisk map $d.$f --json | jq '.[] | select(.depth == 0 and .kind == "data") | .length'; done |
        awk '{ sum += $1 } END { print sum }')
    status 0 vdisk merge c.$f --into base.$f
    grep -q 'removed 3 files' out || fail "not told: $(cat out)"
    atmost "$(moved)" "$held"
    same "$(echo ./*.$f)" ./base.$f "what is left"
    holds base.$f ref.raw

    # a new image: the chain stays
    chain $f
    sha256sum ./*.$f >before
    status 0 vdisk merge c.$f --into new.$f
    sha256sum -c --quiet before || fail "the chain was touched"
    holds new.$f ref.raw
    rm new.$f

    # trimmed and zeroed ranges do not let old bytes through; a parent with larger blocks; a child of larger ones
    case $f in vhdx) block=2M ;; vhd) block=1M ;; esac
        quietly create p.$f --size 24M --block-size $block
        head -c 24M ref.raw | quietly write p.$f
        quietly snapshot p.$f q.$f --block-size $((3 - ${block%M}))M
        cp ref.raw zero.raw
        head -c 5M /dev/zero | quietly write q.$f --offset 3M
        dd if=/dev/zero of=zero.raw bs=1M seek=3 count=5 conv=notrunc status=none
        holds q.$f zero.raw
        status 0 vdisk merge q.$f
        holds p.$f zero.raw
        sound p.$f
        rm p.$f

    # a parent that is smaller grows
    quietly create small.$f --size 9M
    head -c 9M ref.raw | quietly write small.$f
    quietly create large.$f --size 24M --parent small.$f
    head -c 9M ref.raw >large.raw && truncate -s 24M large.raw
    put large.$f 20000000 5000 3 large.raw
    holds large.$f large.raw
    status 0 vdisk merge large.$f
    holds small.$f large.raw
    clean small.$f

    # what a power cut leaves whose child has got its new parent: the command again, or the file itself, finishes
    block=1M
    for again in "c.$f --link b.$f" "b.$f"; do
        chain $f
        mkdir -p left && cp b.$f left/
        quietly merge c.$f --link b.$f
        mv left/b.$f b.$f
        quietly relink b.$f --parent a.$f --force 2>/dev/null # as its merge had it recorded
        sha256sum c.$f a.$f base.$f >before
        # shellcheck disable=SC2086
        status 0 vdisk merge $again
        grep -q 'moved 0.*removed 1 file' out || fail "not told: $(cat out)"
        [ ! -e b.$f ] || fail "what was left over is still there"
        sha256sum -c --quiet before || fail "the chain was touched"
        holds c.$f ref.raw
    done
    # ... one of a whole chain's: what is to be done is said; then it goes on
    chain $f
    cp a.$f left/
    quietly merge c.$f --link a.$f
    mv left/a.$f a.$f
    quietly relink a.$f --parent base.$f --force 2>/dev/null
    refused 'has another child, .*a\.'$f': .*"vdisk merge [^"]*a\.'$f'" removes it' vdisk merge c.$f --into base.$f
    read -r -a again < <(sed 's/.*"vdisk \(merge [^"]*\)".*/\1/' err)
    status 0 vdisk "${again[@]}"
    status 0 vdisk merge c.$f --into base.$f
    same "$(echo ./*.$f)" ./base.$f "what is left"
    holds base.$f ref.raw
    # ... whose parent is where the options say
    chain $f
    cp b.$f left/
    quietly merge c.$f --link b.$f
    quietly relink left/b.$f --parent a.$f --force 2>/dev/null
    mkdir -p moved && mv a.$f base.$f moved/
    refused 'was not found' vdisk merge c.$f --link left/b.$f
    status 0 vdisk merge c.$f --link left/b.$f --parent-dir moved
    [ ! -e left/b.$f ] || fail "what was left over is still there"
    mv moved/* . && holds c.$f ref.raw
    # ... but not when it holds anything else
    chain $f
    quietly merge c.$f --link b.$f
    quietly snapshot a.$f b.$f
    echo more | quietly write b.$f --offset 7777777
    sha256sum ./*.$f >before
    refused 'has another child' vdisk merge b.$f
    refused 'has another child' vdisk merge c.$f --link b.$f
    head -c 4096 /dev/zero | quietly write b.$f --offset 7774208
    sha256sum ./*.$f >before
    refused 'has another child' vdisk merge b.$f
    sha256sum -c --quiet before || fail "something was touched"
    rm b.$f

    # refused
    chain $f
    sha256sum ./*.$f >before
    refused 'no parent' vdisk merge base.$f
    raw other.raw 1M
    refused 'not in the chain' vdisk merge c.$f --into other.raw
    refused 'not in the chain' vdisk merge a.$f --into c.$f
    refused 'into itself' vdisk merge c.$f --into c.$f
    refused 'does not exist' vdisk merge c.$f --link b.$f --into none.$f
    quietly create x.$f --size 24M
    refused 'not a child' vdisk merge c.$f --child x.$f
    rm x.$f
    quietly create sibling.$f --parent b.$f
    refused 'has another child, .*sibling' vdisk merge c.$f
    rm sibling.$f
    mkfifo pipe
    "$VDISK" read c.$f --quiet >pipe &
    exec 9<pipe
    waits_for_pipe $!
    refused 'in use' vdisk merge b.$f
    exec 9<&-
    wait $! || true
    rm pipe
    quietly resize c.$f 20M --shrink-data
    refused 'would become larger' vdisk merge c.$f
    sed -i "/ \.\/c\.$f\$/d" before # resized
    [ "$(wc -l <before)" -eq 3 ] && sha256sum -c --quiet before || fail "something was touched"

    # a parent that may not be written
    if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
        chain $f
        chmod 755 . && chmod 666 c.$f && chmod 444 b.$f && chown nobody .
        (umask 0 && refused 'b\.'$f'.*(Permission denied|read)' setpriv --reuid=65534 --regid=65534 --clear-groups \
            "$VDISK" merge c.$f)
        holds c.$f ref.raw
    fi
done
