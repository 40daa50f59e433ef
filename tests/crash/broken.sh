#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The crash tester finds it, if encsanfs leaves out what its first argument names: revoke, pin, barrier or ordered.
. "$(dirname "$0")/common.sh"

case $1 in
revoke) mix=folders ;;
pin) mix=files ;; # metadata that moves into blocks not yet free would be missed by encsanfs itself
*) mix=all ;;
esac
ENCSAN_TEST_BREAK=$1
export ENCSAN_TEST_BREAK

# One run nearly always does.
for seed in 1 2 3 4 5; do
    record $seed --mix $mix
    status=0
    "$CHECK" --seed $seed --points 300 --wrong 1 "$RUN" || status=$?
    [ $status -le 1 ] || fail "the checker itself"
    [ $status -eq 0 ] || exit 0
done
fail "without $1 nothing is wrong: the crash tester is blind"
