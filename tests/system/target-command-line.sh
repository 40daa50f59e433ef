#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan-target: its file is made sparse and kept, its data lasts, it ends on SIGTERM and with its standard input; state files.
. "$(dirname "$0")/common.sh"

start_target 5G
grep -qx "iscsi://127.0.0.1:[0-9]*/$IQN/1 target_key=$(cat "$T/target.pub")" "$T/target.out" ||
    fail "its line: $(cat "$T/target.out")"
[ "$(stat -c %s "$DISK")" = 5368709120 ] || fail "the size of its file"
[ "$(stat -c %b "$DISK")" -lt 2000 ] || fail "its file is not sparse"
mkfs
mnt
echo kept >"$M/file"
umnt
say "it ends on SIGTERM, and takes its file up again with or without the size"
kill "$TARGET_PID"
status=0
wait "$TARGET_PID" || status=$?
[ $status -eq 0 ] || fail "exit status $status on SIGTERM"
gone encsan-target
run_target --allow "$PUBLIC" --lun "$DISK"
mnt
[ "$(cat "$M/file")" = kept ] || fail "the file"
umnt
stop_target
say "--exit-with-stdin"
mkfifo "$T/stdin"
"$ENCSAN_TARGET" --listen 127.0.0.1:0 --name "$IQN" --key "$T/target.key" --allow "$PUBLIC" \
    --lun "$DISK" --exit-with-stdin <"$T/stdin" >"$T/out" &
exec 3>"$T/stdin"
until_true 30 grep -q iscsi: "$T/out" || fail "it says nothing"
sleep 0.3
kill -0 $! || fail "it ended too early"
exec 3>&-
wait $! || fail "exit status $?"
gone encsan-target
say "--state-dir"
run_target --allow "$PUBLIC" --lun "$DISK" --state-dir "$T/states"
[ "$(ls -I status "$T/states")" = "$(echo "$DISK" | sed 's,/,%2F,g').encsan-state" ] || fail "$(ls "$T/states")"
stop_target
say "what it cannot serve"
start="--listen 127.0.0.1:0 --name $IQN --allow $PUBLIC"
# shellcheck disable=SC2086
refused 1 "$T/no.key" "$ENCSAN_TARGET" $start --key "$T/no.key" --lun "$DISK"
# shellcheck disable=SC2086
refused 1 "$T/nothing" "$ENCSAN_TARGET" $start --key "$T/target.key" --lun "$T/nothing"
cp "$DISK.encsan-state" "$T/state"
printf x | dd of="$DISK.encsan-state" bs=1 seek=100 conv=notrunc status=none
# shellcheck disable=SC2086
refused 1 "$DISK.encsan-state.*damaged" "$ENCSAN_TARGET" $start --key "$T/target.key" --lun "$DISK"
cp "$T/state" "$DISK.encsan-state"
# shellcheck disable=SC2086
refused 2 "lease-timeout" "$ENCSAN_TARGET" $start --key "$T/target.key" --lun "$DISK" --lease-timeout -1
start_target 5G
refused 1 "127.0.0.1:$PORT" "$ENCSAN_TARGET" --listen "127.0.0.1:$PORT" --name "$IQN" --key "$T/target.key" \
    --allow "$PUBLIC" --lun "$FAST/other,size=1G"
