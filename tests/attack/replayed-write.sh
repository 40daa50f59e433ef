#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Copies of an old SEALED WRITE are sent again and again: the target executes none of them.
. "$(dirname "$0")/common.sh"

start_target 600M
mnt view=disk
umnt
proxy --replay 1
mnt_logged view=disk
head -c 65536 /dev/zero | tr '\0' A >"$T/a"
head -c 65536 /dev/zero | tr '\0' B >"$T/b"
dd if="$T/a" of="$M/disk" bs=64k seek=10 conv=notrunc,fsync status=none
dd if="$T/b" of="$M/disk" bs=64k seek=10 conv=notrunc,fsync status=none
for i in 1 2 3 4 5; do
    dd if="$T/b" of="$M/disk" bs=64k seek=$((100 + i)) conv=notrunc,fsync status=none
done
grep -q '^replayed' "$T/proxy.log" || fail "nothing was replayed"
grep -q '^replay answered with status 02' "$T/proxy.log" || fail "not refused: $(cat "$T/proxy.log")"
! grep -q '^replay answered with status 00' "$T/proxy.log" || fail "a copy was taken: $(cat "$T/proxy.log")"
say "$(grep -c '^replay answered' "$T/proxy.log") copies refused"
drop_caches
dd if="$M/disk" bs=64k skip=10 count=1 status=none | cmp - "$T/b" || fail "the old bytes are back"
dd if="$DISK" bs=64k skip=10 count=1 status=none | cmp - "$T/b" || fail "the old bytes are back on the far disk"
umnt
without_proxy
