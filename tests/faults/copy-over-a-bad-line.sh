#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Copies of a tree while the line has a fault every 0.2 to 2 s: no error, bit-exact, a clean file system, and each
# within the time of one without faults, the outages, and what recovery may take after each fault. COPIES and FILES
# make it larger; SLACK is how many times as long it may take, for what else a machine does.
. "$(dirname "$0")/common.sh"

OUTAGE_MAX_MS=2000 # proxy.c: a slow line lasts until the next fault
RECOVERY_MS=500    # and seven round trips, which are nothing here

start_target 8G
mkfs -N 300000
bad_line
mnt_logged cache=16M
mkdir "$T/tree"
for i in $(seq "$((${FILES:-600} / 100))"); do
    mkdir "$T/tree/$i"
    size=$((500 + i * 7919 % 60000)) # another one in each folder
    openssl enc -aes-128-ctr -nosalt -pbkdf2 -pass "pass:$i" -in /dev/zero 2>/dev/null | head -c $((size * 99)) |
        (cd "$T/tree/$i" && split -a 3 -b $size - f && : >empty)
done

# copy NAME: COPY_MS is how long it takes until all of it is on the far disk
copy() {
    begin_ms=$(now_ms)
    cp -a "$T/tree" "$M/$1"
    sync "$M/$1"
    COPY_MS=$(($(now_ms) - begin_ms))
}

copy good
rm -r "$M/good"
sync "$M"
good_ms=$COPY_MS
say "without a fault $good_ms ms"
seed=${SEED:-$(date +%N | sed 's/^0*//')}
say "seed $seed"
tell "random $seed"
for copy in $(seq "${COPIES:-2}"); do
    ask_line
    faults=$FAULTS
    outages_ms=$OUTAGES_MS
    copy "$copy"
    ask_line
    faults=$((FAULTS - faults))
    faults=$((faults + 1)) # the last one before the copy may have begun just then
    allowed_ms=$((good_ms + OUTAGE_MAX_MS + OUTAGES_MS - outages_ms + faults * RECOVERY_MS))
    say "copy $copy: $COPY_MS ms, $faults faults, allowed $allowed_ms ms; $("$ENCSAN" status "$M" | grep '^retries')"
    [ "$COPY_MS" -le $((allowed_ms * ${SLACK:-20})) ] || fail "copy $copy took too long"
    drop_caches
    compare "$T/tree" "$M/$copy"
done
tell quiet
umnt
gone encsanfs
no_line
say "$(tail -n 1 "$T/line.out")"
check_disk
mnt
for copy in $(seq "${COPIES:-2}"); do
    compare "$T/tree" "$M/$copy"
done
umnt
check_disk
