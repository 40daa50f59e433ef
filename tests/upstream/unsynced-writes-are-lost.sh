#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The upstream target is killed again and again under a load of fsyncs, and its disk loses its cache each time: what
# was fsynced is on the disk, what was not is sent again, and in the end everything is there.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/../system/counter.sh"

truncate -s 300M "$FAST/durable"
lossy_disk "$FAST/durable"
start_tgtd "$LOST/disk"
run_target --allow "$PUBLIC" --lun "$UPSTREAM"
mkfs
mnt_logged
random_file "$T/data" 40
start_counter

has_begun() {
    [ -s "$1" ]
}

for i in 1 2 3; do
    await_count 4
    cp "$T/data" "$M/round-$i" &
    copy=$!
    until_true 60 has_begun "$M/round-$i" || fail "a copy does not begin"
    kill_tgtd
    safe=$(cat "$T/done")
    echo cut >"$LOST/control"
    counted_on "$FAST/durable" "$safe"
    start_tgtd "$LOST/disk"
    wait $copy || fail "a copy failed"
done
await_count 2
stop_counter
dropped=$(cat "$LOST/control")
say "$dropped bytes lost"
[ "$dropped" -gt 0 ] || fail "nothing was lost: this proves nothing"
umnt
wait "$FS_PID" || fail "encsanfs failed"
stop_target
kill_tgtd
echo cut >"$LOST/control"
DISK=$FAST/durable
check_disk
kernel_mount
for i in 1 2 3; do
    same "$T/loop/round-$i" "$T/data"
done
same "$T/loop/counter" "$T/done"
kernel_umount
no_lossy_disk
grep -q 'may have lost what was not yet durable' "$T/target.log" || fail "the target noticed no loss"
grep -q "the target's disk was restarted" "$T/encsanfs.log" || fail "the initiator heard of no loss"
