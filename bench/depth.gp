# SPDX-License-Identifier: BSD-2-Clause
# Requests a second by depth.
set terminal svg size 800, 480 font "sans,12" background "white"
set output dir."/depth.svg"
set logscale x 2
set yrange [0:*]
set xlabel "requests in flight"
set ylabel "random 4K reads a second, thousands (tmpfs, one thread)"
set grid lc rgb "#dddddd"
set key outside top center horizontal
set datafile separator "\t"
plot dir."/sweep-ours.tsv" using 1:($2/1000) with linespoints lw 2 pt 7 lc rgb "#2060a0" title "vdisk, VHDX", \
     dir."/sweep-fio.tsv" using 1:($2/1000) with linespoints lw 2 pt 5 lc rgb "#808080" title "fio io_uring, raw", \
     dir."/sweep-qemu.tsv" using 1:($2/1000) with linespoints lw 2 pt 9 lc rgb "#c05020" title "qemu-img bench, VHDX"
