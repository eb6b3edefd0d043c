# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For scripts that run Debian under hv in the testbed: . "$SRC/tests/vm/testbed/guest.sh"
. "$SRC/tests/lib.sh"
[ -d "${FILES:-}/guest" ] || skip "no image of a guest"
hv=$BUILD/hv

# guest_options HOW CPUS: sets $guest_options. HOW: kernel (started directly) or seabios (SeaBIOS and the image's GRUB).
# What stands on the guest's standard output goes to ./serial.
guest_options() {
    guest_options=(--cpus "$2" --memory 384M --serial file=serial)
    case $1 in
    kernel)
        guest_options+=(--kernel "$FILES/guest/vmlinuz" --initrd "$FILES/guest/initrd.small"
            --append "root=LABEL=vdisk-root console=ttyS0 quiet panic=-1 vdisk.direct")
        ;;
    seabios) ;;
    *) fail "kernel or seabios, not $1" ;;
    esac
}

# job: makes ./job.raw of the script on stdin; the image runs the disk that begins as a script does.
job() {
    cat >job.raw
    truncate -s 64K job.raw
}

# guest HOW CPUS OPTION...: Debian, until it has switched off, with the work in ./job.raw done.
guest() {
    local status=0 began=$SECONDS
    guest_options "$1" "$2"
    rm -f serial
    timeout -k 5 400 "$hv" run "${@:3}" --disk job.raw "${guest_options[@]}" </dev/null >out 2>&1 || status=$?
    [ $status -eq 0 ] || guest_fail "hv: status $status after $((SECONDS - began)) s: $(cat out)"
    said "job: 0"
}

guest_fail() {
    tail -n 40 serial
    fail "$*"
}

# The serial port's lines, without what GRUB tells a terminal.
lines() {
    tr -d '\r' <serial | sed 's/\x1b\[[0-9;?]*[A-Za-z]//g'
}

# said LINE: the guest has said it.
said() {
    lines | grep -xF -- "$1" >/dev/null || guest_fail "the guest did not say '$1'"
}

# word_of NAME: what the guest said behind "NAME: ".
word_of() {
    lines | sed -n "s/^$1: //p"
}

# whole RAW: its ext4 file system has no fault. file_in RAW NAME: a file of it, on stdout.
whole() {
    e2fsck -f -n "$1" >fsck.log 2>&1 || fail "fsck of $1: $(cat fsck.log)"
}
file_in() {
    debugfs -R "cat /$2" "$1" 2>/dev/null
}
