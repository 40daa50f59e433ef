#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Garbage, and half a login, on the target's port: those connections end, the others go on.
. "$(dirname "$0")/common.sh"

start_target 600M
mkfs
mnt
random_file "$T/data" 8
python3 - "$PORT" <<'PY'
import errno, os, socket, sys
port = int(sys.argv[1])
for what in (b'GET / HTTP/1.0\r\n\r\n' * 10, os.urandom(100000), bytes(48), b'\xff' * 48,
             b'\x43\x87' + bytes(46), b'\x01\x80\x00\x00\x00\xff\xff\xff' + bytes(40), b''):
    s = socket.create_connection(('127.0.0.1', port))
    s.settimeout(60)
    try:
        s.sendall(what)
        s.shutdown(socket.SHUT_WR)
        while s.recv(65536):
            pass
    except ConnectionError: # the target was faster
        pass
    except OSError as e:
        if e.errno != errno.ENOTCONN: # so it says then, too
            raise
    s.close()
PY
kill -0 "$TARGET_PID" || fail "the target is gone"
cp "$T/data" "$M/file"
mnt_anew
same "$M/file" "$T/data"
umnt
check_disk
