# SPDX-License-Identifier: BSD-2-Clause
# Each work's ratio as a part of its goal: median, least and most of the rounds. Right of the line: the goal is met.
rows = int(system("wc -l < ".data))
set terminal svg size 1100, 80 + 24 * rows font "sans,12" background "white"
set output out
set logscale x
set xrange [0.2:60]
set yrange [rows:-1]
set lmargin 58
set xlabel "ratio / goal (1: the goal is met)"
set ytics scale 0
set grid xtics lc rgb "#dddddd"
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb "#888888"
unset key
set datafile separator "\t"
plot data using 2:0:3:4:ytic(1) with xerrorbars pt 7 ps 0.7 lw 1.5 lc rgb "#2060a0"
