#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A disk of tgtd's behind ours, with blocks of 512 and of 4096 bytes, sealed and plain: files, images, zeros and holes.
. "$(dirname "$0")/common.sh"

for block in 512 4096; do
    say "blocks of $block bytes"
    truncate -s 200M "$FAST/up"
    start_tgtd "$FAST/up" $block
    PORT=
    run_target --allow "$PUBLIC" --lun "$UPSTREAM"
    mkfs
    mnt
    make_tree "$T/tree"
    cp -a "$T/tree" "$M/tree"
    umnt
    stop_target
    e2fsck -fn "$FAST/up" >"$T/e2fsck.log" 2>&1 || fail "e2fsck is not content with tgtd's disk"
    DISK=$FAST/up
    kernel_mount
    compare "$T/tree" "$T/loop/tree"
    kernel_umount

    PORT=
    run_target --lun "$UPSTREAM,access=plain"
    iscsi-readcapacity16 "$URL" | grep -q "BLOCK LENGTH IN BYTES:$block" || fail "not tgtd's blocks"
    iscsi-readcapacity16 "$URL" | grep -q "Total size:209715200" || fail "not tgtd's size"
    random_file "$T/data" 64
    qemu-img convert -n -f raw -O raw "$T/data" "$URL"
    cmp -n 67108864 "$FAST/up" "$T/data" || fail "tgtd has other bytes"
    if [ $block = 512 ]; then # else qemu-io 7.2 meets an assertion of its own
        qemu-io -f raw -c 'write -P 0x11 0 16M' -c 'write -z -u 4M 8M' -c 'read -P 0x11 0 4M' -c 'read -P 0 4M 8M' \
            -c 'read -P 0x11 12M 4M' -c flush "$URL" >"$T/qemu-io.log" 2>&1 || fail "qemu-io"
        ! grep -i 'failed\|error' "$T/qemu-io.log" || fail "qemu-io"
        before=$(stat -c %b "$FAST/up")
        qemu-io -f raw -c 'discard 16M 32M' "$URL" >"$T/qemu-io.log" 2>&1 || fail "qemu-io: discard"
        [ $((before - $(stat -c %b "$FAST/up"))) -ge 60000 ] || fail "tgtd was not told what is not needed any more"
    fi
    stop_target
    kill_tgtd
    rm -rf "$FAST/up" "$T/tree" "$T/data"
done

say "not thin: zeros are written"
truncate -s 64M "$FAST/up"
start_tgtd "$FAST/up" 512 thick
PORT=
run_target --lun "$UPSTREAM,access=plain"
qemu-io -f raw -c 'write -P 0x11 0 16M' -c 'write -z 4M 8M' -c 'discard 12M 2M' -c 'read -P 0 4M 10M' \
    -c 'read -P 0x11 14M 2M' -c flush "$URL" >"$T/qemu-io.log" 2>&1 || fail "qemu-io"
! grep -i 'failed\|error' "$T/qemu-io.log" || fail "qemu-io"
stop_target
kill_tgtd
