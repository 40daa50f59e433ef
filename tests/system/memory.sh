#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# 64 processes write and read at once, in large and in small pieces, and the kernel
# knows thousands of files: encsanfs has never more memory than cache= and 40 MiB.
. "$(dirname "$0")/common.sh"

OVERHEAD_KIB=40960

job() {
    fio --name=data --directory="$M" --numjobs=64 --size=2M --ioengine=psync --group_reporting --output="$T/fio.log" "$@" ||
        fail "fio $*"
}

check_memory() { # MIB of the cache
    peak=$(awk '/^VmHWM:/ { print $2 }' "/proc/$FS_PID/status")
    say "cache=$1M, $2: $((peak / 1024)) MiB at the most"
    [ "$peak" -le $(($1 * 1024 + OVERHEAD_KIB)) ] || fail "cache=$1M, $2: $peak KiB"
}

both() {
    job --bs=4K --rw=randrw --io_size=128K
    job --bs=1M --rw=randrw --io_size=2M
}

few_are_known() { # whatever the kernel knew; the limit is a quarter of cache=, and an inode has 300 bytes at least
    [ "$("$ENCSAN" status "$M" | awk '/^known files/ { print $3 }')" -le $((cache * 1024 * 1024 / 4 / 300)) ]
}

many_files() {
    mkdir "$M/many"
    (cd "$M/many" && seq 20000 | xargs touch)
    find "$M/many" -type f -size +0 >"$T/found"
    [ ! -s "$T/found" ] || fail "an empty file is not empty"
}

start_target
mkfs -N 50000
for cache in 16 64; do
    mnt_logged "cache=${cache}M"
    job --bs=1M --rw=write
    check_memory $cache "writers"
    job --bs=1M --rw=read
    both
    check_memory $cache "readers, and both at random places"
    umnt
    mnt_logged "cache=${cache}M"
    many_files
    until_true 60 few_are_known || fail "the kernel is not asked to forget: $("$ENCSAN" status "$M" | grep known)"
    check_memory $cache "many files"
    both
    check_memory $cache "the same, and readers and writers"
    rm -r "$M/many"
    umnt
done
check_disk
