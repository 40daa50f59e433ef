#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# side-by-side.sh [CALLS [SEED…]]: random calls, each made here and on the kernel's ext4 with the same answer.
# Between two seeds both are mounted anew: what the second finds was read from the disk. From meson: SIDE_BY_SIDE.
. "$(dirname "$0")/common.sh"

CALLS=${1:-1500}
[ $# -eq 0 ] || shift
REFERENCE=$T/reference

mount_reference() {
    mount -o loop,nodev,nosuid "$FAST/reference" "$REFERENCE" # as encsanfs by itself
    # as much as was asked for becomes written, and no more: else SEEK_DATA finds zeros
    echo 0 >"/sys/fs/ext4/$(basename "$(findmnt -no SOURCE "$REFERENCE")")/extent_max_zeroout_kb"
}

start_target
mkfs -N 20000
truncate -s 1G "$FAST/reference"
mkfs.ext4 -q -b 4096 -N 20000 "$FAST/reference"
mkdir "$REFERENCE"
mnt
mount_reference
for top in "$M" "$REFERENCE"; do
    mkdir -m 777 "$top/root" "$top/user"
done
chmod 755 "$T" # for the user
for seed in ${*:-1 2}; do
    say "seed $seed"
    "$SIDE_BY_SIDE" "$seed" "$CALLS" "$M/root" "$REFERENCE/root" || fail "not the same"
    setpriv --reuid 1001 --regid 2001 --groups 2002 \
        "$SIDE_BY_SIDE" "$seed" "$CALLS" "$M/user" "$REFERENCE/user" || fail "not the same for a user"
    mnt_anew
    umount "$REFERENCE"
    mount_reference
done
for top in root user; do
    "$SIDE_BY_SIDE" 0 0 "$M/$top" "$REFERENCE/$top" || fail "not the same after a fresh mount"
done
umnt
check_disk
umount "$REFERENCE"
