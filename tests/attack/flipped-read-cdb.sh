#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit in the CDB of SEALED READ: the target does not answer it with data, it is sent again.
. "$(dirname "$0")/common.sh"

flip_test read-cdb
grep -q "security: " "$T/encsanfs.log" "$T/target.log" || fail "nobody logged a security error"
