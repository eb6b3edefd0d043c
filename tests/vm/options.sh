#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What hv run is asked for, and what it says where that cannot be. SeaBIOS starts the first disk of each bus, and only what --boot
# names.
. "$(dirname "$0")/../machine.sh"
hv=(timeout -s KILL 60 "$BUILD/hv" run)

# boots FILE SIGN: a disk whose first sector says <SIGN> on COM1, among what SeaBIOS says there, and switches off.
boots() {
    printf '\xba\xf8\x03\xb0<\xee\xb0%s\xee\xb0>\xee\xba\x04\x06\x31\xc9\x89\xc8\xc1\xe0\x0a\x0d\x00\x20\xef\x41\x83\xf9\x08\x72\xf1\xf4\xeb\xfd' "$2" >"$1"
    truncate -s 510 "$1"
    printf '\x55\xaa' >>"$1"
    truncate -s 4M "$1"
}

# says STATUS PATTERN COMMAND...: one line, which begins with "hv: ".
says() {
    status "$1" "${@:3}"
    same "$(wc -l <err)" 1 "lines of errors: ${*:3}: $(cat err)"
    grep -qE -- "^hv: .*$2" err || fail "no \"$2\" in the error of: ${*:3}: $(cat err)"
}

boots a.raw @
boots b.raw "#"
boots c.raw "&"

status 0 "${hv[@]}" a.raw --disk b.raw,bus=ide,readonly --disk c.raw,bus=scsi --cpus 3 --memory 2G --nic user --nic tap=tap7 --name m --dry-run
same "$(cat out)" "machine m: 3 processors, 2 GiB (2147483648 bytes) of memory
  boot: SeaBIOS
  disk 0: a.raw, virtio: raw, 4 MiB (4194304 bytes)
  disk 1: b.raw, ide, read-only: raw, 4 MiB (4194304 bytes)
  disk 2: c.raw, scsi: raw, 4 MiB (4194304 bytes)
  nic 0: user
  nic 1: tap tap7" "the machine"

says 1 '--cpus: 1 to 64' "${hv[@]}" a.raw --cpus 65
says 1 '--memory: at least 2 MiB' "${hv[@]}" a.raw --memory 1000
says 1 '--initrd and --append go with --kernel' "${hv[@]}" a.raw --append quiet
says 1 'bus=usb: the bus is virtio, scsi or ide' "${hv[@]}" --disk a.raw,bus=usb
says 1 'a limit needs bus=virtio or bus=scsi' "${hv[@]}" --disk a.raw,bus=ide,iops=5
says 1 'absent.vhdx.*No such file' "${hv[@]}" absent.vhdx
says 1 '--boot floppy: disk and net' "${hv[@]}" a.raw --boot floppy
says 1 'absent: No such file' "${hv[@]}" a.raw --firmware absent
head -c 1000 a.raw >short
says 1 'short: not a firmware image' "${hv[@]}" a.raw --firmware short
says 1 'nic: bridge=a: ' "${hv[@]}" a.raw --nic bridge=a

# Without rights, without KVM, without the firmware's package: what to do is said.
hidden() { # SETUP COMMAND...: in a mount namespace of its own
    unshare -m sh -c "$1"' && exec "$@"' sh "${@:2}"
}
if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    devices='mount -t tmpfs none /dev && mknod /dev/null c 1 3'
    says 1 'load kvm_intel or kvm_amd' hidden "$devices" "${hv[@]}" a.raw --serial none
    says 1 'usermod -aG kvm' hidden "$devices && mknod -m 0 /dev/kvm c 10 232" \
        setpriv --inh-caps=-dac_override --bounding-set=-dac_override "${hv[@]}" a.raw --serial none
    [ ! -d /usr/share/seabios ] || says 1 'install the package seabios' hidden 'mount -t tmpfs none /usr/share/seabios' \
        "${hv[@]}" a.raw --serial none
fi

[ -e /usr/share/seabios/bios-256k.bin ] || skip "the package seabios is not installed"
first() {
    "${hv[@]}" "${@:2}" --memory 64M --nic none </dev/null >out 2>err || fail "hv: $(cat out err)"
    same "$(tr -dc '@#&' <out)" "$1" "which of the disks has started: ${*:2}"
}
first @ a.raw --disk b.raw,bus=ide --disk c.raw,bus=scsi
first "#" --disk b.raw,bus=ide --disk c.raw,bus=scsi --disk a.raw
first "&" --disk c.raw,bus=scsi --disk b.raw,bus=ide
"$BUILD/hv" run a.raw --memory 64M --boot net </dev/null >serial 2>said &
until_said serial 'No bootable device'
! grep '<' serial || fail "a disk, which is not in the boot order: $(cat serial)"
echo "each of three disks has started"
