#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Random operations here and on the kernel's ext4: the same results, errors and trees.
# From meson: SIDE_BY_SIDE. SEEDS and OPERATIONS may be given.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
truncate -s 1G "$FAST/reference"
mkfs.ext4 -q -b 4096 "$FAST/reference"
mkdir "$T/reference"
mount -o loop,nodev,nosuid "$FAST/reference" "$T/reference" # as encsanfs by itself

tree() { # modes, owners and links of all, and what attributes and ACLs say
    (
        cd "$1"
        find . -path ./lost+found -prune -o -printf '%p %M %n %U %G %l\n' | LC_ALL=C sort
        find . -path ./lost+found -prune -o ! -type l -print | LC_ALL=C sort | xargs getfacl -n
    )
}

same_trees() {
    tree "$T/reference" >"$T/tree"
    tree "$M" | diff "$T/tree" - || fail "the trees differ"
}

for seed in ${SEEDS:-1 2 3}; do
    say "seed $seed"
    chmod 777 "$M" "$T/reference"
    "$SIDE_BY_SIDE" "$seed" "${OPERATIONS:-6000}" "$M" "$T/reference" || fail "seed $seed: not as on the kernel's ext4"
    same_trees
done
say "a fresh mount"
mnt_anew
same_trees
difference=$(rsync -naHXi --no-times --checksum --delete --exclude=/lost+found "$T/reference/" "$M/" | grep -v '^\.[^ ]\.\.[^ ]\.\.\.\.\.\. ' || :)
[ -z "$difference" ] || fail "the trees differ: $difference"
umnt
check_disk
umount "$T/reference"
