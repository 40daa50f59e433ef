#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Files with more extents than the smallest journal could free at once: what is freed, is freed in steps,
# meanwhile others go on, and encsanfs can be killed: then the next mount finishes it.
. "$(dirname "$0")/common.sh"

BOUNDARY=231200 # the first block in the second index block of the tree: 340 leaves of 340 extents

free_blocks() {
    stat -fc %f "$M"
}

# freed COUNT: so many blocks more than at `free`
freed() {
    [ "$(free_blocks)" -ge $((free + $1)) ] || ! kill -0 "$FS_PID" 2>/dev/null
}

# killed_at COUNT: encsanfs is killed when so many blocks are free
killed_at() {
    until_true 60 freed "$1" || fail "nothing becomes free"
    kill -9 "$FS_PID" || fail "encsanfs ended"
    wait "$FS_PID" || :
    umount -l "$M"
    gone encsanfs
}

# left_to_do PATTERN: what e2fsck finds to be done
left_to_do() {
    cp --sparse=always "$DISK" "$FAST/copy"
    e2fsck -p "$FAST/copy" >"$T/left.log" 2>&1 || [ $? -eq 1 ] || fail "e2fsck -p: $(cat "$T/left.log")"
    grep -q "$1" "$T/left.log" || fail "nothing was left to do: $(cat "$T/left.log")"
    rm "$FAST/copy"
}

truncate -s 4G "$DISK"
mke2fs -q -t ext4 -b 4096 -N 1024 -O ^has_journal "$DISK"
mkdir "$T/loop"
mount -t ext4 -o loop,noatime "$DISK" "$T/loop"
python3 - "$T/loop" $BOUNDARY <<'END'
import os, sys
folder, boundary = sys.argv[1], int(sys.argv[2])
many, other, third = [os.open(folder + name, os.O_RDWR | os.O_CREAT, 0o644) for name in ("/many", "/other", "/third")]
for block in range(0, boundary + 3000, 2):
    os.posix_fallocate(many, block * 4096, 4096)
    if block < 80000:
        os.posix_fallocate(other, block * 4096, 4096)
    if block < 40000:
        os.posix_fallocate(third, block * 4096, 4096)
os.pwrite(many, b"first", 0)
os.pwrite(many, b"behind", boundary * 4096)
END
kernel_umount
tune2fs -J size=4 "$DISK" >"$T/tune2fs.log" 2>&1 || fail "tune2fs: $(cat "$T/tune2fs.log")"
start_target 4G
mnt_logged cache=16M
say "a hole before an index block"
[ "$(dd if="$M/many" bs=4096 skip=$((BOUNDARY - 1)) count=2 status=none | tr -d '\0')" = behind ] ||
    fail "what is behind the hole is not there"
fallocate -z -o $(((BOUNDARY - 9) * 4096)) -l $((9 * 4096)) "$M/many"
echo before | dd of="$M/many" bs=4096 seek=$((BOUNDARY - 1)) conv=notrunc status=none
say "a punched hole"
free=$(free_blocks)
fallocate -p -o $((100000 * 4096)) -l $((100000 * 4096)) "$M/many"
freed 49990 || fail "it is not free: $free, now $(free_blocks)"
[ "$(dd if="$M/many" bs=4096 skip=$((BOUNDARY - 1)) count=2 status=none | tr -d '\0')" = "before
behind" ] || fail "what is behind a hole has changed"
umnt
check_disk
mnt_logged cache=16M
say "truncated, and killed meanwhile"
free=$(free_blocks)
truncate -s 5001 "$M/many" 2>"$T/truncate.err" &
cutter=$!
until_true 60 freed 1000 || fail "nothing becomes free"
echo meanwhile >"$M/small"
sync "$M/small"
killed_at 1000
! wait "$cutter" || fail "the truncation was over: nothing was killed meanwhile"
left_to_do "recovering journal"
mnt_logged cache=16M
[ "$(cat "$M/small")" = meanwhile ] || fail "a file that was written meanwhile"
[ "$(stat -c %s "$M/many")" -lt $(((BOUNDARY + 2999) * 4096)) ] || fail "nothing was cut: $(stat "$M/many")"
[ "$(head -c 4096 "$M/many" | tr -d '\0')" = first ] || fail "other bytes"
truncate -s 5001 "$M/many"
[ "$(stat -c %s "$M/many")" = 5001 ] || fail "its size: $(stat "$M/many")"
[ "$(stat -c %b "$M/many")" -le 24 ] || fail "its blocks: $(stat "$M/many")" # with two of the tree
freed 60000 || fail "the space did not come back: $free, now $(free_blocks)"
umnt
check_disk
mnt_logged cache=16M
say "deleted, and killed meanwhile"
free=$(free_blocks)
exec 3<"$M/other"
rm "$M/other"
sync "$M"
exec 3<&-
killed_at 1000
left_to_do "Clearing orphaned inode"
mnt_logged cache=16M
freed 40000 || fail "the space did not come back: $free, now $(free_blocks)"
umnt
check_disk
say "unmounted while a deletion goes on"
mnt_logged cache=16M
free=$(free_blocks)
rm "$M/third"
umnt
check_disk
mnt_logged cache=16M
freed 20000 || fail "the space did not come back: $free, now $(free_blocks)"
umnt
