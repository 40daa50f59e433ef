#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Files stay whole and small ones lie side by side, as filefrag sees them in the kernel's ext4.
. "$(dirname "$0")/common.sh"

extents() {
    filefrag "$T/loop/$1" | sed -n 's/.*: \([0-9]*\) extents\{0,1\} found/\1/p'
}

# at_most NUMBER FILE: so many extents
at_most() {
    found=$(extents "$2")
    say "$2: $found extents"
    [ "$found" -ge 1 ] && [ "$found" -le "$1" ] || fail "$2 has $found extents, more than $1"
}

# "first last" block of a file
blocks() {
    filefrag -v "$T/loop/$1" |
        awk -F'[: .]+' '$2 ~ /^[0-9]+$/ { if (first == "") first = $5; last = $6 } END { print first, last }'
}

start_target 3G
mkfs
mnt
say "small ones"
mkdir "$M/small"
for i in $(seq 100 299); do
    head -c 5000 /dev/zero >"$M/small/$i"
done
mnt_anew
say "one after the other"
dd if=/dev/zero of="$M/alone" bs=1M count=300 status=none
dd if=/dev/zero of="$M/alone in small pieces" bs=4k count=5120 status=none
say "three at once"
dd if=/dev/zero of="$M/first" bs=256k count=160 status=none &
first=$!
dd if=/dev/zero of="$M/second" bs=64k count=640 status=none &
second=$!
dd if=/dev/zero of="$M/third" bs=5000 count=8000 status=none
wait $first || fail "the first writer"
wait $second || fail "the second writer"
umnt
check_disk
kernel_mount
# a block group has 128 MiB; its metadata, and the backups of the superblock, lie between
at_most 6 "alone"
at_most 4 "alone in small pieces"
# of 160 pieces and more that were written in turn; a window ends when all data of its file has left,
# which happens between two writes on a busy machine
at_most 16 first
at_most 16 second
at_most 16 third
say "200 small files of two blocks: from which block to which"
for i in $(seq 100 299); do
    at_most 1 "small/$i" >/dev/null
    blocks "small/$i"
done >"$T/blocks"
awk '{ if (NR == 1 || $1 < first) first = $1; if ($2 > last) last = $2; if ($1 < before) back++; before = $1 }
     END { print first, last, back + 0; exit !(NR == 200 && last - first < 600 && back < 5) }' "$T/blocks" ||
    fail "they are scattered: $(tr '\n' ',' <"$T/blocks")"
kernel_umount
