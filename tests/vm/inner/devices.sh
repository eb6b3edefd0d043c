#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Linux with a disk of every kind and two network cards: what it trims comes back to the host while it runs, a disk that becomes
# larger has its new size in the guest, limits slow, sectors of 4096 bytes and a disk that may not be written are what they
# are, a TAP and a forwarded port carry files, with several queues, and there is entropy.
. "$SRC/tests/vm/testbed/guest.sh"
modprobe tun

job <<'END'
#!/bin/sh
set -eu
device() {
    for disk in /sys/block/[sv]d*; do
        serial=$(cat "$disk/serial" 2>/dev/null || tail -c +5 "$disk/device/vpd_pg80" | tr -d ' \0')
        [ "$serial" != "$1" ] || echo "/dev/${disk##*/}"
    done
}
card() { # MAC ADDRESS
    for card in /sys/class/net/*; do
        [ "$(cat "$card/address")" = "$1" ] || continue
        ip addr add "$2/24" dev "${card##*/}"
        ip link set "${card##*/}" up
        echo "queues of $2: $(ls -d "$card"/queues/tx-* | wc -l)"
    done
}
trims() {
    yes gone | head -c 16777216 | dd of="$2" bs=1M iflag=fullblock oflag=direct status=none
    blkdiscard "$2"
    mke2fs -q -F -t ext4 -O ^has_journal -E lazy_itable_init=1,nodiscard "$2"
    mount "$2" /mnt
    yes gone | head -c 16777216 >/mnt/gone
    sync -f /mnt/gone
    rm /mnt/gone
    sync -f /mnt
    fstrim /mnt
    umount /mnt
    step "$1 is trimmed"
}
grows() {
    tries=0
    until [ "$(blockdev --getsize64 "$2")" = 201326592 ]; do
        tries=$((tries + 1))
        [ $tries -lt 300 ]
        sleep 0.5
    done
    head -c 1048576 /dev/urandom >/run/tail
    dd if=/run/tail of="$2" bs=1M seek=191 oflag=direct status=none
    step "$1 has grown"
    echo "$1 tail: $(sha256sum </run/tail)"
}
kept() {
    head -c 1048576 /dev/urandom >/run/kept
    dd if=/run/kept of="$2" bs=64K oflag=direct status=none
    echo "$1 kept: $(sha256sum </run/kept)"
    dd if="$2" bs=64K count=16 iflag=direct status=none | cmp - /run/kept
}
tenths() { # COMMAND...: what it takes
    began=$(cut -d' ' -f1 /proc/uptime | tr -d .)
    "$@"
    echo $((($(cut -d' ' -f1 /proc/uptime | tr -d .) - began) / 10))
}

step() {
    echo "$(cut -d' ' -f1 /proc/uptime) s: $*"
}

echo "entropy: $(cat /sys/class/misc/hw_random/rng_current) $(head -c 16 /dev/hwrng | wc -c)"
card 52:54:00:00:00:01 10.0.2.15
card 52:54:00:00:00:02 192.168.77.2
busybox httpd -h /run
busybox wget -q -O /run/given http://192.168.77.1:8080/given
echo "given: $(sha256sum </run/given)"
step "the network is there"
for name in blk scsi; do
    trims $name "$(device $name)"
done
step "the queues"
echo "queues of blk: $(ls "/sys/block/$(basename "$(device blk)")/mq" | wc -l)"
for name in large large-scsi ide; do
    echo "$name sectors: $(blockdev --getss "$(device $name)")"
    kept $name "$(device $name)"
done
for name in ro ro-scsi; do
    echo "$name: $(blockdev --getro "$(device $name)")"
    if dd if=/dev/zero of="$(device $name)" oflag=direct count=8 2>/dev/null; then
        echo "$name is written"
        exit 1
    fi
done
step "the sectors"
echo "slow: $(tenths dd if="$(device slow)" of=/dev/null iflag=direct bs=4k count=40 status=none)"
echo "slow-scsi: $(tenths dd if="$(device slow-scsi)" of=/dev/null iflag=direct bs=64k count=40 status=none)"
step "the limits"
echo "the host's turn: now"
for name in blk scsi; do
    grows $name "$(device $name)"
