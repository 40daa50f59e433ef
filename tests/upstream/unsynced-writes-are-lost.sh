#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The upstream target is killed under a load of fsyncs, then its disk reset by another initiator while the sessions
# stay, then it cannot be flushed, and the disk loses its cache each time: what was fsynced is on it, what was not is
# sent again, and in the end everything is there.
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

requests() { # that the disk has had
    grep '^syscr' "/proc/$LOSSY_PID/io"
}

is_idle() {
    requests >"$T/before"
    sleep 2
    requests | cmp -s - "$T/before"
}

# Nothing of ours is on its way, nor will be before it has the news of the reset.
hold() {
    kill -STOP "$TARGET_PID"
    until_true 60 is_idle || fail "tgtd goes on"
}

let_go() {
    python3 "$(dirname "$0")/reset.py" "$UP_IQN" 3260 || fail "no reset"
    kill -CONT "$TARGET_PID"
}

for loss in restart reset flush; do
    await_count 4
    cp "$T/data" "$M/round-$loss" &
    copy=$!
    until_true 60 has_begun "$M/round-$loss" || fail "a copy does not begin"
    what=cut
    case $loss in
    restart) kill_tgtd ;;
    reset) hold ;;
    flush) what=fail ;;
    esac
    safe=$(cat "$T/done")
    echo $what >"$LOST/control"
    counted_on "$FAST/durable" "$safe"
    case $loss in
    restart) start_tgtd "$LOST/disk" ;;
    reset) let_go ;;
    esac
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
for loss in restart reset flush; do
    same "$T/loop/round-$loss" "$T/data"
done
same "$T/loop/counter" "$T/done"
kernel_umount
no_lossy_disk
# a session that was silent for long asks first, and hears of it like that
target_says 1 'was reset (29h/\|is lost: unit attention' || fail "the target noticed no reset"
target_says 1 'a flush failed: Input/output error' || fail "the target noticed no flush that failed"
target_says 2 'may have lost what was not yet durable' || fail "the target noticed no loss"
grep -q "the target's disk was restarted" "$T/encsanfs.log" || fail "the initiator heard of no loss"
