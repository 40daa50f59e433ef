#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# cp of a file that another process holds open and is writing: what was written before is in the copy.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
random_file "$T/data" 24
(
    exec 3>"$M/growing"
    for i in 0 1 2; do
        dd if="$T/data" bs=1M skip=$((i * 8)) count=8 status=none >&3
        : >"$T/written-$i"
        until_true 60 test -e "$T/copied-$i"
    done
) &
writer=$!
for i in 0 1 2; do
    until_true 60 test -e "$T/written-$i" || fail "the writer does not write"
    cp "$M/growing" "$T/copy"
    head -c $(((i + 1) * 8))M "$T/data" | cmp - "$T/copy" || fail "cp lost bytes of an open file"
    [ "$(stat -c %b "$M/growing")" -ge $(((i + 1) * 8 * 2048)) ] || fail "st_blocks is behind"
    : >"$T/copied-$i"
done
wait $writer
say "and while it really writes"
dd if="$T/data" of="$M/busy" bs=64k status=none &
writer=$!
for i in 1 2 3; do
    cp "$M/busy" "$T/copy" 2>/dev/null || continue
    head -c "$(stat -c %s "$T/copy")" "$T/data" | cmp - "$T/copy" || fail "copy $i has other bytes"
done
wait $writer
same "$M/busy" "$T/data"
umnt
check_disk
