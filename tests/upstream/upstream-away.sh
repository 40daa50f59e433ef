#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# While the upstream target is away, commands wait, and go on when it is back, with a unit attention; after a while
# they are told NOT READY; other disks of the target are served; and SIGTERM ends it.
. "$(dirname "$0")/common.sh"

truncate -s 64M "$FAST/up"
start_tgtd "$FAST/up"
run_target --lun "$UPSTREAM,access=plain" --lun "$DISK,size=64M,access=plain"
HELPERS="$HELPERS $TARGET_PID"

io() { # URL command
    qemu-io -f raw -t none -c "$2" "$1" >>"$T/qemu-io.log" 2>&1
}

# writes, and when told flushes and reads it again
mkfifo "$T/commands"
qemu-io -f raw -t none "$URL" <"$T/commands" >"$T/long.log" 2>&1 &
long=$!
exec 8>"$T/commands"
echo 'write -P 0x22 0 1M' >&8
wrote() {
    grep -q 'wrote 1048576' "$T/long.log"
}
until_true 60 wrote || fail "it does not write"
say "killed with an unsynced write, and back"
kill_tgtd
echo 'read 1M 1M' >&8
until_true 60 target_says 1 "the connection is lost" || fail "the log does not say so"
for _ in 1 2 3 4 5; do
    io "${URL%1}2" 'write -P 0x33 0 1M' || fail "another disk is not served meanwhile"
done
start_tgtd "$FAST/up"
until_true 60 target_says 1 "is there again" || fail "it does not come back"
echo flush >&8
echo 'read -P 0x22 0 1M' >&8
exec 8>&-
wait $long || :
grep -q 'Input/output error' "$T/long.log" || fail "the flush says that what may be lost is written: $(cat "$T/long.log")"
io "$URL" 'write -P 0x44 0 1M' || fail "it does not go on"
io "$URL" flush || fail "it does not go on with flushes"

say "killed, and not back in time"
kill_tgtd
until_true 60 target_says 2 "the connection is lost" || fail "the log does not say so"
python3 - "$PORT" "$IQN" "$(dirname "$0")" <<'EOF' || fail "not told NOT READY"
import sys
sys.path.insert(0, sys.argv[3] + "/../target")
from initiator import Initiator
EOF
