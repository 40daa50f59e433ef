#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A flipped bit in a receipt: it is not believed, another one is asked for, and it is logged.
. "$(dirname "$0")/common.sh"

flip_test sync-answer
grep -q 'security: ' "$T/encsanfs.log" || fail "no logged security error"
