#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A far disk that can't be written from some block on: EIO for every fsync, a mount that is read-only and says
# so, whose files can still be read; and the next mount checks the file system, where all is that was there.
. "$(dirname "$0")/common.sh"

random_file "$T/data" 20
random_file "$T/big" 300
start_target 400M
mkfs -J size=8
mnt
cp "$T/data" "$M/before"
sync "$M/before"
umnt
stop_target

say "writes behind the first 260 MB of the disk fail"
trap '' XFSZ
start_target 400M
prlimit --pid "$TARGET_PID" --fsize=$((260 << 20)) # no ENOSPC, for which a mount would wait: EFBIG
mnt_logged
! { cp "$T/big" "$M/big" && sync "$M/big"; } 2>"$T/cp.err" || fail "an fsync succeeds without its data"
grep -q 'Input/output error\|Read-only file system' "$T/cp.err" || fail "not the right error: $(cat "$T/cp.err")"
! sync "$M/before" 2>"$T/sync.err" || fail "the next fsync succeeds"
grep -q 'Input/output error' "$T/sync.err" || fail "not the right error: $(cat "$T/sync.err")"
grep -q 'read-only' "$T/encsanfs.log" || fail "the log does not say so: $(cat "$T/encsanfs.log")"
! touch "$M/new" 2>"$T/touch.err" || fail "a file can be made"
grep -q 'Read-only file system' "$T/touch.err" || fail "not the right error: $(cat "$T/touch.err")"
drop_caches
same "$M/before" "$T/data"
! "$ENCSAN" umount "$M" 2>"$T/umount.err" || fail "the unmount says that everything is on the far disk"
gone encsanfs
stop_target

say "with another disk behind it"
start_target 400M
mnt 2>"$T/mnt.err"
grep -q 'was not unmounted cleanly' "$T/mnt.err" || fail "it is not checked: $(cat "$T/mnt.err")"
grep -q 'contains a file system with errors' "$T/mnt.err" || fail "nobody knows of the error: $(cat "$T/mnt.err")"
same "$M/before" "$T/data"
cp "$T/data" "$M/after"
umnt
check_disk
