#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The upstream target is killed again and again under a load of fsyncs, and its disk loses its cache each time: what
# was fsynced is on the disk, what was not is sent again, and in the end everything is there.
. "$(dirname "$0")/common.sh"

truncate -s 300M "$FAST/durable"
lossy_disk "$FAST/durable"
start_tgtd "$LOST/disk"
run_target --allow "$PUBLIC" --lun "$UPSTREAM"
mkfs
mnt_logged
random_file "$T/data" 40
echo 0 >"$T/done"
echo 0 >"$M/counter"
sync "$M/counter"

# the counter outside is never ahead of what was fsynced
count() {
    i=0
    while [ ! -e "$T/enough" ]; do
        i=$((i + 1))
        printf '%d\n' $i | dd of="$M/counter" conv=fsync,notrunc status=none || exit 1
        echo $i >"$T/done.new"
        mv "$T/done.new" "$T/done"
    done
}
count &
COUNTER=$!
HELPERS="$HELPERS $COUNTER"

has_counted() { # beyond $1
    [ "$(cat "$T/done")" -gt "$1" ] || ! kill -0 $COUNTER 2>/dev/null
}

has_begun() {
    [ -s "$1" ]
}

for i in 1 2 3; do
    until_true 60 has_counted "$(($(cat "$T/done") + 3))" || fail "no fsync returns any more"
    kill -0 $COUNTER 2>/dev/null || fail "an fsync failed"
    cp "$T/data" "$M/round-$i" &
    copy=$!
    until_true 60 has_begun "$M/round-$i" || fail "a copy does not begin"
    kill_tgtd
    safe=$(cat "$T/done")
    echo cut >"$LOST/control"
    cp --sparse=always "$FAST/durable" "$FAST/image"
    e2fsck -fy "$FAST/image" >"$T/e2fsck.log" 2>&1 || [ $? -le 1 ] || fail "e2fsck cannot repair the disk"
    there=$(debugfs -R 'cat /counter' "$FAST/image" 2>/dev/null)
    [ "${there:-0}" -ge "$safe" ] || fail "fsynced was $safe, on the disk is ${there:-nothing}"
    start_tgtd "$LOST/disk"
    wait $copy || fail "a copy failed"
done
until_true 60 has_counted "$(($(cat "$T/done") + 1))" || fail "it does not go on after the last cut"
: >"$T/enough"
wait $COUNTER || fail "the writer failed"
dropped=$(cat "$LOST/control")
say "$(cat "$T/done") fsyncs, $dropped bytes lost"
[ "$dropped" -gt 0 ] || fail "nothing was lost: this proves nothing"
same "$M/counter" "$T/done"
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
