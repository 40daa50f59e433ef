#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Several processes that look at cold files wait for the far disk side by side, and not one after
# the other; and one that walks through all of them does not wait in each directory.
. "$(dirname "$0")/common.sh"

PROCESSES=8
DELAY_MS=100 # each way
DIRECTORIES=$((PROCESSES * 5)) # make_way

# A long way, with an inode and a leaf of a directory to be brought for each step of it: the
# names beside it keep the steps apart.
make_way() {
    way=$1
    for step in 1 2 3 4; do
        way=$way/$step
        mkdir -p "$way"
        (cd "$way" && seq -f 'beside-it-%060.0f' 150 | xargs touch)
    done
    echo "$1" >"$way/file"
}

milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}

at_once() {
    looking=
    for way in "$@"; do
        stat -c %s "$way" >/dev/null &
        looking="$looking $!"
    done
    for id in $looking; do
        wait "$id" || fail "stat"
    done
}

one_by_one() {
    for way in "$@"; do
        stat -c %s "$way" >/dev/null || fail "stat"
    done
}

walk() {
    find "$M" >"$T/found" || fail "find"
    [ "$(grep -c '/file$' "$T/found")" = $PROCESSES ] || fail "find does not find all"
}

# look at_once|one_by_one|walk NUMBER: at so many files; how many milliseconds it took
look() {
    mnt
    tell "delay $DELAY_MS"
    begin=$(milliseconds)
    # shellcheck disable=SC2046
    "$1" $(seq -f "$M/way-%.0f/1/2/3/4/file" "$2")
    took=$(($(milliseconds) - begin))
    tell quiet
    umnt
    say "$2 $1: $took ms"
}

start_target
bad_line
mkfs
mnt
for i in $(seq $PROCESSES); do
    make_way "$M/way-$i"
done
umnt
look one_by_one $((PROCESSES / 2))
half=$took
[ "$half" -ge $((PROCESSES * DELAY_MS)) ] || fail "less than a round trip for each: they were not cold"
look at_once $PROCESSES
[ "$took" -lt $((half * 3 / 2)) ] || fail "$PROCESSES processes wait one after the other"
look walk $PROCESSES
[ "$took" -lt $((DIRECTORIES * 2 * DELAY_MS)) ] || fail "a walk waits in each directory"
no_line
check_disk
