#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What rm frees becomes free on the far machine, too; with discard=off it does not.
. "$(dirname "$0")/common.sh"

disk_kib() {
    du -k "$DISK" | cut -f1
}

# at_most KIB
at_most() {
    [ "$(disk_kib)" -le "$1" ]
}

start_target
mkfs
say "by itself"
mnt
before=$(disk_kib)
random_file "$T/data" 40
cp "$T/data" "$M/file"
sync "$M/file"
full=$(disk_kib)
[ "$full" -ge $((before + 40960)) ] || fail "40 MiB are not on the disk: $before, then $full KiB"
rm "$M/file"
until_true 60 at_most $((full - 36000)) || fail "they are still there: $(disk_kib) KiB"
umnt
say "in many pieces, before the unmount ends"
mnt
random_file "$M/pieces" 4
sync "$M/pieces"
full=$(disk_kib)
piece=0
while [ $piece -lt 500 ]; do
    fallocate -p -o $((piece * 8192)) -l 4096 "$M/pieces"
    piece=$((piece + 1))
done
sync "$M/pieces"
umnt
at_most $((full - 1800)) || fail "500 blocks are still there: $full, then $(disk_kib) KiB"
say "discard=off"
mnt discard=off
cp "$T/data" "$M/file"
sync "$M/file"
full=$(disk_kib)
rm "$M/file"
umnt
at_most $((full - 1024)) && fail "it gave space back: $full, then $(disk_kib) KiB"
check_disk
say "something else"
refused 2 "discard=on is neither" "$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=$TARGET_KEY,discard=on"
