#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A disk that is its own parent is refused as that, and not for the length of its chain.
. "$(dirname "$0")/../lib.sh"
need perl

quietly create p.vhd --size 4M
quietly create c.vhd --parent p.vhd
# The header's parent identity (at 552) becomes the footer's own (at 68); its checksum (at 548) is made right.
perl -0777 -pi -e '
    substr($_, 552, 16) = substr($_, 68, 16);
    substr($_, 548, 4) = pack("N", 0);
    substr($_, 548, 4) = pack("N", ~unpack("%32C*", substr($_, 512, 1024)) & 0xffffffff);' c.vhd
mv c.vhd p.vhd
refused "p\.vhd: .*circle" vdisk read p.vhd
