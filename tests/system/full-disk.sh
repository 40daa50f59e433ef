#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A full disk: ENOSPC to the writer at the write; what was there stays right; after rm it works again.
. "$(dirname "$0")/common.sh"

start_target 128M
mkfs -m 0
mnt
free_space() {
    stat -fc '%f blocks, %d inodes' "$M"
}
empty=$(free_space)
random_file "$T/data" 40
cp "$T/data" "$M/first"
say "a writer meets the end"
if dd if=/dev/zero of="$M/filler" bs=64k count=4000 status=none 2>"$T/dd.err"; then
    fail "128 MiB took 250 MiB"
fi
grep -q 'No space left' "$T/dd.err" || fail "$(cat "$T/dd.err")"
[ "$(stat -c %s "$M/filler")" -gt 20000000 ] || fail "it was full too early: $(stat -c %s "$M/filler")"
say "fsync of what was accepted works, and says so twice"
python3 -c "
import os, sys
f = os.open(sys.argv[1], os.O_RDWR)
os.fsync(f); os.fsync(f)" "$M/filler" || fail "fsync on a full disk"
if cp "$T/data" "$M/second" 2>"$T/cp.err"; then
    fail "it was full, and 40 MiB more fit"
fi
grep -q 'No space left' "$T/cp.err" || fail "$(cat "$T/cp.err")"
cmp "$T/data" "$M/first" || fail "an older file has changed"
cmp -n "$(stat -c %s "$M/filler")" "$M/filler" /dev/zero || fail "the filler has other bytes"
say "rm, and it works again"
rm "$M/filler" "$M/second"
cp "$T/data" "$M/third"
mnt_anew
same "$M/first" "$T/data"
same "$M/third" "$T/data"
rm "$M/first" "$M/third"
mnt_anew
[ "$(free_space)" = "$empty" ] || fail "not all came back: $(free_space), and it was $empty"
umnt
check_disk
say "no inodes left"
mkfs -F -N 64
mnt
empty=$(free_space)
i=0
while touch "$M/f$i" 2>"$T/touch.err"; do
    i=$((i + 1))
    [ $i -lt 1000 ] || fail "64 inodes made 1000 files"
done
for what in mkdir mkfifo "ln -s x"; do
    $what "$M/other" 2>>"$T/touch.err" && fail "$what without an inode"
done
[ "$(grep -c 'No space left' "$T/touch.err")" = 4 ] || fail "$(cat "$T/touch.err")"
rm "$M/f0"
echo again >"$M/again"
rm "$M"/f* "$M/again"
mnt_anew
[ "$(free_space)" = "$empty" ] || fail "not all came back: $(free_space), and it was $empty"
umnt
check_disk
