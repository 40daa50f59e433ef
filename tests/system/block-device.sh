#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A block device as the disk, with sectors of 512 and of 4096 bytes: files, discards, sizes; and it is ours alone.
. "$(dirname "$0")/common.sh"

mkdir -p /var/lib/encsan-target
mount -t tmpfs -o mode=700 tmpfs /var/lib/encsan-target

# It goes when the last one closes it: nothing stays behind, whatever happens.
make_device() {
    device=$(losetup --find --show --sector-size $sector "$FAST/backing")
    exec 9<"$device"
    losetup --detach "$device"
}

for sector in 512 4096; do
    say "sectors of $sector bytes"
    truncate -s 200M "$FAST/backing"
    make_device
    PORT=
    run_target --allow "$PUBLIC" --lun "$device"
    ls /var/lib/encsan-target/*.encsan-state >/dev/null || fail "no state"
    refused 1 "$device: in use" "$ENCSAN_TARGET" --listen 127.0.0.1:0 --name "$IQN" --key "$T/target.key" \
        --lun "$device,access=plain"
    ! mkfs.ext4 -q "$device" 2>"$T/mkfs.err" || fail "another may use it, too"
    mkfs
    make_tree "$T/tree"
    mnt
    cp -a "$T/tree" "$M/tree"
    umnt
    stop_target
    e2fsck -fn "$device" >"$T/e2fsck.log" 2>&1 || fail "e2fsck is not content"
    mkdir -p "$T/loop"
    mount -t ext4 -o ro "$device" "$T/loop"
    compare "$T/tree" "$T/loop/tree"
    refused 1 "$device: in use" "$ENCSAN_TARGET" --listen 127.0.0.1:0 --name "$IQN" --key "$T/target.key" \
        --lun "$device,access=plain"
    umount "$T/loop"

    # over a file system that cannot zero ranges, as tmpfs, a loop device that was told to once does not unmap either
    exec 9<&-
    make_device
    run_target --lun "$device,access=plain"
    iscsi-readcapacity16 "$URL" >"$T/capacity" || fail "iscsi-readcapacity16"
    grep -q "Total size:209715200" "$T/capacity" || fail "not the device's size"
    exponent=$(sed -n 's/.*PHYSICAL BLOCK EXPONENT://p' "$T/capacity")
    [ $((512 << exponent)) = $sector ] || fail "not the device's physical blocks"
    qemu-io -f raw -c 'write -P 0x11 0 32M' -c flush -c 'write -P 0x22 512 512' -c 'discard 4M 16M' \
        -c 'read -P 0 4M 16M' -c 'read -P 0x11 20M 12M' -c 'read -P 0x22 512 512' -c flush "$URL" \
        >"$T/qemu-io.log" 2>&1 || fail "qemu-io"
    ! grep -i 'failed\|error' "$T/qemu-io.log" || fail "qemu-io"
    before=$(stat -c %b "$FAST/backing")
    qemu-io -f raw -c 'discard 0 4M' -c 'discard 20M 12M' -c flush "$URL" >"$T/qemu-io.log" 2>&1 || fail "qemu-io"
    [ $((before - $(stat -c %b "$FAST/backing"))) -ge 24000 ] || fail "the device was not told what is not needed"
    stop_target
    exec 9<&-
    rm -rf "$FAST/backing" "$T/tree"
done
