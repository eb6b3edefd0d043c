#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian reaches userspace on two processors from a dynamic VHDX over virtio-blk, started by its kernel: it reads what the
# host wrote on a second dynamic VHDX, the host reads what it wrote there, and that image is clean after it switched off.
. "$SRC/tests/lib.sh"
[ -d "${FILES:-}/guest" ] || skip "no image of a guest"
hv=$BUILD/hv

# The first megabytes of the disk of 64 MiB are the host's, the next ones and a file system on the root the guest's.
job() {
    cat <<'END'
#!/bin/sh
set -eu
for disk in /sys/block/vd*; do
    [ "$(cat "$disk/size")" != 131072 ] || disk=/dev/${disk##*/} data=$disk
done
echo "processors: $(nproc)"
echo "read: $(head -c 3000000 "$data" | sha256sum)"
head -c 3000000 "$data" | LC_ALL=C tr '\0-\377' '\1-\377\0' >/var/turned
dd if=/var/turned of="$data" bs=1M seek=4 conv=fsync status=none
echo "wrote: $(sha256sum </var/turned)"
END
}

job >job.raw
truncate -s 64K job.raw
"$VDISK" info "$FILES/guest/root.vhdx" | grep -qi dynamic || fail "the root's image is not a dynamic one"
quietly create data.vhdx --size 64M
head -c 3000000 /dev/urandom >given
quietly write data.vhdx --offset 0 <given
began=$SECONDS status=0
timeout 400 "$hv" run --disk "$FILES/guest/root.vhdx,overlay" --disk job.raw --disk data.vhdx --cpus 2 --memory 384M --nic none --serial file=serial \
    --kernel "$FILES/guest/vmlinuz" --initrd "$FILES/guest/initrd.small" \
    --append "root=LABEL=vdisk-root console=ttyS0 quiet panic=-1" </dev/null >out 2>&1 || status=$?
[ $status -eq 0 ] || { cat out; tail -n 20 serial; fail "hv: status $status"; }
for line in "job: 0" "processors: 2" "read: $(sha256sum <given)"; do
    tr -d '\r' <serial | grep -qxF "$line" || { tail -n 20 serial; fail "the guest did not say '$line'"; }
done
clean data.vhdx
wrote=$("$VDISK" read data.vhdx --offset 4M --length 3000000 | sha256sum)
tr -d '\r' <serial | grep -qxF "wrote: $wrote" || { cat serial; fail "the host does not read what the guest wrote: $wrote"; }
echo "Debian by its kernel: $((SECONDS - began)) s"
