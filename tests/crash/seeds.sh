#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Many crash points, with one seed after the other: bench.sh, from which RESULTS is.
. "$(dirname "$0")/common.sh"

points=${1:-10000}
seed=${2:-1}
left=$points
wrong=
began=$(date +%s)
while [ "$left" -gt 0 ]; do
    now=$((left < 500 ? left : 500))
    if [ $((seed % 4)) -ne 0 ]; then
        record "$seed"
        below=
    else
        record_after_crash "$seed"
        below=again
    fi
    if ! "$CHECK" --seed "$seed" --points $now --wrong 5 ${below:+--below $below} "$RUN"; then
        wrong="$wrong $seed"
        rm -rf "$RESULTS/crash-$seed"
        cp -a "$RUN" "$RESULTS/crash-$seed"
    fi
    left=$((left - now))
    seed=$((seed + 1))
done
say "$points crash points in $(($(date +%s) - began)) s, with the runs"
[ -z "$wrong" ] || fail "wrong with seed$wrong: kept in $RESULTS"
