#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The comparison through a mounted directory in its smallest form: every step of
# encsanfs and nullfuse is measured, and a benchmark that is killed leaves nothing.
. "$(dirname "$0")/../system/common.sh"

PEERS=$(dirname "$0")/peers.py

python3 "$PEERS" --smallest --out "$T/out" 2>"$T/peers.log" >"$T/table" || fail "peers.py: $(tail -n 3 "$T/peers.log")"

say "a row for each step of each round, and each figure is above 0"
! grep "left out" "$T/peers.log" || fail "a peer does not run"
for peer in encsanfs,1 encsanfs,2 nullfuse,1 nullfuse,2; do
    for step in write read untar tree-read ls fsync; do
        grep -q ",$peer,$step,[0-9]" "$T/out/peers.csv" || fail "no $step of $peer: $(cat "$T/out/peers.csv")"
    done
done
for limit in iperf3-1 iperf3-8; do
    for step in write read; do
        grep -q ",$limit,1,$step,[0-9]" "$T/out/peers.csv" || fail "no $step of $limit: $(cat "$T/out/peers.csv")"
    done
done
grep -q encsanfs "$T/table" || fail "no table: $(cat "$T/table")"
[ -s "$T/out/results.html" ] || fail "no results.html"

say "killed in the middle, it leaves nothing"
python3 "$PEERS" --smallest --out "$T/killed" 2>"$T/killed.log" >"$T/out/nothing" &
pid=$!
encsanfs_runs() {
    [ -n "$(processes encsanfs)" ]
}
until_true 60 encsanfs_runs || fail "it does not get as far as encsanfs"
kill -KILL $pid # the outermost process; its descendants follow
wait $pid 2>/dev/null || :
gone encsanfs
gone encsan-target
gone encsan-link
gone python3
