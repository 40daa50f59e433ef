#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit in the CDB of SEALED SYNC: fsync still returns only when all is durable.
. "$(dirname "$0")/common.sh"

flip_test sync-cdb
grep -q "security: " "$T/encsanfs.log" "$T/target.log" || fail "nobody logged a security error"
