#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A second > on a longer file leaves nothing of the first, read back without a cache; and other truncations.
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
say "a second > on a longer file"
seq 100000 >"$M/longer"
echo short >"$M/longer"
[ "$(cat "$M/longer")" = short ] || fail "at once"
drop_caches
[ "$(cat "$M/longer")" = short ] || fail "after drop_caches"
[ "$(stat -c %s "$M/longer")" = 6 ] || fail "its size"
say "shorter, then longer: zeros between"
yes | head -c 100000 >"$M/cut"
truncate -s 5000 "$M/cut"
truncate -s 50000 "$M/cut"
{ yes | head -c 5000; head -c 45000 /dev/zero; } >"$T/cut"
same "$M/cut" "$T/cut"
drop_caches
same "$M/cut" "$T/cut"
say "to nothing and on from there"
: >"$M/cut"
printf tail | dd of="$M/cut" bs=1 seek=9000 conv=notrunc status=none
{ head -c 9000 /dev/zero; printf tail; } >"$T/cut"
same "$M/cut" "$T/cut"
say "a hole in the middle of a big one"
random_file "$T/big" 20
cp "$T/big" "$M/big"
fallocate -p -o 3000000 -l 9000001 "$M/big"
dd if=/dev/zero of="$T/big" bs=1 count=0 seek=0 conv=notrunc status=none
fallocate -p -o 3000000 -l 9000001 "$T/big"
same "$M/big" "$T/big"
mnt_anew
[ "$(cat "$M/longer")" = short ] || fail "after a fresh mount"
same "$M/cut" "$T/cut"
same "$M/big" "$T/big"
umnt
check_disk
