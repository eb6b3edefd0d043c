#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# hv is killed while the guest, on a differencing VHDX on virtio-scsi as its root, writes: afterwards both disks are replayed and clean,
# fsck finds nothing but a journal, and every file that the guest knew to be durable is there.
. "$SRC/tests/vm/testbed/guest.sh"

job <<'END'
#!/bin/sh
set -eu
for disk in /sys/block/vd*; do
    [ "$(cat "$disk/serial")" != data ] || data=/dev/${disk##*/}
done
mke2fs -q -F -t ext4 -E lazy_itable_init=1 "$data"
mount "$data" /mnt
fio --name=work --directory=/mnt --size=16M --rw=randwrite --bsrange=512-64k --verify=crc32c --ioengine=psync --fsync=16 \
    --time_based --runtime=600 --minimal >/dev/null &
number=0
while :; do
    head -c 100000 /dev/urandom >/mnt/file.$number
    sync /mnt/file.$number /mnt
    echo "durable $number: $(sha256sum </mnt/file.$number)"
    number=$((number + 1))
done
END

quietly create child.vhdx --parent "$FILES/guest/root.vhdx"
quietly create data.vhdx --size 128M --block-size 1M
refused 'child.vhdx: its parent .* was not found; name it' "$VDISK" info child.vhdx --chain
guest_options kernel 2
began=$SECONDS
"$hv" run --parent "$FILES/guest/root.vhdx" --disk child.vhdx,bus=scsi --disk data.vhdx,serial=data --disk job.raw --nic none \
    "${guest_options[@]}" </dev/null >out 2>&1 &
pid=$!
until grep -qs '^durable 5: [0-9a-f]* *-' serial; do # the whole line: what the guest says while hv dies is lost
    kill -0 $pid 2>/dev/null || guest_fail "hv has ended: $(cat out)"
    [ $((SECONDS - began)) -lt 400 ] || guest_fail "the guest does not write"
    sleep 0.1
done
kill -9 $pid
wait $pid 2>/dev/null || true

status 0 vdisk write data.vhdx --offset 0 --quiet # opened for writing, it is replayed
sound data.vhdx # what was reserved at that moment may leak
quietly convert data.vhdx raw --format raw
e2fsck -f -p raw >fsck.log 2>&1 || [ $? -eq 1 ] || fail "fsck: $(cat fsck.log)"
whole raw
durable=0
while read -r number hash; do
    same "$(file_in raw "file.$number" | sha256sum)" "$hash" "file.$number, which was durable"
    durable=$((durable + 1))
done < <(tr -d '\r' <serial | sed -n 's/^durable \([0-9]*\): \([0-9a-f]* *-\)$/\1 \2/p')
[ $durable -ge 6 ] || fail "only $durable files were durable"
status 0 vdisk check child.vhdx --parent "$FILES/guest/root.vhdx"
echo "$durable files were durable, $((SECONDS - began)) s"
