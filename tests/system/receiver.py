# SPDX-License-Identifier: LGPL-2.1-or-later
"""receiver.py SOCKET FILE: each datagram that comes to the socket is a line in the file."""
import os
import socket
import sys

receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
with open(sys.argv[2], "w", buffering=1) as lines:
    while True:
        lines.write(receiver.recv(4096).decode().rstrip("\n\0") + "\n")
