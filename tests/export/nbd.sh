#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Over NBD: what nbdinfo is told, what nbdcopy and qemu read and write, holes, zeroing and trimming, chains, refusals. Where
# GUESTFISH is how to call guestfish, that too: it brings a kernel and a hundred packages, and starts a virtual machine twice.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../export.sh"
served
need nbdinfo nbdcopy qemu-img qemu-io

for f in vhdx vhd; do
    raw ref.raw 64M
    quietly create p.$f --size 64M
    scatter p.$f ref.raw 20 1
    quietly create c.$f --parent p.$f
    scatter c.$f ref.raw 10 2
    serve c.$f
    nbdinfo --json "$uri" >info
    same "$(jq -c '.exports[0] | [."export-size", .can_flush, .can_fua, .can_multi_conn, .can_trim, .can_zero,
        .can_cache, .is_read_only, .block_size_minimum]' info)" \
        '[67108864,true,true,true,true,true,true,false,1]'
    nbdcopy "$uri" copy.raw
    cmp copy.raw ref.raw
    qemu-img convert -f raw -O raw "$uri" copy2.raw
    cmp copy2.raw ref.raw

    # Written, zeroed, trimmed; a part of a sector too.
    qemu-io -f raw -c "write -P 7 1M 3M" -c "write -f -P 8 5000k 100k" -c "write -z 2M 1M" -c "write -z -u 9M 4M" \
        -c "discard 20M 3M" -c flush "$uri" >out || fail "$(cat out)"
    for part in "7 1 1" "0 2 1" "7 3 1" "0 9 4"; do
        # shellcheck disable=SC2086
        set -- $part
        head -c $(($3 << 20)) /dev/zero | tr '\0' "\\00$1" | dd of=ref.raw bs=1M seek=$2 conv=notrunc status=none
    done
    head -c 102400 /dev/zero | tr '\0' '\010' | dd of=ref.raw bs=1000k oflag=seek_bytes seek=5120000 conv=notrunc status=none
    vdisk map c.$f >/dev/null 2>err && fail "a second program opened the image" || grep -q "in use" err
    nbdcopy "$uri" now.raw
    cmp -n $((20 << 20)) now.raw ref.raw
    cmp -i $((23 << 20)) now.raw ref.raw
    cp ref.raw want.raw # what was trimmed is as it was, or zero
    dd if=now.raw of=want.raw bs=1M skip=20 seek=20 count=3 conv=notrunc status=none
    nbdcopy ref.raw "$uri"
    unserve c.$f
    sound c.$f
    holds c.$f ref.raw
    rm -f ./*.raw ./*.$f
done

# Holes are told.
quietly create h.vhdx --size 1T
put h.vhdx 0 1000000 1
serve h.vhdx --read-only
same "$(nbdinfo --map --totals "$uri" --json | jq '[.[] | select(.type == 3)] | .[0].size > 1000000000000')" true
same "$(nbdinfo --json "$uri" | jq '.exports[0].is_read_only')" true
status 0 vdisk info h.vhdx # others may read it, too
refused "somebody listens" vdisk serve h.vhdx --read-only
unserve h.vhdx

# A socket that a dead server left is no hindrance; refusals.
serve h.vhdx
kill -9 "$(cat h.vhdx.pid)"
ended "$(cat h.vhdx.pid)" || fail "a killed server does not end"
serve h.vhdx
refused "h.vhdx: is in use" vdisk serve h.vhdx --socket other.sock
unserve h.vhdx
touch plain
refused "plain: exists and is not a socket" vdisk serve h.vhdx --socket plain
refused "No such file" vdisk serve missing.vhdx
mkdir late # the number is there when the command has ended, however late the server writes it
cat >late/nbdkit <<'END'
#!/bin/bash
while [ "$1" != --pidfile ]; do shift; done
(sleep 0.5 && echo 1234 >"$2") </dev/null >/dev/null 2>&1 &
END
chmod +x late/nbdkit
PATH=$PWD/late:$PATH vdisk serve h.vhdx --quiet --pid-file late/pid
same "$(cat late/pid)" 1234 "the server's process number"
quietly create other.vhdx --size 1M
refused "other.vhdx: exists and is not the file of a process number" vdisk serve h.vhdx --pid-file other.vhdx
sound other.vhdx
refused "at most" vdisk serve h.vhdx --socket "$(printf '%0200d' 0)"
same "$(vdisk serve h.vhdx --quiet -- --run "nbdinfo --size \"\$uri\"")" 1099511627776
sound h.vhdx

# fish COMMAND...: of guestfish, with ":" between them.
fish() {
    # shellcheck disable=SC2086
    LIBGUESTFS_BACKEND=direct timeout 900 $GUESTFISH --format=raw -a "nbd://?socket=$PWD/g.vhdx.sock" run : "$@" </dev/null
}
sums() {
    (cd "$1" && find . -type f -exec sha256sum {} +) | sort -k2
}
if [ -n "${GUESTFISH:-}" ]; then
    tree=/usr/include/linux
    tar -C $tree -cf tree.tar .
    quietly create p.vhdx --size 256M
    quietly create g.vhdx --parent p.vhdx
    before=$(sha_of p.vhdx)
    serve g.vhdx
    fish blockdev-getsize64 /dev/sda : part-disk /dev/sda gpt : mkfs ext4 /dev/sda1 : mount /dev/sda1 / : mkdir /more : \
        tar-in "$PWD/tree.tar" /more : tar-in "$PWD/tree.tar" / : rm-rf /more : fstrim / : umount / : e2fsck-f /dev/sda1 >out
    same "$(head -n 1 out)" 268435456 "the size that its machine sees"
    fish mount-ro /dev/sda1 / : checksums-out sha256 / "$PWD/seen"
    sort -k2 seen | diff -q - <(sums $tree) || fail "its machine reads another tree"
    unserve g.vhdx
    sound g.vhdx
    same "$(sha_of p.vhdx)" "$before" "the parent"
    exported
    root_and_loop
    attach g.vhdx m --fs --read-only
    diff -q <(sums m/fs1) <(sums $tree) || fail "mounted here it is another tree"
    detach m
fi
