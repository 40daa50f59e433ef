#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Several initiators, each with its own LUN, on one target at the same time.
. "$(dirname "$0")/common.sh"

other=$("$ENCSAN" keygen "$T/other.key")
run_target --allow "$PUBLIC" --allow "$other" --lun "$DISK,size=600M" --lun "$FAST/disk2,size=600M" \
    --lun "$FAST/disk3,size=600M"
[ "$(grep -c '^iscsi:' "$T/target.out")" = 3 ] || fail "not one line for each LUN"
random_file "$T/data" 48
work() { # LUN KEY
    url=${URL%/1}/$1
    with="key=$2,target_key=$TARGET_KEY"
    mkdir "$T/mnt$1"
    "$ENCSAN" mkfs "$url" -o "$with" -- -q >"$T/mkfs$1.log" 2>&1
    "$ENCSANFS" "$url" "$T/mnt$1" -o "$with"
    for i in 1 2 3; do
        cp "$T/data" "$T/mnt$1/file$i"
    done
    "$ENCSAN" umount "$T/mnt$1"
    "$ENCSANFS" "$url" "$T/mnt$1" -o "$with"
    for i in 1 2 3; do
        cmp "$T/data" "$T/mnt$1/file$i"
    done
    "$ENCSAN" umount "$T/mnt$1"
}
work 1 "$KEY" &
one=$!
work 2 "$T/other.key" &
two=$!
work 3 "$KEY" &
three=$!
wait $one || fail "LUN 1"
wait $two || fail "LUN 2"
wait $three || fail "LUN 3"
gone encsanfs
for disk in "$DISK" "$FAST/disk2" "$FAST/disk3"; do
    e2fsck -fn "$disk" >"$T/e2fsck.log" 2>&1 || fail "e2fsck of $disk"
done
