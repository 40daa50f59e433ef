#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Holes stay holes: SEEK_HOLE, du, cp --sparse, fallocate; blocks that are kept for a file read as zeros.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
say "a file of 100 GiB with three bytes"
truncate -s 100G "$M/huge"
printf abc | dd of="$M/huge" bs=1 seek=77777777777 conv=notrunc status=none
[ "$(stat -c %s "$M/huge")" = 107374182400 ] || fail "its size"
[ "$(du -k "$M/huge" | cut -f1)" -le 64 ] || fail "it takes $(du -k "$M/huge")"
[ "$(dd if="$M/huge" bs=1 skip=77777777776 count=5 status=none | od -An -tx1)" = " 00 61 62 63 00" ] ||
    fail "the bytes"
say "cp keeps the holes"
truncate -s 30M "$T/sparse"
for i in 1 5 9 20 29; do
    echo "data $i" | dd of="$T/sparse" bs=1M seek=$i conv=notrunc status=none
done
cp --sparse=always "$T/sparse" "$M/sparse"
cp "$M/sparse" "$M/second"
same "$M/second" "$T/sparse"
[ "$(du -k "$M/second" | cut -f1)" -le 200 ] || fail "the copy takes $(du -k "$M/second")"
say "fallocate: space is taken, and reads as zeros"
free=$(stat -fc %f "$M")
fallocate -l 50M "$M/kept"
[ "$((free - $(stat -fc %f "$M")))" -ge 12800 ] || fail "no space was taken"
cmp -n 52428800 "$M/kept" /dev/zero || fail "not zeros"
echo inside | dd of="$M/kept" bs=1 seek=20000001 conv=notrunc status=none
fallocate -n -l 60M "$M/kept"
[ "$(stat -c %s "$M/kept")" = 52428800 ] || fail "fallocate -n changed the size"
fallocate -z -o 1000000 -l 1000000 "$M/kept"
fallocate -p -o 55000000 -l 4096 "$M/kept"
[ "$(stat -c %b "$M/kept")" -ge 122880 ] || fail "what was allocated behind the end went"
say "fallocate of more than there is: ENOSPC, and nothing changes"
free=$(stat -fc %f "$M")
! fallocate -l 10G "$M/too-much" 2>"$T/fallocate.err" || fail "10 GiB on a disk of 1 GiB"
grep -q 'No space left' "$T/fallocate.err" || fail "$(cat "$T/fallocate.err")"
[ "$(stat -c '%s %b' "$M/too-much")" = "0 0" ] || fail "size, blocks: $(stat -c '%s %b' "$M/too-much")"
[ "$((free - $(stat -fc %f "$M")))" -le 1 ] || fail "it took space"
say "zeroed blocks are kept, and are no data"
head -c 49152 /dev/urandom >"$M/zeroed"
fallocate -z -o 8192 -l 16384 "$M/zeroed"
[ "$(du -k "$M/zeroed" | cut -f1)" -ge 48 ] || fail "it takes $(du -k "$M/zeroed")"
found=$(python3 -c "
import os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
print(os.lseek(f, 0, os.SEEK_HOLE), os.lseek(f, 8192, os.SEEK_DATA))" "$M/zeroed")
[ "$found" = "8192 24576" ] || fail "hole and data at $found"
mnt_anew
{ head -c 20000001 /dev/zero; echo inside; head -c 32428792 /dev/zero; } | cmp - "$M/kept" ||
    fail "other bytes after a fresh mount"
same "$M/second" "$T/sparse"
umnt
check_disk
kernel_mount
same "$T/loop/second" "$T/sparse"
kernel_umount
