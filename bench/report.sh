#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# From $OUT/samples.tsv: the table of ratios (table.tsv, table.md) and its plot. Goals are in goals.tsv: the beginning of a
# work's name, the two contestants, and what their ratio is to be.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

awk -F '\t' '
function median(list, n,    i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && list[j - 1] + 0 > list[j] + 0; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
function rate(work, who,    i, list, n) {
    n = 0
    for (i = 1; i <= rounds[work]; i++) if ((work, i, who) in value) list[++n] = value[work, i, who]
    return n ? median(list, n) : 0
}
FILENAME == ARGV[1] { goals++; prefix[goals] = $1; a[goals] = $2; b[goals] = $3; goal[goals] = $4; next }
{
    if (!($1 in rounds)) order[++works] = $1
    if ($2 > rounds[$1]) rounds[$1] = $2
    value[$1, $2, $3] = $4
}
END {
    for (w = 1; w <= works; w++) for (g = 1; g <= goals; g++) {
        work = order[w]
        if (index(work, prefix[g]) != 1) continue
        n = 0; split("", list)
        for (i = 1; i <= rounds[work]; i++)
            if ((work, i, a[g]) in value && (work, i, b[g]) in value && value[work, i, b[g]] > 0)
                list[++n] = value[work, i, a[g]] / value[work, i, b[g]]
        if (!n) continue
        m = median(list, n)
        printf "%s\t%s\t%s\t%.6g\t%.6g\t%.3f\t%.3f\t%.3f\t%s\t%s\n", work, a[g], b[g], rate(work, a[g]), rate(work, b[g]),
            m, list[1], list[n], goal[g] == "" ? "-" : goal[g],
            goal[g] == "" ? "-" : (m >= goal[g] + 0) ? "yes" : "NO"
    }
}' "$here/goals.tsv" "$OUT/samples.tsv" >"$OUT/table.tsv"

{
    echo '| work | ours | against | ours /s | theirs /s | ratio | least to most | goal | met |'
    echo '|---|---|---|---|---|---|---|---|---|'
    awk -F '\t' '{ printf "| %s | %s | %s | %s | %s | **%.2f** | %.2f to %.2f | %s | %s |\n", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 }' \
        "$OUT/table.tsv"
    echo
    echo '| counted | | |'
    echo '|---|---|---|'
    awk -F '\t' '{ printf "| %s | %s | %s |\n", $1, $2, $3 }' "$OUT/counts.tsv"
} >"$OUT/table.md"
column -t -s "$(printf '\t')" "$OUT/table.tsv"

# The ratio divided by its goal, so that 1 is the line for all.
awk -F '\t' '$9 != "-" { printf "\"%s: %s / %s\"\t%s\t%s\t%s\n", $1, $2, $3, $6 / $9, $7 / $9, $8 / $9 }' "$OUT/table.tsv" >"$OUT/plot.tsv"
[ ! -s "$OUT/plot.tsv" ] || gnuplot -e "data='$OUT/plot.tsv'; out='$OUT/ratios.svg'" "$here/ratios.gp"

# Medians by depth.
for who in sweep-ours sweep-qemu sweep-fio; do
    grep "^sweep .*$who" "$OUT/samples.tsv" | sort -t "$(printf '\t')" -k1.7,1n -k4,4n | awk -F '\t' '
        { split($1, name, " "); n[name[2]]++; value[name[2], n[name[2]]] = $4; if (n[name[2]] == 1) order[++rows] = name[2] }
        END { for (i = 1; i <= rows; i++) { d = order[i]; print d "\t" value[d, int((n[d] + 1) / 2)] } }' >"$OUT/$who.tsv" || true
done
[ ! -s "$OUT/sweep-ours.tsv" ] || gnuplot -e "dir='$OUT'" "$here/depth.gp"
