#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# compact looks into NTFS: what it does not use comes back, and nothing else. A volume whose bitmap may not be the truth is
# left alone, and so is one that the program that reads it dies of, or lies about.
. "$(dirname "$0")/../lib.sh"
need mkntfs ntfs-3g ntfsfix ntfsresize ntfsinfo sfdisk
[ -w /dev/fuse ] || skip "no /dev/fuse"
[ -x "$BUILD/vdisk-ntfs" ] || skip "vdisk-ntfs is not in this build (ntfs-3g-dev)"

MIB=1048576
mkdir m

# in_ntfs VOLUME COMMAND...: while it is mounted at ./m.
in_ntfs() {
    ntfs_mount "$1" m
    "${@:2}"
    ntfs_umount m
}
files() {
    (cd m && find . -type f -exec sha256sum {} + | sort -k2)
}
contents() {
    in_ntfs "$1" files
}
fill() {
    mkdir m/dir
    random_bytes $((5 * MIB)) 1 >m/kept
    random_bytes $((18 * MIB)) 2 >m/gone
    for i in {1..40}; do
        random_bytes $((i * 3000)) "$i" >"m/dir/$i"
    done
}
trim() {
    rm m/gone m/dir/*[13579]
}
volume() { # FILE BYTES MKNTFS-OPTION...
    raw "$1" "$2"
    mkntfs -q -Q -F "${@:3}" "$1" 2>/dev/null
}
number() { # AFTER: of bytes, in what compact said
    sed -E "s/.*$1 ([^;,]*).*/\1/; s/.*\(//; s/ bytes.*//" out
}
healthy() {
    status 0 ntfsfix -n "$1"
    status 0 ntfsresize --force --no-progress-bar --info "$1"
}

volume fs.raw $((40 * MIB)) -c 4096
in_ntfs fs.raw fill
in_ntfs fs.raw trim
contents fs.raw >want
[ "$(wc -l <want)" -eq 21 ] || fail "$(wc -l <want) files"
raw disk.raw $((43 * MIB))
sfdisk -q disk.raw <<<'label: gpt
start=2048,size=81920,type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7'
dd if=fs.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none

# ---- In every kind of file, on the whole disk and in a partition ----

for image in whole.vhdx whole.vhd fixed.vhd part.vhdx part.raw; do
    image_of_fs $image
    before=$(used_of $image)
    status 0 vdisk compact $image --verbose
    grep -Eq "$image: the NTFS file system at 0x${skip/1/1}0*: [0-9]+ bytes are free" err || fail "$image: $(cat err)"
    returned=$((before - $(used_of $image)))
    same "$(number returned)" $returned "what $image returned"
    [ $returned -ge $((18 * MIB)) ] || fail "$image: $(cat out)"
    status 0 vdisk check $image
    vdisk read $image --offset ${skip}M --length 40M >after.raw
    contents after.raw >got
    cmp want got || fail "$image: a file has changed"
    healthy after.raw
    cmp <(part fs.raw 0 8192) <(part after.raw 0 8192) || fail "$image: its boot area has changed"
    cmp <(part fs.raw $((40 * MIB - 4096)) 4096) <(part after.raw $((40 * MIB - 4096)) 4096) || fail "$image: its end has changed"
done

# Other clusters and sectors; what is behind the last whole cluster stays.
for options in "-c 512" "-c 65536" "-c 4096 -s 4096"; do
    # shellcheck disable=SC2086
    volume odd.raw $((41 * MIB + 28672)) $options
    in_ntfs odd.raw fill
    in_ntfs odd.raw trim
    contents odd.raw >want.odd
    sector=512 cluster=${options#-c } cluster=${cluster% -s 4096}
    case $options in *-s*) sector=4096 ;; esac
    end=$(($(od -An -tu8 -j40 -N8 odd.raw) * sector)) # where the backup of the boot sector is
    last=$((end / cluster * cluster))
    random_bytes $((end - last)) 9 | dd of=odd.raw bs=64K seek=$last oflag=seek_bytes conv=notrunc status=none
    sum=$(part odd.raw $last 1M | sha256sum)
    status 0 vdisk compact odd.raw
    [ "$(number returned)" -ge $((18 * MIB)) ] || fail "$options: $(cat out err)"
    same "$(part odd.raw $last 1M | sha256sum)" "$sum" "$options: behind the last cluster"
    echo "clusters of $cluster, sectors of $sector, $((end - last)) bytes behind them: $(cat out)"
    contents odd.raw >got
    cmp want.odd got || fail "$options: a file has changed"
    healthy odd.raw
done

# A child gives back its own bytes; its parent is not touched.
volume fs2.raw $((40 * MIB)) -c 4096
in_ntfs fs2.raw fill
for f in vhdx vhd; do
    quietly convert fs2.raw parent.$f --block-size 1M
    quietly create child.$f --parent parent.$f --block-size 1M
    cp fs2.raw new.raw
    in_ntfs new.raw rm m/gone
    in_ntfs new.raw dd if=/dev/urandom of=m/more bs=1M count=6 status=none
    in_ntfs new.raw rm m/more
    contents new.raw >want.child
    cat new.raw | quietly write child.$f
    sum=$(sha_of parent.$f)
    status 0 vdisk compact child.$f
    [ "$(number returned)" -ge $((16 * MIB)) ] || fail "$f: $(cat out)"
    same "$(sha_of parent.$f)" "$sum" "the parent"
    vdisk read child.$f >after.raw
    contents after.raw >got
    cmp want.child got || fail "a file of the child has changed"
    healthy after.raw
    rm parent.$f child.$f
done

# ---- What is left alone ----

small=$((12 * MIB))
volume small.raw $small -c 4096
in_ntfs small.raw dd if=/dev/urandom of=m/gone bs=1M count=5 status=none
in_ntfs small.raw rm m/gone

at_cluster() { # INODE: where its data begin, bytes
    local lcn
    lcn=$(ntfsinfo -i "$1" -v "$2" 2>/dev/null | awk '/Runlist:/ { getline; print $2 }' | tail -n 1)
    echo $((lcn * 4096))
}
poke() { # FILE OFFSET BYTES-AS-PRINTF
    printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
left_alone() { # PATTERN FILE
    cp "$2" before.raw
    status 0 vdisk compact "$2"
    [ "$(wc -l <err)" -eq 1 ] || fail "not one line of warning: $(cat err)"
    grep -Eq "^vdisk: warning: $2: the NTFS file system at 0x[0-9a-f]*: .*($1).*; its free space stays\$" err ||
        fail "no \"$1\": $(cat err)"
    cmp "$2" before.raw || fail "what is left alone has changed"
    cp small.raw bad.raw
}

cp small.raw bad.raw
ntfsfix bad.raw >/dev/null # says that Windows is to check it
left_alone 'not clean' bad.raw

hibernate() {
    (printf "$1" && head -c 8192 /dev/zero) >m/hiberfil.sys
}
in_ntfs bad.raw hibernate hibr
left_alone 'hibernated' bad.raw

log=$(at_cluster 2 bad.raw)
poke bad.raw "$log" 'nothing that a log begins with'
left_alone 'log holds changes' bad.raw

poke bad.raw $((0x1e00)) '\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52'
cp bad.raw none.raw
poke bad.raw $((0x1e00 + 48)) '\x00\x00\x10'
left_alone 'shadow copies' bad.raw
status 0 vdisk compact none.raw # it had some once
[ ! -s err ] && [ "$(number returned)" -ge $((4 * MIB)) ] || fail "no shadow copies: $(cat out err)"

poke bad.raw $((small - 512)) 'no boot sector at all'
left_alone 'backup of its boot sector' bad.raw
truncate -s $((small - 4096)) bad.raw
left_alone 'longer than its partition' bad.raw

bitmap=$(at_cluster 6 bad.raw)
poke bad.raw $((bitmap + 383)) '\x00'
left_alone 'bitmap does not fit' bad.raw
poke bad.raw "$bitmap" '\x00'
left_alone 'own files are free' bad.raw

poke bad.raw $((0x30)) '\xff\xff\xff\x00' # where $MFT is
left_alone 'cannot be read' bad.raw

status 0 vdisk compact bad.raw --no-filesystems
cmp bad.raw small.raw || fail "looked into, with --no-filesystems"

# A piece of a dynamic disk of Windows is not looked into: its volumes may be anywhere.
cp disk.raw bad.raw
rm -f fs*.raw odd.* new.raw *.vhd *.vhdx after.raw
sfdisk -q --part-type bad.raw 1 AF9B60A0-1431-4F62-BC68-3311714A69AD
sum=$(sha_of bad.raw)
status 0 vdisk compact bad.raw
same "$(sha_of bad.raw)" "$sum" "a dynamic disk"

# The program that reads it is not there, dies, or says what it must not.
mkdir bin
cp "$VDISK" "$(dirname "$VDISK")/libvdisk.so.0" bin/
VDISK=$PWD/bin/vdisk
cp small.raw bad.raw
left_alone 'not installed' bad.raw
helper() {
    cat >bin/vdisk-ntfs
    chmod +x bin/vdisk-ntfs
}
helper <<<'#!/bin/sh
kill -SEGV $$'
left_alone 'has failed' bad.raw
told=(
    '1, 0, 0, 4096'                                           # the boot sector
    "1, 0, $((small - 4096)), 8192"                        # beyond the end
    '1, 0, 8192, 0' '1, 0, 1 << 63, 1 << 63'                  # nothing, and too much
    '1, 0, 65536, 8192), pack("LLQQ", 1, 0, 69632, 4096'      # not ascending
    '1, 0, 65536, 8192), pack("LLQQ", 0, 0, 0, 1 << 20'       # a read that is too long
    '1, 0, 65536, 8192), pack("LLQQ", 0, 0, 12 << 20, 512'    # or beyond the end
    '1, 0, 65536, 8192), pack("LLQQ", 7, 0, 0, 0'             # no such word
    '1, 0, 65536, 8192), pack("LLQQ", 2, 4000, 0, 0'          # nor such a reason
)
for what in "${told[@]}"; do
    helper <<E2
#!/usr/bin/perl
open my \$out, ">&=0";
syswrite \$out, join "", pack("LLQQ", $what), pack("LLQQ", 2, 0, 0, 0);
E2
    left_alone 'has failed' bad.raw
done
helper <<'E2' # all is well, but for how it ends
#!/usr/bin/perl
open my $out, ">&=0";
syswrite $out, pack("LLQQ", 1, 0, 65536, 8192) . pack("LLQQ", 2, 0, 0, 0);
kill "SEGV", $$;
E2
left_alone 'has failed' bad.raw

# It takes for ever: a signal ends both.
helper <<'E2'
#!/bin/sh
echo $$ >helper.pid.new
mv helper.pid.new helper.pid
exec sleep 1000
E2
for signal in INT TERM; do
    rm -f helper.pid
    env --default-signal=INT "$VDISK" compact bad.raw >out 2>err &
    cut_short $signal $! test -e helper.pid
    ! kill -0 "$(cat helper.pid)" 2>/dev/null || fail "the program that reads it is still there"
    cmp bad.raw small.raw || fail "what is left alone has changed"
done
nothing_left
