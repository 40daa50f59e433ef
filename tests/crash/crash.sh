#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Whenever the disk stops, what is on it is an ext4 with all that was fsynced, and with nothing half done.
. "$(dirname "$0")/common.sh"

seed=${CRASH_SEED:-1}
say "seed $seed, on a new disk"
record "$seed"
"$CHECK" --seed "$seed" --points 200 "$RUN" || fail "seed $seed"
say "seed $seed, on a disk that crashed before"
record_after_crash "$seed"
"$CHECK" --seed "$seed" --points 100 --below again "$RUN" || fail "seed $seed"
check_disk
