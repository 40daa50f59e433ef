#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# libiscsi's suites of the commands that reach the disk, with tgtd's behind: none fails; skipped is what needs larger physical blocks.
. "$(dirname "$0")/common.sh"

truncate -s 64M "$FAST/up"
start_tgtd "$FAST/up"
# its physical blocks are its logical ones: GetLBAStatus fails for any other
tgt --mode logicalunit --op update --tid 1 --lun 1 --params lbppbe=0 || fail "tgtadm: no physical blocks of 512 bytes"
run_target --lun "$UPSTREAM,access=plain"
# MultipathIO comes first: it counts on a block that it does not write being zeros
for name in MultipathIO CompareAndWrite GetLBAStatus Inquiry OrWrite Read16 ReadCapacity16 TestUnitReady Unmap \
    Verify16 Write16 WriteSame16; do
    second=
    [ $name != MultipathIO ] || second=$URL
    # shellcheck disable=SC2086
    timeout 200 iscsi-test-cu --normal --dataloss --fail --test="ALL.$name" "$URL" $second >"$T/out" 2>&1 ||
        { cat "$T/out" >&2; fail "$name"; }
    # the summary: tests TOTAL RAN PASSED FAILED INACTIVE
    # shellcheck disable=SC2046
    set -- $(grep '^ *tests ' "$T/out") none
    [ "$1 $3 $4 $5" = "tests $2 $2 0" ] || { cat "$T/out" >&2; fail "$name"; }
    ! grep SKIPPED "$T/out" | grep -v "LBPPB < 2" || fail "$name skips something"
done
stop_target
kill_tgtd
