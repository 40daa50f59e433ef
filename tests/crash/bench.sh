#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ./run bench crash [POINTS [SEED]]
#
# 10,000 crash points, or POINTS, 500 with each seed from SEED (1) on; then 50
# kills of encsanfs and 50 of encsan-target. The log of a run that goes wrong is
# kept in build/bench/crash-SEED, for tests/crash/check and its --only.
set -eu

BUILD=$PWD/build
ENCSANFS=$BUILD/fuse/encsanfs
ENCSAN=$BUILD/tools/encsan
ENCSAN_TARGET=$BUILD/target/encsan-target
TARGET_RECORD=$BUILD/tests/crash/encsan-target-record
WORKLOAD=$BUILD/tests/crash/workload
CHECK=$BUILD/tests/crash/check
SOUND=$BUILD/tests/crash/sound
RESULTS=$BUILD/bench
export ENCSANFS ENCSAN ENCSAN_TARGET TARGET_RECORD WORKLOAD CHECK SOUND RESULTS

folder=$(dirname "$0")
mkdir -p "$RESULTS"
sh "$folder/seeds.sh" "$@"
for victim in encsanfs target; do
    sh "$folder/kill.sh" $victim 50
done
