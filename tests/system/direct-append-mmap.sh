#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# O_DIRECT, O_APPEND by several processes, mmap.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
say "O_DIRECT"
random_file "$T/data" 16
dd if="$T/data" of="$M/direct" bs=128k oflag=direct status=none
same "$M/direct" "$T/data"
dd if="$M/direct" bs=4k iflag=direct status=none | cmp - "$T/data" || fail "read with O_DIRECT"
dd if="$T/data" of="$M/direct" bs=4k seek=100 skip=200 count=50 conv=notrunc oflag=direct status=none
dd if="$T/data" of="$T/direct" bs=128k status=none
dd if="$T/data" of="$T/direct" bs=4k seek=100 skip=200 count=50 conv=notrunc status=none
same "$M/direct" "$T/direct"
say "O_APPEND by four processes"
for who in a b c d; do
    for i in $(seq 250); do
        echo "$who $i" >>"$M/append"
    done &
    writers="${writers:-} $!"
done
# shellcheck disable=SC2086
wait $writers
[ "$(sort -u "$M/append" | wc -l)" = 1000 ] || fail "lines are lost: $(wc -l <"$M/append")"
say "mmap: written by one, read by another, after a fresh mount"
cat >"$T/map.py" <<'PY'
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(f, 5000000)
m = mmap.mmap(f, 5000000)
for i in range(0, 5000000 - 8, 4099):
    m[i:i + 8] = i.to_bytes(8, 'big')
if len(sys.argv) > 2:
    m.flush()
m.close()
PY
python3 "$T/map.py" "$M/mapped"
python3 "$T/map.py" "$M/mapped-and-flushed" flush
python3 "$T/map.py" "$T/mapped"
same "$M/mapped" "$T/mapped"
cp /bin/ls "$M/program"
"$M/program" "$M" >/dev/null || fail "a program does not run from the mount"
mnt_anew
same "$M/mapped" "$T/mapped"
same "$M/mapped-and-flushed" "$T/mapped"
same "$M/direct" "$T/direct"
umnt
check_disk
