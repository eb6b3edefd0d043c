#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The main job, once through, on a scratch directory: each command is shown as it is run. Fails with the first that does.
set -euo pipefail

program=$(realpath "${VDISK:-build/vdisk}")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vdisk-demo.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
PATH=$(dirname "$program"):$PATH

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

title() {
    printf '\n%s# %s%s\n' "$bold" "$*" "$plain"
}

# Shows a command line and runs it, just as it is shown.
run() {
    printf '%s$ %s%s\n' "$bold" "$*" "$plain"
    eval "$*"
}

title "Something to fill a disk with: 64 MiB, of which 16 MiB are not zero"
truncate -s 64M disk.img
head -c 16M /dev/urandom | dd of=disk.img bs=1M seek=8 conv=notrunc status=none
run "ls -sh disk.img"

title "A dynamic VHDX of 127 GiB takes next to no space"
run "vdisk create base.vhdx --size 127G --block-size 1M"
run "ls -sh base.vhdx"

title "Fill it: write goes into the disk, in place"
run "vdisk write base.vhdx < disk.img"
run "ls -sh base.vhdx"

title "A differencing child keeps changes apart"
run "vdisk create child.vhdx --parent base.vhdx"
run "sha256sum base.vhdx > base.sum"
run "head -c 100000 /dev/urandom | vdisk write child.vhdx --offset 10M"
run "sha256sum -c base.sum"
run "vdisk compare base.vhdx child.vhdx || echo 'status 1: they differ'"

title "Where each range lives: depth 0 is the child, 1 its parent"
run "vdisk map child.vhdx"

title "Flatten the chain into another format; the content is the same"
run "vdisk convert child.vhdx flat.vhd"
run "vdisk compare child.vhdx flat.vhd"
run "vdisk read child.vhdx --offset 10M --length 1M | sha256sum"
run "vdisk read flat.vhd --offset 10M --length 1M | sha256sum"

title "Nothing is wrong with what we wrote"
run "vdisk check base.vhdx"
run "vdisk check child.vhdx"
run "vdisk check flat.vhd"
if command -v qemu-img >/dev/null; then
    title "QEMU reads the same from a VHDX of ours"
    run "vdisk convert disk.img disk.vhdx"
    run "qemu-img compare disk.img disk.vhdx"
fi

title "Everything the headers say"
run "vdisk info child.vhdx"

printf '\n%sThe demo went well.%s\n' "$bold" "$plain"
