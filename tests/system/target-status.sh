#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan-target --status, and its metrics, while a mount writes and reads: who holds what, since when, and how much.
. "$(dirname "$0")/common.sh"

# metric NAME: the value in what the port says
metric() {
    python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' "$METRICS" \
        >"$T/metrics"
    sed -n "s/^encsan_target_$1 //p" "$T/metrics"
}

status() {
    "$ENCSAN_TARGET" --config "$T/conf" --status >"$T/status" || fail "--status: exit status $?"
}

cat >"$T/conf" <<END
[target]
listen=127.0.0.1:0
name=$IQN
key=$T/target.key
state-dir=$T/states
metrics=0
[initiator laptop]
key=$PUBLIC
[lun 1]
path=$DISK
size=300M
[lun 2]
path=$FAST/plain
size=16M
access=plain
END
say "nobody to ask"
refused 1 "$T/states/status: No such file or directory; is an encsan-target running" \
    "$ENCSAN_TARGET" --config "$T/conf" --status
refused 2 "goes with" "$ENCSAN_TARGET" --config "$T/conf" --status --check
refused 2 "goes with" "$ENCSAN_TARGET" --status --name "$IQN"
grep -v state-dir "$T/conf" >"$T/without"
refused 1 "$T/without: without state-dir=" "$ENCSAN_TARGET" --config "$T/without" --status
say "a mount, and what it did"
run_config "$T/conf"
URL=$(sed -n '1s/ .*//p' "$T/target.out")
TARGET_KEY=$(sed -n '1s/.*target_key=//p' "$T/target.out")
METRICS=$(sed -n 's,.*metrics at \(http:.*\)$,\1,p' "$T/target.log")
status
grep -q "^encsan-target 0.1, process $TARGET_PID, since 20" "$T/status" || fail "$(cat "$T/status")"
grep -q "^  1  *300.0 MiB  $DISK, free$" "$T/status" || fail "$(cat "$T/status")"
grep -q "^  2  *16.0 MiB  $FAST/plain, plain$" "$T/status" || fail "$(cat "$T/status")"
mkfs
mnt
random_file "$T/data" 24
cp "$T/data" "$M/file"
mnt_anew
same "$T/data" "$M/file"
status
cat "$T/status"
grep -q "^  1 .*, held by laptop at 127.0.0.1:[0-9]* since 20" "$T/status" || fail "$(cat "$T/status")"
grep -q "^  laptop  *LUN 1  *read  *[0-9.]* MiB in [0-9]*, written  *[0-9.]* MiB in [0-9]*, 0 errors, [1-9]" "$T/status" ||
    fail "$(cat "$T/status")"
grep -q "^  iqn[^ ]* at 127.0.0.1:[0-9]*, session [0-9a-f]*/[0-9]*, since 20" "$T/status" || fail "$(cat "$T/status")"
"$ENCSAN_TARGET" --state-dir "$T/states" --status >"$T/again" || fail "by the folder: exit status $?"
grep -q "held by laptop" "$T/again" || fail "$(cat "$T/again")"
for operation in read write; do
    bytes=$(metric "bytes_total{initiator=\"laptop\",lun=\"1\",operation=\"$operation\"}")
    [ "$bytes" -ge $((24 << 20)) ] || fail "$operation: $bytes bytes"
    [ "$bytes" -le $((80 << 20)) ] || fail "$operation: $bytes bytes"
done
[ "$(metric 'errors_total{initiator="laptop",lun="1"}')" = 0 ] || fail "errors: $(cat "$T/metrics")"
[ "$(metric 'lun_holder_sessions{lun="1",initiator="laptop"}')" -ge 1 ] || fail "holder: $(cat "$T/metrics")"
umnt
[ -z "$(metric 'lun_holder_sessions{lun="1",initiator="laptop"}')" ] || fail "it is held"
say "only for the target's user"
[ "$(stat -c %a "$T/states/status")" = 600 ] || fail "$(stat "$T/states/status")"
kill -9 "$TARGET_PID"
wait "$TARGET_PID" || :
refused 1 "$T/states/status: Connection refused" "$ENCSAN_TARGET" --config "$T/conf" --status
run_config "$T/conf"
status
stop_target
[ ! -e "$T/states/status" ] || fail "the socket stays behind"
