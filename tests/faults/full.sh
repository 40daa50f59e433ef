#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The tests with faults at their full size:
#
# ./run bench faults              twenty minutes
# ./run bench soak [MINUTES]      all kinds of work at once, for 30 minutes
set -eu
cd "$(dirname "$0")/../.."
build=$PWD/build
export ENCSANFS="$build/fuse/encsanfs" ENCSAN="$build/tools/encsan" ENCSAN_TARGET="$build/target/encsan-target"
export ENCSAN_PROXY="$build/tests/faults/proxy"
failed=0

if [ "$1" = soak ]; then
    MINUTES=${2:-30}
    if ! [ "$MINUTES" -gt 0 ] 2>/dev/null; then
        echo "soak $MINUTES: how many minutes?" >&2
        exit 2
    fi
    export MINUTES
    exec sh tests/faults/soak.sh
fi

timed() { # NAME command…
    name=$1
    shift
    start=$(date +%s)
    if "$@"; then
        echo "==== $name: good, after $(($(date +%s) - start)) s"
    else
        echo "==== $name: FAILED, after $(($(date +%s) - start)) s"
        failed=1
    fi
}

timed "a million random writes, 200 kills of the target" "$build/tests/faults/random-writes" 1000000 200
timed "ten copies of 20,000 files over a bad line" env COPIES=10 FILES=20000 SLACK=1 sh tests/faults/copy-over-a-bad-line.sh
timed "an outage of 5 minutes" env SECONDS_AWAY=300 WITHIN=2 sh tests/faults/network-away.sh
timed "100 kills of the target under fsync" env KILLS=100 sh tests/faults/killed-under-fsync.sh
for delay in 8 64; do
    echo "---- $delay ms, 1 Gbit/s"
    "$build/tests/bench/link/encsan-link" --delay=$delay --rate=1000 -- sh tests/faults/recovery.sh || failed=1
done
exit $failed
