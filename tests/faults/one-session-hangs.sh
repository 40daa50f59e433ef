#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Of one session nothing comes back any more, though TCP acknowledges: it is given up, and what it had is done by
# the others, which go on all the time.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
bad_line
mnt_logged sessions=3,cache=16M
random_file "$T/data" 16
all_sessions() {
    status_says '^sessions  *3$'
}
until_true 60 all_sessions || fail "not all sessions come up"

work() {
    while [ ! -e "$T/enough" ]; do
        cp "$T/data" "$M/data" && sync "$M/data" && cmp "$T/data" "$M/data" || exit 1
        echo >>"$T/rounds"
    done
}
work >"$T/work.log" 2>&1 &
WORKER=$!
HELPERS="$HELPERS $WORKER"

rounds() {
    wc -l <"$T/rounds"
}
has_worked() { # beyond $1
    [ "$(rounds)" -gt "$1" ] || ! kill -0 $WORKER 2>/dev/null
}
: >"$T/rounds"
until_true 60 has_worked "$(rounds)" || fail "nothing is done"
tell silence down 3600000 1
given_up() {
    grep -q 'lost (the target does not answer, though its machine does), the others go on' "$T/encsanfs.log"
}
until_true 120 given_up || fail "nobody notices it: $(cat "$T/encsanfs.log")"
until_true 60 has_worked "$(($(rounds) + 1))" || fail "the others do not go on"
until_true 60 all_sessions || fail "it does not come back"
: >"$T/enough"
wait $WORKER || fail "it failed: $(cat "$T/work.log")"
! grep 'connection to the target is lost' "$T/encsanfs.log" || fail "the others were lost, too"
umnt
wait "$FS_PID" || fail "encsanfs failed"
no_line
check_disk
