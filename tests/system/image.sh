#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsanfs IMAGE MOUNTPOINT: a target of its own serves the image and ends with the mount.
. "$(dirname "$0")/common.sh"

truncate -s 600M "$FAST/image"
mke2fs -q -t ext4 -b 4096 "$FAST/image"
"$ENCSANFS" "$FAST/image" "$M"
make_tree "$T/tree"
cp -a "$T/tree" "$M/"
umnt
gone encsanfs
gone encsan-target
DISK=$FAST/image
check_disk
kernel_mount
compare "$T/tree" "$T/loop/tree"
[ "$(ls "$FAST")" = image ] || fail "something is left beside the image: $(ls "$FAST")"
kernel_umount
say "a second mount of the same image is refused"
"$ENCSANFS" "$FAST/image" "$M"
mkdir "$T/second"
refused 1 "$M\|in use" "$ENCSANFS" "$FAST/image" "$T/second"
fusermount3 -u "$M"
gone encsanfs
gone encsan-target
say "an image that does not exist"
refused 1 'nothing-there' "$ENCSANFS" "$FAST/nothing-there" "$M"
check_disk
