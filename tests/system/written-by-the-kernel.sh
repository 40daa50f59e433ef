#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the kernel's ext4 has written, with its htrees and deep extents, is read and goes on being written.
. "$(dirname "$0")/common.sh"

make_tree "$T/tree"
start_target
mkfs
stop_target

mkdir "$T/loop"
mount -t ext4 -o loop "$DISK" "$T/loop"
cp -a "$T/tree" "$T/loop/"
mkdir "$T/loop/big"
(cd "$T/loop/big" && seq -f 'file-number-%.0f-of-a-directory-with-an-index' 3000 | xargs touch)
seq 100000 >"$T/loop/fragments" # extents that don't follow each other
for i in $(seq 0 2 400); do
    fallocate -p -o $((i * 4096)) -l 4096 "$T/loop/fragments" 2>/dev/null || :
done
cp "$T/loop/fragments" "$T/fragments"
umount "$T/loop"

start_target
mnt
compare "$T/tree" "$M/tree"
same "$M/fragments" "$T/fragments"
[ "$(find "$M/big" -type f | wc -l)" = 3000 ] || fail "files are missing"
say "into the same folder"
(cd "$M/big" && seq -f 'and-another-file-%.0f' 1500 | xargs touch)
rm "$M"/big/file-number-1*
rm -r "$M/tree/linux"
cp -a "$T/tree/linux" "$M/tree/"
ls "$M/big" >"$T/names"
umnt
check_disk
kernel_mount
ls "$T/loop/big" | cmp - "$T/names" || fail "the kernel sees other names"
compare "$T/tree/linux" "$T/loop/tree/linux"
same "$T/loop/fragments" "$T/fragments"
kernel_umount
