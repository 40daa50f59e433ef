#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# sqlite3, with a rollback journal and with a write-ahead log (which is mmapped).
. "$(dirname "$0")/common.sh"

start_target
mkfs
mnt
for mode in delete wal; do
    say "journal_mode=$mode"
    sqlite3 "$M/$mode.db" >"$T/mode" <<SQL
pragma journal_mode=$mode;
create table t(id integer primary key, v blob);
begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
    insert into t select i, randomblob(500) from n;
commit;
update t set v = zeroblob(2000) where id % 7 = 0;
delete from t where id % 3 = 0;
SQL
    for i in 1 2 3 4 5 6 7 8 9 10; do
        sqlite3 "$M/$mode.db" "insert into t(v) values(randomblob($i))"
    done
    sqlite3 "$M/$mode.db" 'select id, hex(v) from t order by id' | sha256sum >"$T/$mode.sum"
done
mnt_anew
for mode in delete wal; do
    [ "$(sqlite3 "$M/$mode.db" 'pragma integrity_check')" = ok ] || fail "$mode: integrity"
    sqlite3 "$M/$mode.db" 'select id, hex(v) from t order by id' | sha256sum | cmp - "$T/$mode.sum" ||
        fail "$mode: another content"
done
umnt
check_disk
