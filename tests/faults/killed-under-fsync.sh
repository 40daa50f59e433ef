#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The target is killed again and again under a load of fsyncs: what was fsynced is on its disk, each time.
# KILLS makes it more.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
mnt_logged
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

for i in $(seq "${KILLS:-5}"); do
    until_true 60 has_counted "$(($(cat "$T/done") + 3))" || fail "no fsync returns any more"
    kill -0 $COUNTER 2>/dev/null || fail "an fsync failed"
    kill_target
    safe=$(cat "$T/done")
    # as the far disk has it, with nobody's help: debugfs reads the journal's blocks where they are home only
    cp --sparse=always "$DISK" "$FAST/copy"
    e2fsck -fy "$FAST/copy" >"$T/e2fsck.log" 2>&1 || [ $? -le 1 ] || fail "e2fsck cannot repair the disk"
    there=$(debugfs -R 'cat /counter' "$FAST/copy" 2>/dev/null)
    [ "${there:-0}" -ge "$safe" ] || fail "fsynced was $safe, on the disk is ${there:-nothing}"
    start_target 600M
done
until_true 60 has_counted "$(cat "$T/done")" || fail "it does not go on after the last kill"
: >"$T/enough"
wait $COUNTER || fail "the writer failed"
say "$(cat "$T/done") fsyncs"
same "$M/counter" "$T/done"
umnt
check_disk
