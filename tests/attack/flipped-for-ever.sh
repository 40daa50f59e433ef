#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every answer to a read is forged from some moment on: EIO, never wrong data; what was there stays right.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
random_file "$T/data" 8
mnt
cp "$T/data" "$M/file"
umnt
proxy --flip read-answer --first 400 --count 0
mnt_logged
i=0
while cmp "$T/data" "$M/file" 2>"$T/cmp.err"; do
    drop_caches
    i=$((i + 1))
    [ $i -lt 200 ] || fail "nothing was flipped"
done
grep -q 'Input/output error' "$T/cmp.err" || fail "wrong data: $(cat "$T/cmp.err")"
grep -q 'security: ' "$T/encsanfs.log" || fail "no logged security error"
timeout 60 "$ENCSAN" umount "$M" 2>/dev/null || :
kill "$FS_PID" 2>/dev/null || :
gone encsanfs
without_proxy
mnt
same "$M/file" "$T/data"
umnt
check_disk
