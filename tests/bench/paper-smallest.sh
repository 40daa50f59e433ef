#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The paper's experiment in its smallest form: every figure is measured and drawn.
. "$(dirname "$0")/../system/common.sh"

python3 "$(dirname "$0")/paper.py" --smallest --out "$T/out" 2>"$T/paper.log" ||
    fail "paper.py: $(tail -n 3 "$T/paper.log")"

say "a row for each system, and each figure is above 0"
for row in aes-256-gcm,none aes-256-gcm,sync aes-256-gcm,op2 aes-256-gcm,op10 aes-256-gcm,auto \
    3des,sync 3des,op2 3des,op10 3des,auto; do
    grep -q "^$row,131072,1,1," "$T/out/paper.csv" || fail "no row $row in $(cat "$T/out/paper.csv")"
done
awk -F, 'NR > 1 && !($6 > 0 && $7 > 0 && $8 > 0 && $9 > 0)' "$T/out/paper.csv" >"$T/bad"
[ ! -s "$T/bad" ] || fail "rows without figures: $(cat "$T/bad")"

say "OP-10 is faster than one block at a time, as it is over any link with a delay"
awk -F, '$1 == "aes-256-gcm" { rate[$2] = $6 / $7 } END { exit !(rate["op10"] > rate["sync"]) }' "$T/out/paper.csv" ||
    fail "it is not: $(cat "$T/out/paper.csv")"

say "the page has its pictures"
grep -o 'src="[^"]*"' "$T/out/results.html" | sed 's/src="\(.*\)"/\1/' >"$T/pictures"
[ -s "$T/pictures" ] || fail "results.html shows no picture"
while read -r picture; do
    grep -q '<svg' "$T/out/$picture" || fail "$picture is no picture"
done <"$T/pictures"
