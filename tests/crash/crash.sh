#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Whenever the disk stops, what is on it is an ext4 with all that was fsynced, and with nothing half done.
. "$(dirname "$0")/common.sh"

seed=${CRASH_SEED:-1}
say "seed $seed"
record "$seed"
"$CHECK" --seed "$seed" --points 300 "$RUN" || fail "seed $seed"
check_disk
