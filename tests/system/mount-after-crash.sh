#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# After encsanfs was killed, the next mount repairs with e2fsck -p, at once; what was synced before is there.
. "$(dirname "$0")/common.sh"

start_target
mkfs
for round in 1 2 3; do
    mnt_logged
    make_tree "$M/tree-$round"
    random_file "$T/data" 5
    cp "$T/data" "$M/synced-$round"
    sync "$M/synced-$round"
    say "round $round: killed"
    kill -9 "$FS_PID"
    wait "$FS_PID" || :
    umount -l "$M" 2>/dev/null || :
    gone encsanfs
    mnt 2>"$T/mnt.err"
    cat "$T/mnt.err"
    same "$M/synced-$round" "$T/data"
    rm -r "$M/tree-$round"
    umnt
    check_disk
done
say "a damaged bitmap ends the writing, and the next mount repairs it"
bitmap=$(dumpe2fs "$DISK" 2>/dev/null | sed -n 's/^  Block bitmap at \([0-9]*\).*/\1/p' | head -n 1)
head -c 4096 /dev/urandom | dd of="$DISK" bs=4096 seek="$bitmap" conv=notrunc status=none
mnt_logged
echo more >>"$M/synced-1" || :
! sync "$M/synced-1" 2>"$T/sync.err" || fail "it was synced"
grep -q "block bitmap of block group 0 is damaged" "$T/encsanfs.log" || fail "no word of the bitmap"
! touch "$M/new" 2>"$T/touch.err" || fail "the mount is not read-only"
! "$ENCSAN" umount "$M" 2>"$T/umount.err" || fail "nothing was missing"
wait "$FS_PID" || :
mnt 2>"$T/mnt.err"
cat "$T/mnt.err"
echo new >"$M/new"
umnt
check_disk
