#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian's image, as it is, reaches userspace in each of the ways that $FILES/ways names: HOW:BUS:PROCESSORS.
. "$SRC/tests/vm/testbed/guest.sh"
[ -f "$FILES/ways" ] || skip "no way is named"

job <<'END'
#!/bin/sh
set -eu
root=$(findmnt -n -o SOURCE /)
case $(readlink -f "/sys/class/block/${root#/dev/}") in
*/ata*) bus=ide ;;
*/host*) bus=scsi ;;
*) bus=virtio ;;
esac
echo "root: $bus"
echo "processors: $(nproc)"
grep -q vdisk.direct /proc/cmdline && echo "way: kernel" || echo "way: seabios"
END

same "$(member "$FILES/guest/root.vhdx" '.format + " " + .type')" "vhdx dynamic" "the root's image"
tried=0 times=
for way in $(cat "$FILES/ways"); do
    IFS=: read -r how bus cpus <<<"$way"
    began=$SECONDS
    guest "$how" "$cpus" --disk "$FILES/guest/root.vhdx,overlay,bus=$bus" --nic none
    said "way: $how"
    said "root: $bus"
    said "processors: $cpus"
    tried=$((tried + 1)) times+=" $way $((SECONDS - began))s"
done
echo "$tried starts:$times"
