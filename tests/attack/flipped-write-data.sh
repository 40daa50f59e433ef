#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit in the data of SEALED WRITE: not executed, sent again, nothing wrong on the disk.
. "$(dirname "$0")/common.sh"

flip_test write-data
grep -q "security: " "$T/encsanfs.log" "$T/target.log" || fail "nobody logged a security error"
