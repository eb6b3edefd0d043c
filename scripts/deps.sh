#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs what the build, the tests and make bench need, by package name (Debian 12), and only what is missing.
# As root, or through sudo. Says nothing where everything is there.
set -eu

build="build-essential pkg-config liburing-dev libaio-dev libssl-dev libjansson-dev libisal-dev uuid-dev
    libfuse3-dev libblkid-dev libfdisk-dev libext2fs-dev ntfs-3g-dev libslirp-dev libseccomp-dev acpica-tools nbdkit nbdkit-plugin-dev"
tests="libcmocka-dev qemu-utils libvhdi-utils 7zip fuse3 zstd jq openssl strace perl clang libclang-rt-dev cppcheck shellcheck mandoc clang-format
    mmdebstrap qemu-system-x86 seabios
    fdisk fio libnbd-bin e2fsprogs xfsprogs btrfs-progs dosfstools mtools ntfs-3g procps"
bench="fio gnuplot-nox bsdextrautils time xfsprogs qemu-system-common"

missing=
for package in $build $tests $bench; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
    "install ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "deps: missing:$missing; run as root, or install sudo" >&2; exit 1; }
    as_root=sudo
fi

echo "deps: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >>"$log" 2>&1
}

# The lists may be absent (a fresh container) or name versions that are gone: ask for new ones once.
# shellcheck disable=SC2086
apt install --no-install-recommends $missing || { apt update && apt install --no-install-recommends $missing; } || {
    cat "$log" >&2
    echo "deps: apt-get failed" >&2
    exit 1
}
