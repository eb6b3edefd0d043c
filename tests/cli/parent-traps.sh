#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What a parent locator may name and never reaches: files outside, through "..", links, FIFOs, devices, itself.
. "$(dirname "$0")/../lib.sh"
need strace perl

# The child's locator names base.vhdx; the name is changed in place to one of the same length, in UTF-16 either way.
rename() { # FILE OLD NEW
    perl -e 'use Encode; my ($f, $old, $new) = @ARGV; length($old) == length($new) or die "length";
        open(my $h, "+<:raw", $f) or die; local $/; my $d = <$h>; my $n = 0;
        for my $e ("UTF-16LE", "UTF-16BE") { my ($o, $w) = (encode($e, $old), encode($e, $new)); $n += $d =~ s/\Q$o\E/$w/g; }
        if ($f =~ /vhd$/) { my $s = 0; my $head = substr($d, 512, 1024); substr($head, 36, 4) = "\0" x 4;
            $s += $_ for unpack("C*", $head); substr($d, 512 + 36, 4) = pack("N", ~$s & 0xffffffff); }
        $n or die "nothing to rename"; seek($h, 0, 0); print $h $d;' "$@"
}

# reaches nothing: refused, and no system call touched the forbidden file
trapped() { # FORBIDDEN CHILD OPTION...
    local forbidden=$1
    shift
    refused '.' strace -f -qq -o trace -e trace=open,openat,openat2 timeout 20 "$VDISK" hash "$@"
    ! grep -F "$forbidden" trace | grep -vq -e ENOENT -e EXDEV -e ELOOP -e ENOTDIR ||
        fail "opened: $(grep -F "$forbidden" trace)"
}

for f in vhdx vhd; do
    rm -rf in far && mkdir -p in/sub far
    quietly create "in/aaaaaaaa.$f" --size 4M
    put "in/aaaaaaaa.$f" 0 1000 1
    quietly create "in/kid.$f" --parent "in/aaaaaaaa.$f"
    cp "in/aaaaaaaa.$f" "far/aaaaaaaa.$f"
    name=aaaaaaaa.$f

    # through "..": the right parent stands there, and only there
    cp "in/kid.$f" in/trap.$f
    cp "far/$name" far/a.$f
    mv "in/$name" kept.$f
    case $f in vhdx) rename in/trap.$f "\\$name" '\..\far\a.vhdx' ;; vhd) rename in/trap.$f "\\$name" '\..\far\a.vhd' ;; esac
    trapped far/a.$f in/trap.$f
    trapped far/a.$f in/trap.$f --parent-dir in
    # /etc/shadow
    cp "in/kid.$f" in/trap.$f
    case $f in vhdx) rename in/trap.$f "\\$name" '/../etc/shadow' ;; vhd) rename in/trap.$f "\\$name" '/./etc/shadow' ;; esac
    trapped etc/shadow in/trap.$f
    trapped etc/shadow in/trap.$f --parent-dir in
    mv kept.$f "in/$name"

    # a link out of the directory
    rm "in/$name" && ln -s "$PWD/far/$name" "in/$name"
    trapped "/far/$name" in/kid.$f --parent-dir in
    # a link of a directory
    rm -rf "in/$name" in/sub && ln -s "$PWD/far" in/sub
    trapped "/far/$name" in/kid.$f --parent-dir in
    # a FIFO: not waited for
    mkfifo "in/$name"
    refused "$name" timeout 20 "$VDISK" hash in/kid.$f
    refused "$name" timeout 20 "$VDISK" hash in/kid.$f --parent-dir in
    refused "$name" timeout 20 "$VDISK" hash in/kid.$f --parent "in/$name"
    rm "in/$name"
    # a device, a directory
    ln -s /dev/zero "in/$name"
    refused "$name" timeout 20 "$VDISK" hash in/kid.$f
    rm "in/$name" && mkdir "in/$name"
    refused "$name" timeout 20 "$VDISK" hash in/kid.$f
    rmdir "in/$name"
    # itself
    cp in/kid.$f "in/$name"
    refused '.' timeout 20 "$VDISK" hash "in/$name"
    refused '.' timeout 20 "$VDISK" hash in/kid.$f --parent in/kid.$f
    # a raw file, an empty file
    head -c 100000 /dev/urandom >"in/$name.new" && mv "in/$name.new" "in/$name"
    refused "$name" timeout 20 "$VDISK" hash in/kid.$f
    : >"in/$name"
    refused "$name" timeout 20 "$VDISK" hash in/kid.$f
done
