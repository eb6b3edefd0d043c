#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# One writer at a time, QEMU included: whoever comes second is refused in one line, and the image is not harmed.
. "$(dirname "$0")/../lib.sh"
need qemu-io qemu-img

# held COMMAND...: runs while vdisk holds $f open for writing.
held() {
    mkfifo pipe
    "$VDISK" write "$f" --quiet <pipe &
    exec 9>pipe
    waits_for_pipe $!
    "$@"
    exec 9>&-
    wait $!
    rm pipe
}
# qemu_held COMMAND...: the same for QEMU.
qemu_held() {
    mkfifo pipe
    qemu-io -f "$q" "$f" <pipe >/dev/null 2>&1 &
    exec 9>pipe
    until grep -qs ":$(stat -c %i "$f") " /proc/locks; do sleep 0.05; done
    sleep 0.3 # its locks are several
    "$@"
    echo quit >&9
    exec 9>&-
    wait $!
    rm pipe
}
locked='lock|in use|another|busy'

for f in a.vhdx a.vhd a.raw; do
    case $f in a.vhdx) q=vhdx ;; a.vhd) q=vpc ;; *) q=raw ;; esac
    quietly create $f --size 8M
    put $f 0 100000 1
    print=$(sha_of $f)

    printf x >x
    second_writer() {
        refused "$f.*($locked)" vdisk write $f
    }
    qemu_writer() {
        ! qemu-io -f $q -c 'write 0 512' $f >out 2>&1 || fail "QEMU writes beside us"
        grep -q lock out || fail "QEMU was stopped by something else: $(cat out)"
    }
    held second_writer
    held qemu_writer
    same "$(sha_of $f)" "$print" "$f after two writers"
    qemu_held second_writer
    same "$(sha_of $f)" "$print" "$f after QEMU and a second writer"

    # readers among themselves
    reader() {
        status 0 vdisk hash $f
    }
    status 0 vdisk compare $f $f
    [ $f = a.raw ] || sound $f
done

# A child open for writing holds its parents against writers, and lets other children be.
quietly create kid.vhdx --parent a.vhdx
quietly create kid2.vhdx --parent a.vhdx
f=kid.vhdx
parent_writer() {
    refused "a.vhdx.*($locked)" vdisk write a.vhdx
}
other_child() {
    printf x | quietly write kid2.vhdx
}
held parent_writer
held other_child
status 0 vdisk hash kid.vhdx
