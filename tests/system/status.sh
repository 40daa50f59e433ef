#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# encsan status tells what a mount has done, for people and as JSON that parses.
. "$(dirname "$0")/common.sh"

value() { # NAME: of the mount's JSON
    "$ENCSAN" status "$M" --json >"$T/json" || fail "encsan status --json"
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$T/json" "$1"
}

start_target
mkfs
mnt
before=$(value written_bytes)
random_file "$T/data" 8
cp "$T/data" "$M/file"
sync "$M/file"
[ "$(value mountpoint)" = "$M" ] || fail "mountpoint: $(value mountpoint)"
[ "$(value suite)" = aes-256-gcm ] || [ "$(value suite)" = chacha20-poly1305 ] || fail "suite: $(value suite)"
[ $(($(value written_bytes) - before)) -ge 8388608 ] || fail "written: $(value written_bytes)"
[ "$(value durable_ordinal)" -gt 0 ] || fail "durable ordinal: $(value durable_ordinal)"
[ "$(value sealing_ns)" -gt 0 ] || fail "nothing was sealed"
[ "$(value best_depth_segments)" -gt 0 ] || fail "no depth was found"
[ "$(value write_rate_bytes)" -gt 1000000 ] || fail "the rate: $(value write_rate_bytes)"
[ "$(value round_trip_us)" -lt 1000000 ] || fail "the round trip: $(value round_trip_us)"
[ "$(value retries)" = 0 ] || fail "retries: $(value retries)"
say "after an idle moment everything is confirmed"
confirmed() {
    [ "$(value staged_bytes)" = 0 ] && [ "$(value retained_bytes)" = 0 ]
}
sync "$M/file"
until_true 30 confirmed || fail "still: $(cat "$T/json")"
say "for people"
"$ENCSAN" status "$M" >"$T/text"
grep -q '^written  *[0-9.]* MiB$' "$T/text" || fail "no line for what was written: $(cat "$T/text")"
umnt
say "sessions that are wanted come up, and are all used"
mnt sessions=5
sessions_up() {
    [ "$(value sessions)" = 5 ] && [ "$(value sessions_wanted)" = 5 ]
}
until_true 30 sessions_up || fail "sessions: $(cat "$T/json")"
several_carried() { # where each segment is answered before the next is sealed, one session is enough
    cp "$T/data" "$M/again"
    sync "$M/again"
    [ "$(ss -tinH "dst 127.0.0.1:$PORT" | grep -o 'bytes_sent:[0-9]*' | awk -F: '$2 > 100000' | wc -l)" -ge 2 ]
}
until_true 2 several_carried || fail "the data took one session: $(ss -tinH "dst 127.0.0.1:$PORT")"
umnt
mnt sessions=1
cmp "$T/data" "$M/again" || fail "what was written over several sessions"
[ "$(value sessions)" = 1 ] || fail "sessions: $(value sessions)"
umnt
refused 2 'sessions=17' "$ENCSANFS" "$URL" "$M" -o "key=$KEY,sessions=17"
refused 1 'prefetch=150: at most 135' "$ENCSANFS" "$URL" "$M" -o "key=$KEY,target_key=$TARGET_KEY,prefetch=150"
say "what is not there"
refused 1 'mounted' "$ENCSAN" status "$M"
refused 2 'usage' "$ENCSAN" status
