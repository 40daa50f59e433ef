#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Random reads, writes, mappings, truncations and fallocations, against a model; four files at once.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
say "four files, each with random operations of its own"
random=
for seed in 1 2 3 4; do
    "$FSX" "$M/file$seed" $seed 1500 >"$T/fsx$seed.log" 2>&1 &
    random="$random $!"
done
for id in $random; do
    wait "$id" || fail "fsx: $(cat "$T"/fsx?.log)"
done
cat "$M"/file? | sha256sum >"$T/sums"
say "the same after a fresh mount, and for the kernel"
mnt_anew
cat "$M"/file? | sha256sum | cmp - "$T/sums" || fail "other bytes after a fresh mount"
umnt
check_disk
kernel_mount
cat "$T"/loop/file? | sha256sum | cmp - "$T/sums" || fail "the kernel reads other bytes"
kernel_umount
