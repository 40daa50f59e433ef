#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every test of libiscsi's suite on a plain LUN: none fails, and nothing is skipped but what
# iscsi-test-cu.skips says.
#
# Most suites have a disk whose physical blocks are its logical ones: GetLBAStatus fails for any other.
# Some have a device with physical blocks of 4096 bytes: they skip a part of theirs for any other.
#
# One process for each suite: the one of CompareAndWrite leaves a hook behind that spoils what its
# process sends afterwards. Suites that mostly sleep have a disk for themselves, and the one that
# resets the target a target for itself, so that they can run beside the others.
skips=$(cd "$(dirname "$0")" && pwd)/iscsi-test-cu.skips
. "$(dirname "$0")/common.sh"

iscsi-test-cu --list >"$T/list"
suites=$(sed -n 's/^ALL\.\([^.]*\)$/\1/p' "$T/list")

# suite NAME URL: leaves NAME.out and, if all went well, NAME.ok
suite() {
    second=
    [ "$1" != MultipathIO ] || second=$2
    # shellcheck disable=SC2086
    if timeout 200 iscsi-test-cu --normal --dataloss --fail --test="ALL.$1" "$2" $second >"$T/$1.out" 2>&1; then
        touch "$T/$1.ok"
    fi
}

# The same for a suite that gives an answer three seconds, which a busy machine may miss.
with_patience() {
    for _ in 1 2 3; do
        suite "$1" "$2"
        [ ! -e "$T/$1.ok" ] || return 0
    done
}

truncate -s 64M "$FAST/large-sectors"
large_sectors=$(losetup --find --show --sector-size 4096 "$FAST/large-sectors")
run_target --lun "$FAST/1,size=64M,access=plain" --lun "$FAST/2,size=64M,access=plain" \
    --lun "$FAST/3,size=64M,access=plain" --lun "$large_sectors,access=plain"
losetup --detach "$large_sectors" # once the target has closed it
HELPERS="$HELPERS $TARGET_PID"
url=$URL
PORT=
run_target --lun "$FAST/4,size=64M,access=plain"
suite Reserve6 "$URL" &
alone=$!
with_patience iSCSIcmdsn "${url%1}2" &
alone="$alone $!"
suite iSCSIdatasn "${url%1}3" &
alone="$alone $!"
for name in $suites; do
    case $name in
    Reserve6 | iSCSIcmdsn | iSCSIdatasn) ;;
    CompareAndWrite | WriteSame1?) suite "$name" "${url%1}4" ;;
    *) suite "$name" "$url" ;;
    esac
done
# shellcheck disable=SC2086
wait $alone

ran=0
for name in $suites; do
    # the summary: tests TOTAL RAN PASSED FAILED INACTIVE
    # shellcheck disable=SC2046
    set -- $(grep '^ *tests ' "$T/$name.out") none
    if [ ! -e "$T/$name.ok" ] || [ "$1 $3 $4 $5" != "tests $2 $2 0" ]; then
        cat "$T/$name.out" >&2
        fail "$name"
    fi
    ran=$((ran + $3))
done
listed=$(grep -c '^ALL\.[^.]*\.' "$T/list")
[ $ran -eq "$listed" ] || fail "$ran tests have run, of $listed"

for name in $suites; do
    sed -n "s/^.*\[SKIPPED\]/$name:/p" "$T/$name.out"
done | sort | uniq -c | sed 's/^ *//' >"$T/skipped"
grep -v '^#' "$skips" | diff -u - "$T/skipped" || fail "not what was to be skipped"
say "$ran tests, none failed"
