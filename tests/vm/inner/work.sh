#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian by SeaBIOS and GRUB on two processors gets an address and a file by the user-mode network; on a dynamic VHDX, a
# dynamic VHD and a differencing VHDX it reads what the host wrote, runs fio with verification, trims and checks the file
# system. When it has switched off the images are clean, the host reads what it wrote, and the trimmed space is back.
. "$SRC/tests/vm/testbed/guest.sh"

job <<'END'
#!/bin/sh
set -eu
address() {
    cat >/run/lease <<'LEASE'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
ip route add default via "${router%% *}"
LEASE
    chmod 755 /run/lease
    ip link set eth0 up
    busybox udhcpc -i eth0 -s /run/lease -n -q -t 10 -T 2 >/dev/null 2>&1
    echo "address: $(ip -4 -o addr show dev eth0 | sed 's|.* inet \([^/]*\)/.*|\1|')"
    busybox wget -q -O /run/fetched http://10.0.2.2:8080/given
    echo "fetched: $(sha256sum </run/fetched)"
}
device() {
    for disk in /sys/block/*; do
        [ "$(cat "$disk/serial" 2>/dev/null)" != "$1" ] || echo "/dev/${disk##*/}"
    done
}
# What is gone is written, durable, and then trimmed.
work() {
    echo "$1 given: $(head -c 1000000 "$2" | sha256sum)"
    mke2fs -q -F -t ext4 -E lazy_itable_init=1,nodiscard "$2"
    mount "$2" /mnt
    fio --name=work --directory=/mnt --size=4M --rw=randwrite --bsrange=512-64k --verify=crc32c --ioengine=psync \
        --fsync=32 --end_fsync=1 --minimal >/run/fio
    head -c 300000 /dev/urandom >/mnt/kept
    echo "$1 kept: $(sha256sum </mnt/kept)"
    yes gone | head -c 50331648 >/mnt/gone
    sync -f /mnt/gone
    rm /mnt/gone
    sync -f /mnt
    fstrim /mnt
    umount /mnt
    e2fsck -f -n "$2" >/run/fsck
}
address
for name in vhdx vhd child; do
    work $name "$(device $name)"
done
END

mkdir www
random_bytes 2000000 1 >www/given
same "$(size_of www/given)" 2000000 "random bytes"
busybox httpd -f -p 127.0.0.1:8080 -h www &
quietly create vhdx.vhdx --size 256M --block-size 1M
quietly create vhd.vhd --size 256M --block-size 1M
quietly create base.vhdx --size 256M --block-size 1M
for file in vhdx.vhdx vhd.vhd base.vhdx; do
    put $file 0 1000000 2
done
quietly create child.vhdx --parent base.vhdx
base=$(sha_of base.vhdx) disks=()
for file in vhdx.vhdx vhd.vhd child.vhdx; do
    disks+=(--disk "$file,serial=${file%.*}")
done
began=$SECONDS
guest seabios 2 --disk "$FILES/guest/root.vhdx,overlay" "${disks[@]}" --nic user
same "$(word_of address)" 10.0.2.15 "the guest's address"
same "$(word_of fetched)" "$(sha256sum <www/given)" "what the guest has fetched"
for file in vhdx.vhdx vhd.vhd child.vhdx; do
    name=${file%.*}
    same "$(word_of "$name given")" "$(random_bytes 1000000 2 | sha256sum)" "$name: what the guest has read"
    clean $file
    rm -f raw
    quietly convert $file raw --format raw
    whole raw
    same "$(word_of "$name kept")" "$(file_in raw kept | sha256sum)" "$name: what the host reads"
    [ "$(used_of $file)" -lt 33554432 ] || fail "$name: 48 MiB were trimmed, and the file takes $(used_of $file) bytes"
done
same "$(sha_of base.vhdx)" "$base" "the parent, before and after"
echo "$((SECONDS - began)) s"
