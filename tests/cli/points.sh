#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# point and changes: what is written counts, and nothing else; points follow each other and go; what is behind our back is
# noticed; a chain, a resize, a file that is not ours.
. "$(dirname "$0")/../lib.sh"

# changed FILE POINT [OPTION...]: "offset+length offset+length", in units of 64 KiB.
changed() {
    vdisk changes "$1" --since "${@:2}" --json | jq -r 'map("\(.offset / 65536)+\(.length / 65536)") | join(" ")'
}
whole() {
    same "$(vdisk changes "$1" --since "$2" --json 2>warned | jq -c .)" "[{\"offset\":0,\"length\":$3}]" "$1 since $2"
}
MIB=1048576

for format in vhdx vhd raw; do
    disk=a.$format
    quietly create $disk --size 300M
    put $disk 0 5000 1
    status 0 vdisk point $disk monday
    [ -f $disk.points ] || fail "no points file"
    same "$(changed $disk monday)" "" "nothing has changed yet"
    put $disk $((100 * MIB + 65530)) 10 2
    same "$(changed $disk monday)" "1600+2"
    status 0 vdisk point $disk tuesday
    put $disk $((200 * MIB)) 1 3
    put $disk 0 1 3
    same "$(changed $disk monday)" "0+1 1600+2 3200+1"
    same "$(changed $disk tuesday)" "0+1 3200+1"
    same "$(changed $disk monday --until tuesday)" "1600+2"
    same "$(vdisk changes $disk --json | jq -r 'map("\(.name) \(.whole)") | join(",")')" "monday false,tuesday false"
    vdisk changes $disk >out
    grep -q monday out || fail "monday is not listed"
    vdisk hash $disk >/dev/null && vdisk check $disk >/dev/null
    same "$(changed $disk monday)" "0+1 1600+2 3200+1" "reading changes nothing"

    refused "there is a point 'monday' already" vdisk point $disk monday
    refused "no point 'sunday'" vdisk changes $disk --since sunday
    refused "no point 'sunday'" vdisk point $disk sunday --delete
    refused "is not older" vdisk changes $disk --since tuesday --until monday
    refused "until goes with" vdisk changes $disk --until monday
    refused "1 to 63 bytes" vdisk point $disk "$(printf 'x%.0s' {1..64})"
    refused "control characters" vdisk point $disk $'a\nb'

    status 0 vdisk point $disk tuesday --delete
    same "$(changed $disk monday)" "0+1 1600+2 3200+1" "the older point has what the younger had"
    put $disk $((299 * MIB)) 1 4
    same "$(changed $disk monday)" "0+1 1600+2 3200+1 4784+1"

    # Growth is a change.
    status 0 vdisk resize $disk 301M
    same "$(changed $disk monday)" "0+1 1600+2 3200+1 4784+1 4800+16"
    status 0 vdisk resize $disk 300M
    same "$(changed $disk monday)" "0+1 1600+2 3200+1 4784+1"
    status 0 vdisk resize $disk 302M
    same "$(changed $disk monday)" "0+1 1600+2 3200+1 4784+1 4800+32"

    # Another program: our own, which does not find the points file.
    mv $disk.points away
    put $disk $((50 * MIB)) 1 5
    mv away $disk.points
    whole $disk monday $((302 * MIB))
    grep -q "was changed by something else" warned || fail "nothing is said"
    status 0 vdisk point $disk friday
    whole $disk monday $((302 * MIB))
    put $disk $((60 * MIB)) 1 6
    same "$(changed $disk friday)" "960+1" "a point after that is exact"

    # A file that is not what it must be: the disk goes on, the points do not.
    printf 'x' | dd of=$disk.points bs=1 seek=10 conv=notrunc status=none
    printf 'x' | dd of=$disk.points bs=1 seek=4106 conv=notrunc status=none
    refused "points: .*$disk.points: headers at 0x0" vdisk changes $disk --since friday
    printf x | vdisk write $disk >/dev/null 2>warned
    grep -q "not tracked" warned || fail "nothing is said of what is not tracked"
    refused "remove it first" vdisk point $disk saturday --quiet
    rm $disk.points
    status 0 vdisk point $disk saturday
    status 0 vdisk point $disk saturday --delete
    [ ! -e $disk.points ] || fail "without points there is no file"
    refused "no point" vdisk changes $disk --since saturday
done

# As many as there can be.
for i in {1..31}; do quietly point a.vhdx "p$i"; done
refused "31 points already" vdisk point a.vhdx p32
put a.vhdx 0 1 8
same "$(changed a.vhdx p1)" "0+1"
same "$(changed a.vhdx p31)" "0+1"
for i in {31..2}; do quietly point a.vhdx "p$i" --delete; done
same "$(changed a.vhdx p1)" "0+1"

# The parent's points are the chain's: what the child holds was written since.
vdisk snapshot a.vhdx b.vhdx --block-size 1M --quiet
put b.vhdx $((20 * MIB)) 1 9
same "$(changed b.vhdx p1)" "0+1 320+1"
status 0 vdisk point b.vhdx child
put b.vhdx $((30 * MIB)) 1 9
same "$(changed b.vhdx child)" "480+1"
same "$(changed b.vhdx p1)" "0+1 320+1 480+1"
same "$(vdisk changes b.vhdx --json | jq -r 'map("\(.name) \(.file)") | join(",")')" "child b.vhdx,p1 ./a.vhdx"


# Merged, what the child brings counts, and its own points are gone with it.
status 0 vdisk merge b.vhdx
same "$(changed a.vhdx p1)" "0+1 320+1 480+1" "changes after a merge"
[ ! -e b.vhdx.points ] || fail "the points of a child that is gone are there"

# Moved, it has its points; those of a target that is replaced are not its own.
printf 'x' >c.vhd.points
for to in c.vhd c.raw d.vhdx; do
    status 0 vdisk move a.vhdx $to
    same "$(changed $to p1)" "0+1 320+1 480+1" "changes after a move to $to"
    put $to $((40 * MIB)) 1 10
    same "$(changed $to p1)" "0+1 320+1 480+1 640+1" "changes after a write to $to"
    [ ! -e a.vhdx.points ] || fail "the points of a file that is gone are there"
    status 0 vdisk move $to a.vhdx
    status 0 vdisk point a.vhdx now
    same "$(changed a.vhdx now)" ""
    status 0 vdisk point a.vhdx p1 --delete
    status 0 vdisk point a.vhdx p1
    put a.vhdx 0 1 8
    put a.vhdx $((20 * MIB)) 1 8
    put a.vhdx $((30 * MIB)) 1 8
    status 0 vdisk point a.vhdx now --delete
done

# By another name it is the same file; a name of its own has its own.
ln -s a.raw link.raw
quietly point link.raw one --input-format raw
[ -f a.raw.points ] && [ ! -e link.raw.points ] || fail "a link's points are the file's"
nothing_left
