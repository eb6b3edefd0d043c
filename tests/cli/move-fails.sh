#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Moves to where there is no room, of every format and in every way: one error that names the destination, nothing stands there
# afterwards, and the source is what it was, its points too. A source that somebody has open, and a destination that is the
# source by another name, are refused.
. "$(dirname "$0")/../lib.sh"

# stays PATTERN SOURCE ARGUMENT...
stays() {
    local pattern=$1 before
    shift
    before=$(sha_of "$1")
    refused "$pattern" vdisk move "$@"
    same "$(sha_of "$1")" "$before" "$1 after a move that failed"
    [ ! -d full ] || same "$(find full -mindepth 1 ! -name lost+found)" "" "what is left where there is no room"
}

# The same file by other names.
quietly create a.vhdx --size 8M
put a.vhdx 0 3000000 1
mkdir sub
ln -s ../a.vhdx sub/symbolic.vhdx
ln a.vhdx sub/hard.vhdx
ln -s "$PWD" around
for name in a.vhdx ./a.vhdx sub/symbolic.vhdx sub/hard.vhdx around/a.vhdx . around; do
    stays "source and destination are the same file" a.vhdx $name
done
stays "source and destination are the same file" sub/symbolic.vhdx a.vhdx
ln -s nowhere.vhdx sub/dangling.vhdx
stays "dangling.vhdx: exists already" a.vhdx sub/dangling.vhdx
mkdir sub/dir
stays "sub/dir/+a.vhdx: exists already" a.vhdx sub/dir/ < <(touch sub/dir/a.vhdx)
rm sub/*.vhdx

# Chains: names that are taken are found before anything is copied; so are two links of one name.
quietly create c.vhdx --parent a.vhdx
mkdir all other
cp a.vhdx all/a.vhdx
stays "all/a.vhdx: exists already" c.vhdx all --chain
stays "c.vhdx: (exists already|source and destination are the same file)" c.vhdx . --chain
quietly create other/a.vhdx --parent a.vhdx
rm all/a.vhdx
stays "two files of its chain would be all/a.vhdx" other/a.vhdx all --chain --parent a.vhdx
same "$(ls -A all)" "" "what was copied"

# Somebody has it open who cannot be asked.
mkfifo in
"$VDISK" write a.vhdx --quiet <in &
exec 7>in
waits_for_pipe $!
refused "a.vhdx: is in use" vdisk move a.vhdx b.vhdx
[ ! -e b.vhdx ] || fail "b.vhdx is there"
exec 7>&-
wait

# No room.
[ "$(id -u)" -eq 0 ] || skip "all but full file systems: not root"
declare -A other=([vhdx]=raw [vhd]=vhdx [raw]=vhd)
mkdir full
for fs in tmpfs ext4; do
    if [ $fs = tmpfs ]; then
        mount -t tmpfs -o size=10M none full || skip "all but full file systems: no mounts here"
    else
        truncate -s 14M full.img
        mkfs.ext4 -q full.img && mount -o loop full.img full 2>err || { echo "no loop device: $(cat err)" && break; }
    fi
    mounts+=("$PWD/full")
    for f in vhdx vhd raw; do
        rm -f d.*
        quietly create d.$f --size 24M
        put d.$f 1M 14000000 2
        [ $f = raw ] || quietly point d.$f monday
        put d.$f 4M 65536 3
        for to in $f ${other[$f]}; do
            stays "full/d.$to: .*No space left on device" d.$f full/d.$to
        done
        [ $f = raw ] || same "$(vdisk changes d.$f --since monday --json | jq -c .)" '[{"offset":4194304,"length":65536}]' "$f: changes"
        quietly create fixed.$f --size 16M --type fixed --force
        [ $f = raw ] || stays "full/fixed.$f: .*No space left on device" fixed.$f full
    done
    quietly create small.vhdx --size 24M --block-size 1M --force # its parent fits, it does not
    put small.vhdx 0 2000000 4
    quietly create kid.vhdx --parent small.vhdx --force
    put kid.vhdx 8M 12000000 5
    stays "full/kid.vhdx: .*No space left on device" kid.vhdx full --chain
    stays "full/flat.vhdx: .*No space left on device" kid.vhdx full/flat.vhdx --flatten
    stays "full/kid.vhdx: .*No space left on device" kid.vhdx full
    quietly create grand.vhdx --parent kid.vhdx --force # its parent does not
    stays "full/kid.vhdx: No space left on device" grand.vhdx full --chain
    content=$(hash_of small.vhdx)
    rm grand.vhdx kid.vhdx
    quietly move small.vhdx full # there is room for this one
    same "$(hash_of full/small.vhdx)" "$content" "what fits"
    [ ! -e small.vhdx ] || fail "the source is still there"
    umount full
    unset 'mounts[-1]'
done
nothing_left
