#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A directory of many names is ext4's hash tree, for us, for e2fsck and for the kernel, who all
# go on with what another has made; and a listing is right while names come and go.
. "$(dirname "$0")/common.sh"

COUNT=8000 # of 200 bytes and more: the tree has two levels

names() {
    python3 "$(dirname "$0")/big-directory.py" "$1" "$2" $COUNT || fail "$1"
}

check_tree() {
    lsattr -d "$1" | grep -q '^[^ ]*I' || fail "$1 is not indexed"
}

start_target
mkfs
mnt
say "many names"
mkdir "$M/big"
names make "$M/big"
mnt_anew # nothing can come from a cache
names listed "$M/big"
names halve "$M/big"
names check "$M/big"
ls "$M/big" >"$T/names"
umnt
check_disk

say "the kernel goes on"
mkdir "$T/loop"
mount -t ext4 -o loop "$DISK" "$T/loop"
check_tree "$T/loop/big"
check_tree "$T/loop/big.small"
ls "$T/loop/big" | cmp - "$T/names" || fail "the kernel sees other names"
names check "$T/loop/big"
(cd "$T/loop/big" && seq -f 'the-kernel-made-this-%.0f' 3000 | xargs touch)
mkdir "$T/loop/kernel"
names make "$T/loop/kernel"
kernel_umount

say "and we again"
mnt
names halve "$M/kernel"
names check "$M/kernel"
(cd "$M/kernel" && seq -f 'made-behind-the-kernel-%.0f' 3000 | xargs touch)
(cd "$M/big" && ls | grep '^the-kernel' | xargs rm)
ls "$M/big" | cmp - "$T/names" || fail "other names than before"
ls "$M/kernel" >"$T/names"
umnt
check_disk
kernel_mount
ls "$T/loop/kernel" | cmp - "$T/names" || fail "the kernel sees other names"
names check "$T/loop/kernel"
kernel_umount

mnt
rm -r "$M/kernel" "$M/big" "$M/big.small"
umnt
check_disk
