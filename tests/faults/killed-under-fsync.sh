#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The target is killed again and again under a load of fsyncs: what was fsynced is on its disk, each time.
# KILLS makes it more.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/../system/counter.sh"

start_target 600M
mkfs
mnt_logged
start_counter
for i in $(seq "${KILLS:-5}"); do
    await_count 4
    kill_target
    safe=$(cat "$T/done")
    counted_on "$DISK" "$safe"
    start_target 600M
done
await_count 1
stop_counter
umnt
check_disk
