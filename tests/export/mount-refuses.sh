#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What cannot be mounted is refused in one line, nothing is left mounted, and no process stays.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
exported

quietly create a.vhdx --size 16M
quietly create b.vhdx --size 16M
mkdir m n full
touch full/file
truncate -s 1M plain
before=$(sha_of a.vhdx)

refused "no such file|No such file" vdisk mount a.vhdx missing
refused "No such file" vdisk mount missing.vhdx m
refused "plain: is not a directory" vdisk mount a.vhdx plain
refused "full: is not empty" vdisk mount a.vhdx full
refused "there is no format" vdisk mount a.vhdx m --input-format qcow2
refused "without --read-only" vdisk mount a.vhdx m --read-only --overlay
refused "raw image has no children" vdisk mount --overlay plain m
refused "no file system is found" vdisk mount a.vhdx m --fs
refused "no disk is mounted" vdisk umount m
refused "No such file" vdisk umount missing
refused "too few" vdisk mount a.vhdx
same "$(sha_of a.vhdx)" "$before"

attach a.vhdx m
refused "m: something is mounted there already" vdisk mount b.vhdx m
refused "a.vhdx: is in use" vdisk mount a.vhdx n
refused "a.vhdx: is in use" vdisk mount a.vhdx n --read-only
refused "a.vhdx: is in use" vdisk write a.vhdx
exec 7<m/disk
refused "m: is in use" vdisk umount m
exec 7<&-
detach m

# A mount whose process died is told, and can be removed.
attach a.vhdx m
kill_holder m
refused "has died" vdisk mount b.vhdx m
vdisk umount m
unset 'mounts[-1]'
attach b.vhdx m
detach m
for i in a b; do clean $i.vhdx; done
[ -z "$(pgrep -f "vdisk-fuse .*$PWD/")" ] || fail "a process stays"
