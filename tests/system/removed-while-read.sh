#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What is read ahead in a tree that somebody walks through may be gone when it comes.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
for i in $(seq 40); do
    mkdir -p "$M/tree/$i/sub"
    for j in $(seq 30); do
        echo "$i $j" >"$M/tree/$i/$j"
        echo "$i $j" >"$M/tree/$i/sub/$j"
    done
done
for round in 1 2 3; do
    say "round $round"
    mnt_anew
    cp -a "$M/tree" "$M/copy"
    mnt_anew
    find "$M/copy" -type f -exec cat {} + >/dev/null 2>&1 &
    reader=$!
    ls -lR "$M/copy" >/dev/null 2>&1 &
    lister=$!
    rm -r "$M/copy" || fail "rm"
    wait $reader $lister || : # some of it was gone
    echo written >"$M/still"
    sync "$M/still" || fail "the mount has turned read-only"
done
[ "$(find "$M/tree" -type f | wc -l)" = 2400 ] || fail "other files are gone"
umnt
check_disk
