# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# For tests/export/*.sh, after lib.sh: disks that are mounted and served.

# shellcheck disable=SC2034
exported() {
    [ -x "$BUILD/vdisk-fuse" ] || skip "vdisk-fuse is not in this build (libfuse3-dev, libblkid-dev)"
    [ -w /dev/fuse ] || skip "no /dev/fuse"
}

# attach IMAGE DIR [OPTION...]: vdisk mount; undone at the end of the test if need be.
attach() {
    mkdir -p "$2"
    mounts+=("$PWD/$2")
    vdisk mount "$@"
}
detach() {
    vdisk umount "$1"
    unset 'mounts[-1]'
}

# holder DIR: who serves it.
holder() {
    pgrep -f "^vdisk-fuse .* $1\$" | tail -n 1
}

# kill_holder DIR: who serves it dies at once, and is gone when this returns.
kill_holder() {
    local pid
    pid=$(holder "$PWD/$1")
    kill -9 "$pid"
    ended "$pid" || fail "the killed server of $1 does not end"
}

# root_and_loop: for what only the kernel mounts.
root_and_loop() {
    [ "$(id -u)" -eq 0 ] || skip "not root: loop devices are out of reach"
    [ -c /dev/loop-control ] || skip "no loop devices"
}

served() {
    need nbdkit
    [ -f "$BUILD/nbdkit-vdisk-plugin.so" ] || skip "the plugin for nbdkit is not in this build (nbdkit-plugin-dev)"
}

servers_kill() {
    local file
    for file in ./*.pid; do
        [ ! -f "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
    done
}
trap 'servers_kill; cleanup' EXIT

# serve IMAGE [OPTION...]: its address is in $uri.
serve() {
    uri="nbd+unix:///?socket=$PWD/$1.sock"
    vdisk serve "$1" --quiet --pid-file "$1.pid" "${@:2}"
}
unserve() {
    local pid
    pid=$(cat "$1.pid")
    kill "$pid"
    ended "$pid" || fail "the server of $1 does not end"
    rm -f "$1.pid"
}

# ended PID: within half a minute, all its threads: the first may have gone while another has the files open.
ended() {
    local i
    for ((i = 0; i < 600; i++)); do
        case $(ps -o stat= -p "$1" || true) in
        "" | Z*) [ "$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -gt 1 ] || return 0 ;;
        esac
        sleep 0.05
    done
    return 1
}