done
END

ip tuntap add tap0 mode tap multi_queue vnet_hdr
ip addr add 192.168.77.1/24 dev tap0
ip link set tap0 up
mkdir www
random_bytes 3000000 1 >www/given
busybox httpd -f -p 192.168.77.1:8080 -h www &
for name in blk scsi; do
    quietly create $name.vhdx --size 128M --block-size 1M
done
for name in ide ro ro-scsi slow slow-scsi; do
    quietly create $name.vhdx --size 16M
done
for name in large large-scsi; do
    quietly create $name.vhdx --size 16M --sector-size 4096
done
read_only=$(sha_of ro.vhdx)
guest_options kernel 2
"$hv" run --disk "$FILES/guest/root.vhdx,overlay,bus=ide" --disk job.raw --disk blk.vhdx,serial=blk,queues=2 --disk scsi.vhdx,serial=scsi,bus=scsi \
    --disk ide.vhdx,serial=ide,bus=ide --disk large.vhdx,serial=large --disk large-scsi.vhdx,serial=large-scsi,bus=scsi \
    --disk ro.vhdx,serial=ro,readonly --disk ro-scsi.vhdx,serial=ro-scsi,bus=scsi,readonly \
    --disk slow.vhdx,serial=slow,iops=10 --disk slow-scsi.vhdx,serial=slow-scsi,bus=scsi,rate=640K \
    --nic user,mac=52:54:00:00:00:01,forward=tcp:8081:80 --nic tap=tap0,mac=52:54:00:00:00:02,queues=2 \
    "${guest_options[@]}" </dev/null >out 2>&1 &
pid=$!
began=$SECONDS
until grep -qs "^the host's turn: now" serial; do
    kill -0 $pid 2>/dev/null || guest_fail "hv has ended: $(cat out)"
    [ $((SECONDS - began)) -lt 400 ] || guest_fail "the guest does not come to the host's turn"
    sleep 0.5
done
echo "the host's turn: $((SECONDS - began)) s"
for name in blk scsi; do
    [ "$(size_of $name.vhdx)" -ge 16777216 ] || fail "$name: 16 MiB were written, and the file has $(size_of $name.vhdx) bytes"
    [ "$(used_of $name.vhdx)" -lt 8388608 ] || fail "$name: 16 MiB were trimmed twice, and the file takes $(used_of $name.vhdx) bytes"
done
for from in 127.0.0.1:8081 192.168.77.2; do
    same "$(busybox wget -q -O - http://$from/given | sha256sum)" "$(sha256sum <www/given)" "what the guest gives by $from"
done
for name in blk scsi; do
    quietly resize $name.vhdx 192M
done
status=0
wait $pid || status=$?
[ $status -eq 0 ] || guest_fail "hv: status $status: $(cat out)"
said "job: 0"
said "entropy: virtio_rng.0 16"
said "queues of 192.168.77.2: 2"
said "queues of blk: 2"
echo "the guest has ended: $((SECONDS - began)) s"
same "$(word_of given)" "$(sha256sum <www/given)" "what the guest has fetched by the TAP"
for name in large large-scsi ide; do
    said "$name sectors: $([ $name = ide ] && echo 512 || echo 4096)"
    same "$(word_of "$name kept")" "$(vdisk read $name.vhdx --length 1M | sha256sum)" "$name: what the host reads"
done
for name in blk scsi; do
    same "$(word_of "$name tail")" "$(vdisk read $name.vhdx --offset 191M --length 1M | sha256sum)" "$name: what the host reads at the end"
done
said "ro: 1"
said "ro-scsi: 1"
same "$(sha_of ro.vhdx)" "$read_only" "the disk that may not be written"
for name in slow slow-scsi; do # 40 requests, 10 a second
    [ "$(word_of $name)" -ge 20 ] || fail "$name: 40 requests took $(word_of $name) tenths of a second"
done
for file in *.vhdx; do
    clean "$file"
done
lines | grep '^[0-9.]* s: '
echo "$((SECONDS - began)) s"
