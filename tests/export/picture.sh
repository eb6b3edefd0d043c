#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# map --picture: an SVG that parses, with a colour for each file that holds data, and the same on a terminal.
. "$(dirname "$0")/../lib.sh"

quietly create 'p <&>.vhdx' --size 1G --block-size 1M
put 'p <&>.vhdx' 0 20000000 1
quietly create c.vhdx --parent 'p <&>.vhdx'
put c.vhdx 536870912 20000000 2

vdisk map c.vhdx --picture c.svg
perl -0ne 'exit !(m{^<svg .*</svg>\s*$}s && !/&(?!#\d+;)/)' c.svg || fail "not an SVG: $(head -c 300 c.svg)"
grep -q 'p &#60;&#38;&#62;.vhdx: [1-9]' c.svg || fail "the parent has no place in the legend"
for colour in '#0072b2' '#e69f00'; do
    [ "$(grep -c "fill=\"$colour\" fill-opacity" c.svg)" -gt 50 ] || fail "no cells in $colour"
done

vdisk map c.vhdx --picture - >out
same "$(sed -n 1p out | cut -c1-19)" 1111111111111111111
same "$(sed -n 9p out | cut -c1-19)" 0000000000000000000
same "$(sed -n 2p out | tr -d .)" ""
grep -q "^0 c.vhdx: 19" out
vdisk map c.vhdx --alone --picture - >out
! grep -q "^1 " out || fail "the parent is in a picture of the child alone"

refused "c.svg: exists" vdisk map c.vhdx --picture c.svg
refused "No such file" vdisk map c.vhdx --picture missing/c.svg
refused "not both" vdisk map c.vhdx --picture d.svg --json
: >empty.raw
vdisk map empty.raw --picture empty.svg || true
