#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A child whose parent has moved is told where it is; a map says where the paths of another machine are; what is not the
# parent is refused, or taken by force with a warning. What the child shows stays as it was.
. "$(dirname "$0")/../lib.sh"

identities() { # FILE: what its own children know it by
    vdisk info "$1" --parent-dir "$PWD/away/there" --json |
        jq -er '[.. | objects | (."data-write-guid"?, .footer?.id?) | strings] | .[0]'
}

for f in vhdx vhd; do
    rm -rf vms away ./*."$f"
    mkdir -p vms/deep away/there
    raw ref.raw 6M
    quietly create vms/base.$f --size 6M
    put vms/base.$f 0 300000 1 ref.raw
    quietly create vms/kid.$f --parent vms/base.$f
    put vms/kid.$f 200000 3000000 2 ref.raw
    quietly create vms/grand.$f --parent vms/kid.$f
    put vms/grand.$f 100 5000 3 ref.raw

    # the parent moves, and is renamed
    before=$(identities vms/kid.$f)
    mv vms/base.$f away/there/moved.$f
    refused 'was not found' vdisk hash vms/grand.$f
    refused 'needed' vdisk relink vms/kid.$f
    refused 'differencing' vdisk relink away/there/moved.$f --parent vms/kid.$f
    refused 'No such file' vdisk relink vms/kid.$f --parent away/none.$f
    status 0 vdisk relink vms/kid.$f --parent away/there/moved.$f
    [ ! -s err ] || fail "a proved parent needs no note: $(cat err)"
    vdisk info vms/kid.$f --json | jq -r '.. | strings' | sed 's,[\\],/,g' >facts
    grep -q '^\.\./away/there/moved' facts || fail "no relative path: $(cat facts)"
    grep -q "$PWD/away/there/moved" facts || fail "no absolute path: $(cat facts)"
    ! grep -q base facts || fail "the old path is still there"
    same "$before" "$(identities vms/kid.$f)" "what its children know it by"
    clean vms/kid.$f
    mv away/there/moved.$f vms
    holds vms/grand.$f ref.raw
    # and again, to a path that has no room where the old one was
    long=vms/$(printf 'n%.0s' {1..200})
    mkdir "$long" "$long/$(basename "$long")"
    mv vms/moved.$f "$long/$(basename "$long")/base.$f"
    status 0 vdisk relink vms/kid.$f --parent "$long/$(basename "$long")/base.$f"
    clean vms/kid.$f
    same "$(hash_of vms/grand.$f --parent-dir "$long/$(basename "$long")")" "$(sha_of ref.raw)" "the long path"
    mv "$long/$(basename "$long")/base.$f" vms/base.$f
    status 0 vdisk relink vms/kid.$f --parent vms/base.$f
    put vms/grand.$f 5000000 900000 4 ref.raw
    holds vms/grand.$f ref.raw
    clean vms/kid.$f

    # a parent that is not it
    quietly create vms/other.$f --size 6M
    refused 'identity' vdisk relink vms/kid.$f --parent vms/other.$f
    refused 'ancestor' vdisk relink vms/kid.$f --parent vms/kid.$f --force
    refused 'ancestor' vdisk relink vms/kid.$f --parent vms/grand.$f --force
    cp vms/base.$f vms/copy.$f
    put vms/copy.$f 5999000 10 5
    cp vms/kid.$f vms/forced.$f
    status 0 vdisk relink vms/forced.$f --parent vms/other.$f --force
    grep -q 'warning.*by force' err || fail "no loud note: $(cat err)"
    status 0 vdisk hash vms/forced.$f
    case $f in vhdx) refused 'identity' vdisk relink vms/kid.$f --parent vms/copy.$f ;; esac

    # a file that somebody uses
    mkfifo pipe
    "$VDISK" write vms/kid.$f --offset 0 --quiet <pipe &
    exec 9>pipe
    waits_for_pipe $!
    refused 'in use' vdisk relink vms/kid.$f --parent vms/base.$f
    exec 9>&-
    wait $!
    rm pipe
done

# A map: Windows's paths, prefixes at whole parts, in any case of letters; never out of the directory.
for f in vhdx vhd; do
    image ntfs-parent.$f
    image ntfs-differential.$f
    want=$(hash_of ntfs-differential.$f)
    mkdir -p map/data
    mv ntfs-parent.$f map/data/
    refused 'was not found' vdisk hash ntfs-differential.$f
    mv map/data map/test_data
    for m in 'C:\Projects\dfvfs=map' 'c:/projects/DFVFS/=map' 'C:\Projects\dfvfs\test_data=map/test_data' '\\?\C:\Projects\dfvfs=map'; do
        same "$(hash_of ntfs-differential.$f --parent-map "$m")" "$want" "by $m"
    done
    if [ $f = vhdx ]; then # it recorded the volume's path too
        volume=$(member ntfs-differential.$f '.. | objects | ."volume-path"? // empty')
        [[ $volume = '\\?\Volume{'*'}\Projects\dfvfs\'* ]] || fail "no path of a volume: $volume"
        same "$(hash_of ntfs-differential.$f --parent-map "${volume%'\test_data'*}=map")" "$want" "by the volume's path"
    fi
    refused 'was not found' vdisk hash ntfs-differential.$f --parent-map 'C:\Projects\dfv=map'
    refused 'was not found' vdisk hash ntfs-differential.$f --parent-map 'D:\Projects\dfvfs=map'
    refused 'cannot be opened as a directory' vdisk hash ntfs-differential.$f --parent-map 'C:\Projects\dfvfs=none'
    refused 'OLD=NEW' vdisk hash ntfs-differential.$f --parent-map nonsense
    mkdir jail && ln -s ../map/test_data jail/test_data
    refused 'leaves' vdisk hash ntfs-differential.$f --parent-map 'C:\Projects\dfvfs=jail'
    if [ $f = vhdx ]; then # nothing guards the bytes of its paths
        mkdir -p deep/map deep/up9999 && cp map/test_data/ntfs-parent.$f deep/up9999/
        perl -pe 's/t\0e\0s\0t\0_\0d\0a\0t\0a\0/.\0.\0\\\0u\0p\0009\0009\0009\0009\0/g' ntfs-differential.$f >climbs.$f
        ! cmp -s climbs.$f ntfs-differential.$f || fail "no path in the child was changed"
        refused 'was not found' vdisk hash climbs.$f --parent-map 'C:\Projects\dfvfs=deep/map'
    fi
    status 0 vdisk relink ntfs-differential.$f --parent map/test_data/ntfs-parent.$f
    mv map/test_data/ntfs-parent.$f .
    same "$(hash_of ntfs-differential.$f)" "$want" "the genuine child after relinking"
    clean ntfs-differential.$f
    rm -rf map jail deep climbs.* ntfs-*
done
