#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A tree of everything comes back the same: after a fresh mount, and for the kernel's own ext4.
. "$(dirname "$0")/common.sh"

make_tree "$T/tree"
start_target
mkfs
mnt
say "cp -a, read back at once"
cp -a "$T/tree" "$M/"
compare "$T/tree" "$M/tree"
say "after a fresh mount"
mnt_anew
compare "$T/tree" "$M/tree"
umnt
check_disk
say "through the kernel"
kernel_mount
compare "$T/tree" "$T/loop/tree"
kernel_umount
