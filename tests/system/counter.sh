# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
#
# A writer that fsyncs a counter in the mount, and records each outside once its fsync has returned.

count() { # what is outside is never ahead of what was fsynced
    i=0
    while [ ! -e "$T/enough" ]; do
        i=$((i + 1))
        printf '%d\n' $i | dd of="$M/counter" conv=fsync,notrunc status=none || exit 1
        echo $i >"$T/done.new"
        mv "$T/done.new" "$T/done"
    done
}

start_counter() {
    echo 0 >"$T/done"
    echo 0 >"$M/counter"
    sync "$M/counter"
    count &
    COUNTER=$!
    HELPERS="$HELPERS $COUNTER"
}

has_counted() { # beyond $1
    [ "$(cat "$T/done")" -gt "$1" ] || ! kill -0 $COUNTER 2>/dev/null
}

# await_count NUMBER: so many more
await_count() {
    until_true 60 has_counted "$(($(cat "$T/done") + $1 - 1))" || fail "no fsync returns any more"
    kill -0 $COUNTER 2>/dev/null || fail "an fsync failed"
}

stop_counter() {
    : >"$T/enough"
    wait $COUNTER || fail "the writer failed"
    say "$(cat "$T/done") fsyncs"
    same "$M/counter" "$T/done"
}

# counted_on DISK NUMBER: at least that is there, with nobody's help but e2fsck's. (debugfs reads the
# journal's blocks where they are home only.)
counted_on() {
    cp --sparse=always "$1" "$FAST/copy"
    e2fsck -fy "$FAST/copy" >"$T/e2fsck.log" 2>&1 || [ $? -le 1 ] || fail "e2fsck cannot repair the disk"
    there=$(debugfs -R 'cat /counter' "$FAST/copy" 2>/dev/null)
    [ "${there:-0}" -ge "$2" ] || fail "fsynced was $2, on the disk is ${there:-nothing}"
}
