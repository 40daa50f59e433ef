#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A sealed LUN gives and takes nothing in the clear: stock initiators are refused, and nothing changes.
. "$(dirname "$0")/common.sh"

start_target 300M
mkfs
mnt
echo secret >"$M/file"
umnt
gone encsanfs
before=$(sum "$DISK")
for try in 'read 0 4k' 'read 1M 128k' 'write 0 4k' 'write -z 0 64k'; do
    if timeout 60 qemu-io -f raw -c "$try" "$URL" >"$T/qemu-io.log" 2>&1; then
        fail "qemu-io $try worked"
    fi
    grep -qi 'denied\|permission\|failed\|error\|protect' "$T/qemu-io.log" || fail "$(cat "$T/qemu-io.log")"
done
! timeout 60 qemu-img convert -f raw -O raw "$URL" "$T/stolen" 2>"$T/convert.err" || fail "qemu-img copied it"
[ "$(sum "$DISK")" = "$before" ] || fail "the far disk has changed"
kill -0 "$TARGET_PID" || fail "the target is gone"
mnt
[ "$(cat "$M/file")" = secret ] || fail "the file"
umnt
check_disk
