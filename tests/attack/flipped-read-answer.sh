#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit in an answer to SEALED READ: the bytes are not used, the read is sent again, and it is logged.
. "$(dirname "$0")/common.sh"

flip_test read-answer
grep -q 'security: ' "$T/encsanfs.log" || fail "no logged security error"
