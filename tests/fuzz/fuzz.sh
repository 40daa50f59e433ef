#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# fuzz.sh FUZZER SECONDS [KEPT]: from the corpus that is kept here, and the one in the folder KEPT, where
# what is new stays, too. An input that fails stays in the folder in which this runs.
set -eu
fuzzer=$1
seconds=$2
name=$(basename "$fuzzer")
corpus=$(dirname "$0")/corpus/${name#fuzz-}
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
kept=${3:-$scratch/corpus}
mkdir -p "$kept"
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
TMPDIR=$scratch "$fuzzer" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$PWD/$name-" "$kept" "$corpus" &
trap 'kill $!; wait $!; exit 143' INT TERM HUP # $!: in the background, a signal ends it at once
wait $!
