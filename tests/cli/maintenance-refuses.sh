#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What maintains a disk refuses an image that is in use, one that may not be written and a full file system: one line,
# status 1, nothing left behind, and every byte as it was.
. "$(dirname "$0")/../lib.sh"

chain() { # FORMAT: base and a child
    rm -f ./*."$1"
    quietly create base."$1" --size 12M
    put base."$1" 0 3000000 1
    quietly snapshot base."$1" child."$1"
    put child."$1" 1000000 3000000 2
}
commands() { # FORMAT
    echo "snapshot child.$1 new.$1"
    echo "merge child.$1"
    echo "compact child.$1"
    echo "resize child.$1 20M"
    echo "relink child.$1 --parent base.$1"
    echo "point child.$1 monday"
    echo "move child.$1 new.$1"
}
all_refused() { # PATTERN FORMAT [PREFIX...]
    local pattern=$1 f=$2 command
    shift 2
    sha256sum ./*."$f" >before
    while read -r -a command; do
        refused "$pattern" "$@" "$VDISK" "${command[@]}"
        sha256sum -c --quiet before || fail "touched by: ${command[*]}"
        [ ! -e "new.$f" ] && [ ! -e "child.$f.points" ] || fail "left behind by: ${command[*]}"
        nothing_left
    done < <(commands "$f")
}

for f in vhdx vhd; do
    chain $f

    # somebody writes to it, who cannot be asked
    mkfifo pipe
    "$VDISK" write child.$f --offset 0 --quiet <pipe &
    writer=$!
    exec 9>pipe
    waits_for_pipe $writer
    all_refused "child\\.$f: is in use" $f
    exec 9>&-
    wait $writer
    rm pipe

    # it may not be written
    if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
        chmod 777 . && chmod 444 ./*.$f
        umask 0
        all_refused "child\\.$f: .*(Permission denied|cannot open for writing)" $f \
            setpriv --reuid=65534 --regid=65534 --clear-groups
        umask 22
    fi
done

# A full file system.
mkdir small
if [ "$(id -u)" != 0 ] || ! mount -t tmpfs -o size=16M vdisk-test small 2>/dev/null; then
    skip "cannot mount a small file system"
fi
mounts+=("$PWD/small")
for f in vhdx vhd; do
    cd small || exit
    chain $f
    cd ..
    want=$(hash_of small/child.$f)
    head -c 16M /dev/zero >small/filler 2>/dev/null || true
    refused 'No space left' vdisk snapshot small/child.$f small/new.$f
    refused 'No space left' vdisk resize small/child.$f 2000G
    same "$(cd small && echo ./*.$f)" "./base.$f ./child.$f" "what stands there"
    [ -z "$(find small -name '.*.tmp')" ] || fail "something was left"
    same "$(hash_of small/child.$f)" "$want" "the content"
    sound small/child.$f
    rm small/filler
    status 0 vdisk snapshot small/child.$f small/new.$f
    same "$(hash_of small/new.$f)" "$want" "the content, of the child"
    rm small/*.$f
done
