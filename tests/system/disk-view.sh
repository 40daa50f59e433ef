#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# view=disk: the LUN as one file, for mke2fs, e2fsck, dumpe2fs, dd, qemu-img, qemu-io.
. "$(dirname "$0")/common.sh"

start_target 700M
mnt view=disk
disk=$M/disk
[ "$(ls "$M")" = disk ] || fail "not one file: $(ls "$M")"
[ "$(stat -c %s "$disk")" = 734003200 ] || fail "its size is $(stat -c %s "$disk")"
say "qemu-img, qemu-io"
qemu-img info -f raw "$disk" | grep -q '734003200 bytes' || fail "qemu-img info"
qemu-io -f raw -c 'write -P 0x5a 1M 3M' -c 'write -P 0xa5 1027k 1k' -c 'flush' -c 'read -P 0x5a 1M 3k' \
    -c 'read -P 0xa5 1027k 1k' -c 'discard 2M 64k' -c 'write -z 3M 64k' -c 'read -P 0 3M 64k' \
    -c 'read -P 0x5a 3200k 100k' "$disk" >"$T/qemu-io.log" 2>&1 || fail "qemu-io"
! grep -i 'failed\|error' "$T/qemu-io.log" || fail "qemu-io"
say "dd and the far disk"
random_file "$T/data" 32
dd if="$T/data" of="$disk" bs=1M seek=100 conv=notrunc,fsync status=none
dd if="$DISK" bs=1M skip=100 count=32 status=none | cmp - "$T/data" || fail "after fsync it is not on the far disk"
drop_caches
dd if="$disk" bs=1M skip=100 count=32 status=none | cmp - "$T/data" || fail "read back"
printf odd | dd of="$disk" bs=1 seek=104857601 conv=notrunc status=none
printf odd | dd of="$T/data" bs=1 seek=1 conv=notrunc status=none
say "punch-hole and zero-range"
used=$(stat -c %b "$DISK")
fallocate -p -o 110000000 -l 5000000 "$disk"
fallocate -p -o 110000000 -l 5000000 -n "$T/data" 2>/dev/null || :
{
    dd if="$T/data" bs=1 count=0 status=none
    head -c 5142400 "$T/data"
    head -c 5000000 /dev/zero
    tail -c +10142401 "$T/data"
} >"$T/punched"
dd if="$disk" bs=1M skip=100 count=32 status=none | cmp - "$T/punched" || fail "after punch-hole"
fallocate -z -o 120000000 -l 70001 "$disk"
dd if=/dev/zero of="$T/punched" bs=1 seek=15142400 count=70001 conv=notrunc status=none
sync "$disk"
dd if="$DISK" bs=1M skip=100 count=32 status=none | cmp - "$T/punched" || fail "the far disk after zero-range"
[ "$(stat -c %b "$DISK")" -lt "$used" ] || fail "punch-hole gave nothing back"
! printf x | dd of="$disk" bs=1 seek=734003200 conv=notrunc status=none 2>/dev/null || fail "written behind the end"
[ -z "$(tail -c +734003201 "$disk")" ] || fail "there is something behind the end"
say "mke2fs, e2fsck, dumpe2fs"
mke2fs -q -F -t ext4 -b 4096 -L label "$disk"
e2fsck -fn "$disk" >"$T/e2fsck.log" 2>&1 || fail "e2fsck -fn on the disk view"
dumpe2fs -h "$disk" 2>/dev/null | grep -q 'volume name: *label' || fail "dumpe2fs"
e2fsck -fy "$disk" >"$T/e2fsck.log" 2>&1 || fail "e2fsck -fy on the disk view"
umnt
check_disk
say "and as files"
mnt
echo hello >"$M/file"
umnt
check_disk
