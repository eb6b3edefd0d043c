#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The Debian root image of the testbed, made once from packages by name and kept outside the tree until this recipe
# changes. Prints the folder that holds
#
#   disk.raw           a disk with an MBR, GRUB and one ext4 partition; the same image is what machines under test boot
#   vmlinuz initrd     its kernel, for those that are started without a boot loader
#   initrd.small       an initrd of a shell and the drivers of disks alone: it starts in a third of the time
#
# As root. Packages come from where apt on this machine takes Debian's.
#
#   TESTBED_CACHE     where the folder is made                 TESTBED_PACKAGES  more packages, for an image of its own
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# ---- The recipe ----

packages=(
    linux-image-cloud-amd64 initramfs-tools zstd kmod busybox-static grub-pc-bin grub-common seabios
    iproute2 procps jq fdisk e2fsprogs xfsprogs fio openssl
    # what our programs are linked with
    liburing2 libaio1 libisal2 libjansson4 libssl3 libuuid1 libslirp0 libseccomp2 libcmocka0 libfuse3-3 fuse3 libblkid1
)
read -ra more <<<"${TESTBED_PACKAGES:-}"
packages+=("${more[@]}")
modules=(virtio_pci virtio_blk virtio_scsi sd_mod ata_piix)
room=1536 # MiB of the file system: what the packages take, and space for the tests
unwanted=(/usr/share/{doc,man,locale,info,lintian,i18n,zoneinfo}/'*' /usr/lib/modules/'*/kernel/{sound,drivers/{gpu,infiniband,media,staging}}/*')

# finish ROOT OUT: the tree that the packages made becomes the disk.
finish() {
    local root=$1 out=$2 kernel
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log
    install -m 755 "$here/init" "$root/sbin/init"
    echo testbed >"$root/etc/hostname"
    echo "127.0.0.1 localhost testbed" >"$root/etc/hosts"
    kernel=$(basename "$root"/boot/vmlinuz-*)
    kernel=${kernel#vmlinuz-}
    small_initrd "$root" "$kernel" >"$out/initrd.small"
    cp "$out/initrd.small" "$root/boot/initrd.small"
    grub "$root" "$kernel"
    cp "$root/boot/vmlinuz-$kernel" "$out/vmlinuz"
    cp "$root/boot/initrd.img-$kernel" "$out/initrd"
    truncate -s $((room + 1))M "$out/disk.raw"
    mbr "$root" "$out/disk.raw"
    mke2fs -q -F -t ext4 -L vdisk-root -O ^metadata_csum_seed,^orphan_file -m 0 -E offset=1048576 -d "$root" \
        "$out/disk.raw" ${room}M
}

grub() {
    mkdir -p "$1/boot/grub/i386-pc"
    chroot "$1" grub-mkimage -O i386-pc -o /boot/grub/core.img -p '(hd0,msdos1)/boot/grub' \
        biosdisk part_msdos ext2 normal linux serial terminal echo test
    cat >"$1/boot/grub/grub.cfg" <<EOF
serial --unit=0 --speed=115200
terminal_output serial
linux /boot/vmlinuz-$2 root=LABEL=vdisk-root ro console=ttyS0 quiet
initrd /boot/initrd.small
boot
EOF
}

# The core's list of blocks says by itself that it stands in the sectors after the first.
mbr() {
    printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$2"
    dd if="$1/usr/lib/grub/i386-pc/boot.img" of="$2" bs=440 count=1 conv=notrunc status=none
    dd if="$1/boot/grub/core.img" of="$2" bs=512 seek=1 conv=notrunc status=none
}

# small_initrd ROOT KERNEL: its cpio archive on stdout.
small_initrd() {
    local tree=$1/initrd.small file
    mkdir -p "$tree"/{bin,dev,proc,sys,root,modules}
    cp "$1/bin/busybox" "$tree/bin/"
    install -m 755 "$here/initrd-init" "$tree/init"
    chroot "$1" modprobe -S "$2" --show-depends -a "${modules[@]}" | while read -r _ file _; do
        [ -f "$1$file" ] && [ ! -f "$tree/modules/$(basename "$file")" ] || continue
        cp "$1$file" "$tree/modules/"
        basename "$file" >>"$tree/modules/order"
    done
    chroot "$1" sh -c 'cd /initrd.small && find . | cpio -o -H newc --quiet'
    rm -rf "$tree"
}

# ---- Making it, once ----

# Debian's own archives among those of this machine, as lines for sources.list.
sources() {
    # shellcheck disable=SC2016
    apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
        sort -u
}

# build OUT
build() {
    local work
    work=$(mktemp -d "$cache/making.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    mkdir "$work/out"
    settings "$work/settings"
    sources >"$work/sources"
    [ -s "$work/sources" ] || { apt-get -q update >"$work/log" 2>&1 && sources >"$work/sources"; }
    mmdebstrap --variant=minbase --format=directory --include="$(echo "${packages[@]}" | tr ' ' ,)" \
        "${unwanted[@]/#/--dpkgopt=path-exclude=}" --dpkgopt=force-unsafe-io --aptopt='Acquire::Languages "none"' \
        --aptopt='APT::Install-Recommends "false"' --setup-hook="cp -r '$work/settings/.' \"\$1\"" \
        bookworm "$work/root" "$work/sources" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
    finish "$work/root" "$work/out"
    mv -T "$work/out" "$1"
}

# What Debian's own initrd shall hold.
settings() {
    mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
    echo MODULES=list >"$1/etc/initramfs-tools/conf.d/testbed"
    printf '%s\n' "${modules[@]}" >"$1/usr/share/initramfs-tools/modules.d/testbed"
}

cache=${TESTBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vdisk-testbed}
key=$(cat "$here/image.sh" "$here/init" "$here/initrd-init" - <<<"${packages[*]}" | sha256sum | cut -c 1-16)
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -d "$cache/$key" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "testbed: only root can make the image" >&2; exit 1; }
    echo "testbed: making a Debian image (a minute)" >&2
    build "$cache/$key"
fi
echo "$cache/$key"
