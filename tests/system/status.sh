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
[ "$(value retries)" = 0 ] || fail "retries: $(value retries)"
say "after an idle moment everything is confirmed"
confirmed() {
    [ "$(value staged_bytes)" = 0 ] && [ "$(value retained_bytes)" = 0 ]
}
sync "$M/file"
until_true 10 confirmed || fail "still: $(cat "$T/json")"
say "for people"
"$ENCSAN" status "$M" >"$T/text"
grep -q '^written  *[0-9.]* MiB$' "$T/text" || fail "no line for what was written: $(cat "$T/text")"
umnt
say "what is not there"
refused 1 'mounted' "$ENCSAN" status "$M"
refused 2 'usage' "$ENCSAN" status
