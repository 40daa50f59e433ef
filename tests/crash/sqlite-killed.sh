#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# sqlite3 writes while encsanfs is killed: each database stays whole, with every row whose commit had returned.
. "$(dirname "$0")/../system/common.sh"

KILLS=6
FILES='delete wal' # the journal's mode of each

# One row a transaction, which is durable when it returns (extra: also that its journal has gone); its number is outside once it is committed. It ends when the mount does.
write_rows() {
    i=$(cat "$T/$1.done")
    while i=$((i + 1)) && sqlite3 "$M/$1.db" "pragma synchronous=extra; insert into t values($i, randomblob(3000));"; do
        echo $i >"$T/$1.new"
        mv "$T/$1.new" "$T/$1.done"
    done
}

all_wrote() {
    for mode in $FILES; do
        [ "$(cat "$T/$mode.done")" -ge "$enough" ] || return 1
    done
}

check_rows() { # MODE: those of before, and perhaps one whose commit did not return
    [ "$(sqlite3 "$M/$1.db" 'pragma integrity_check')" = ok ] || fail "$1: integrity"
    rows=$(sqlite3 "$M/$1.db" 'select count(*) from t')
    safe=$(cat "$T/$1.done")
    [ "$rows" = "$safe" ] || [ "$rows" = $((safe + 1)) ] || fail "$1: $safe rows were committed, there are $rows"
    echo "$rows" >"$T/$1.done"
}

start_target
mkfs
mnt_logged
for mode in $FILES; do
    sqlite3 "$M/$mode.db" "pragma journal_mode=$mode; create table t(id integer primary key, v blob);" >"$T/mode"
    sync "$M" "$M/$mode.db"
    echo 0 >"$T/$mode.done"
done
enough=0
for round in $(seq $KILLS); do
    enough=$((enough + 3 + round))
    writers=
    for mode in $FILES; do
        write_rows "$mode" 2>>"$T/writers" &
        writers="$writers $!"
    done
    until_true 60 all_wrote || fail "the writers do not go on: $(cat "$T/writers")"
    kill -9 "$FS_PID"
    wait "$FS_PID" || :
    for id in $writers; do
        wait "$id" || :
    done
    umount -l "$M"
    gone encsanfs
    mnt_logged
    for mode in $FILES; do
        check_rows "$mode"
    done
done
say "$(cat "$T/delete.done") and $(cat "$T/wal.done") rows"
umnt
check_disk
