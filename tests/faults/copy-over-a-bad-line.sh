#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Copies of a tree while the line has a fault every 0.2 to 2 s: no error, bit-exact, a clean file system.
# COPIES and FILES make it larger.
. "$(dirname "$0")/common.sh"

start_target 8G
mkfs -N 300000
bad_line
mnt_logged cache=16M
mkdir "$T/tree"
for i in $(seq "$((${FILES:-600} / 100))"); do
    mkdir "$T/tree/$i"
    size=$((500 + i * 7919 % 60000)) # another one in each folder
    openssl enc -aes-128-ctr -nosalt -pbkdf2 -pass "pass:$i" -in /dev/zero 2>/dev/null | head -c $((size * 99)) |
        (cd "$T/tree/$i" && split -a 3 -b $size - f && : >empty)
done
seed=${SEED:-$(date +%N | sed 's/^0*//')}
say "seed $seed"
tell "random $seed"
for copy in $(seq "${COPIES:-2}"); do
    cp -a "$T/tree" "$M/$copy"
    sync "$M/$copy"
    drop_caches
    compare "$T/tree" "$M/$copy"
    say "copy $copy: $("$ENCSAN" status "$M" | grep '^retries')"
done
tell say
tell quiet
umnt
gone encsanfs
no_line
say "$(grep faults "$T/line.out")"
check_disk
mnt
for copy in $(seq "${COPIES:-2}"); do
    compare "$T/tree" "$M/$copy"
done
umnt
check_disk
