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
