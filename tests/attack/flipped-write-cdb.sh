#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit in the CDB of SEALED WRITE: not executed, sent again, nothing wrong on the disk.
. "$(dirname "$0")/common.sh"

flip_test write-cdb
grep -q "security: " "$T/encsanfs.log" "$T/target.log" || fail "nobody logged a security error"
