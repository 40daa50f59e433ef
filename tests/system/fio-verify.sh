#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# fio reads and writes at random places with several processes, in many sizes, with fsyncs between, past the page
# cache and by mappings, and finds each block again.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
job() {
    fio --directory="$M" --size=24M --verify=crc32c --verify_fatal=1 --verify_state_save=0 --group_reporting \
        --output="$T/fio.log" --aux-path="$T" "$@" || fail "fio $*"
}
job --name=random --rw=randwrite --bsrange=1k-64k --ioengine=psync --numjobs=3 --fsync=64
job --name=direct --rw=randrw --bsrange=4k-64k --ioengine=libaio --iodepth=16 --direct=1 --numjobs=2
job --name=mapped --rw=randrw --bsrange=1k-32k --ioengine=mmap --numjobs=2
job --name=sequence --rw=write --bs=1M --ioengine=psync --end_fsync=1
mnt_anew
say "after a fresh mount"
job --name=direct --rw=randrw --bsrange=4k-64k --ioengine=libaio --iodepth=16 --direct=1 --numjobs=2 --verify_only
job --name=sequence --rw=write --bs=1M --ioengine=psync --verify_only
umnt
check_disk
