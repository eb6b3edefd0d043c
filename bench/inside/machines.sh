#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The testbed's side of machines.sh: each machine starts the same Debian from the same image and does the same work, once in
# each round. KVM counts the exits meanwhile.
. "$SRC/tests/vm/testbed/guest.sh"
need qemu-system-x86_64
. "$FILES/machines/settings"

job <<END
#!/bin/sh
echo userspace
sleep 3
device() {
    for disk in /sys/block/*; do
        [ "\$(cat "\$disk/serial" 2>/dev/null)" != "\$1" ] || echo "/dev/\${disk##*/}"
    done
}
work() { # NAME DISK OPTION...
    name=\$1 disk=\$(device "\$2")
    shift 2
    echo "begin: \$name"
    fio --name=work --filename="\$disk" --direct=1 --ioengine=io_uring --time_based --runtime=$seconds --output-format=json "\$@" |
        jq -r --arg name "\$name" '.jobs[0] | "\(\$name): \(.read.iops + .write.iops) \(.read.total_ios + .write.total_ios)"'
}
for image in vhdx raw; do
    work "randread \$image" \$image --rw=randread --bs=4k --iodepth=32
    work "randwrite \$image" \$image --rw=randwrite --bs=4k --iodepth=32
    work "read \$image" \$image --rw=read --bs=256k --iodepth=8
done
END

# ---- The machines: one processor, the same memory, the kernel directly ----

kernel=("$FILES/guest/vmlinuz" "$FILES/guest/initrd.small" "root=LABEL=vdisk-root console=ttyS0 quiet panic=-1")

hv() {
    exec "$BUILD/hv" run --memory 384M --kernel "${kernel[0]}" --initrd "${kernel[1]}" --append "${kernel[2]}" --nic none \
        --disk "$FILES/guest/root.vhdx,overlay" --disk job.raw --disk "$data/vhdx.vhdx,serial=vhdx" --disk "$data/raw.raw,serial=raw"
}

qemu() { # -M
    exec qemu-system-x86_64 -M "$1,accel=kvm,memory-backend=memory" -object memory-backend-memfd,id=memory,size=384M -cpu host -m 384M \
        -name machine,debug-threads=on -nodefaults -no-user-config -no-reboot -display none -serial stdio \
        -kernel "${kernel[0]}" -initrd "${kernel[1]}" -append "${kernel[2]}" -object iothread,id=io \
        -drive "if=none,id=root,file=$FILES/guest/root.vhdx,format=vhdx,snapshot=on" -device virtio-blk-pci,drive=root \
        -drive "if=none,id=job,file=job.raw,format=raw" -device virtio-blk-pci,drive=job \
        -drive "if=none,id=vhdx,file=$data/vhdx.vhdx,format=vhdx,aio=io_uring" -device virtio-blk-pci,drive=vhdx,iothread=io,serial=vhdx \
        -drive "if=none,id=raw,file=$data/raw.raw,format=raw,aio=io_uring" -device virtio-blk-pci,drive=raw,iothread=io,serial=raw
}
microvm() {
    qemu microvm,pcie=on,rtc=on # Linux looks for the clock, and for seconds where there is none
}
pc() {
    qemu pc
}

# KiB of the process's memory that are not the guest's.
beside() {
    awk '/^[0-9a-f]+-/ { guest = /memfd/ } /^Rss:/ && !guest { sum += $2 } END { print sum }' "/proc/$1/smaps"
}

# Exits of the machine's processors, from its start on.
exits() {
    cat /sys/kernel/debug/kvm/"$(cat "$1.pid")"-*/exits
}

# Nanoseconds of the processors that the machine has spent on threads that do not run the guest.
spent() {
    local task name sum=0 time
    for task in /proc/"$(cat "$1.pid")"/task/*; do
        read -r name <"$task/comm" && read -r time _ <"$task/schedstat" || continue
        case $name in cpu* | CPU*) ;; *) sum=$((sum + time)) ;; esac
    done
    echo $sum
}

# listen WHO: notes when the guest is up, then what memory the machine takes; of each work, the exits and the time spent.
listen() {
    local line before=0 time=0
    while IFS= read -r line; do
        line=${line%$'\r'}
        echo "$line" >>"$1.serial"
        case $line in
        userspace) echo "$EPOCHREALTIME" >"$1.up" && sleep 1 && beside "$(cat "$1.pid")" >"$1.kib" ;;
        begin:*) before=$(exits "$1") time=$(spent "$1") ;;
        rand*": "*" "* | read*": "*" "*)
            echo "${line%%:*} $(($(exits "$1") - before)) $(($(spent "$1") - time)) ${line##* }" >>"$1.counts"
            ;;
        esac
    done
}

# start WHO: it has done its work.
start() {
    rm -f "$1".*
    began=$EPOCHREALTIME
    (echo "$BASHPID" >"$1.pid" && "$1") </dev/null 2>"$1.errors" | listen "$1"
    grep -q '^job: 0' "$1.serial"
}

sample() { # WORK WHO VALUE
    printf 'machine, %s\t%s\t%s\t%s\n' "$1" "$round" "$2" "$3" >>"$RESULTS/samples.tsv"
    echo "testbed: round $round, $2: $1 $3" >/dev/console
}

# ---- Rounds ----

mount -t debugfs none /sys/kernel/debug 2>/dev/null || true
data=/dev/shm # so that the requests' way is measured, and not the testbed's disk
head -c 192M /dev/urandom >$data/raw.raw
quietly convert $data/raw.raw $data/vhdx.vhdx
: >"$RESULTS/samples.tsv"
declare -A broken=([hv]=0 [microvm]=0 [pc]=0)
for ((round = 1; round <= rounds; round++)); do
    for who in hv microvm pc; do
        # A guest of an emulated KVM now and then ends in the middle of its work, whoever runs it.
        while ! start $who; do
            broken[$who]=$((broken[$who] + 1))
            echo "testbed: round $round, $who: broken off: $(tail -n 1 $who.errors $who.serial)" >/dev/console
            [ "${broken[$who]}" -lt 5 ] || fail "$who: $(cat $who.errors; tail -n 20 $who.serial)"
        done
        sample start $who "$(awk -v began="$began" -v ended="$(cat $who.up)" 'BEGIN { print 1 / (ended - began) }')"
        for disk in vhdx raw; do
            for rw in randread randwrite read; do
                sample "$rw, $disk" $who "$(sed -n "s/^$rw $disk: \([^ ]*\) .*/\1/p" $who.serial)"
            done
        done
    done
done
for who in hv microvm pc; do
    printf 'machine, %s: memory beside the guest'"'"'s\t%s\tKiB\n' $who "$(cat $who.kib)"
    printf 'machine, %s: starts that broke off\t%s\tof %s\n' $who "${broken[$who]}" $((rounds + broken[$who]))
    awk -v who=$who '$2 == "vhdx" {
        printf "machine, %s: %s: exits\t%.2f\ta request\n", who, $1, $3 / $5
        printf "machine, %s: %s: processor beside the guest'"'"'s\t%.0f\tus a request\n", who, $1, $4 / $5 / 1000
    }' $who.counts
done >>"$RESULTS/counts.tsv"
