#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Someone on the path: a TCP proxy that understands iSCSI's framing (RFC 7143, 11).

    flip.py HOST:PORT [--flip KIND] [--first N] [--count N] [--replay N] [--record PREFIX]

It prints "port N" and forwards every connection to HOST:PORT until SIGTERM comes. What it does to messages goes to standard error, a line each.

KIND (a message of PROTOCOL, and the bit in it that is flipped):
    message1 message2                   of the handshake
    write-cdb read-cdb sync-cdb         the CDB of a sealed command, behind the opcode
    write-data                          what SEALED WRITE carries
    read-answer sync-answer             what SEALED READ and SYNC bring
--first N     begin with the N-th of that kind (1), --count N: and do it N times (1; 0: for ever)
--replay N    keep the N-th SEALED WRITE with data, and send it a second time behind each later one
--record P    all bytes as they pass, into P.out (to the target) and P.in
"""
import argparse
import os
import signal
import socket
import sys
import threading

SCSI_COMMAND, DATA_OUT = 0x01, 0x05
SCSI_RESPONSE, LOGIN_RESPONSE, DATA_IN = 0x21, 0x23, 0x25

# kind: (opcode of the command, where the bit is: its CDB, its data, its answer)
KINDS = {
    "message1": (0xB5, "data"), "message2": (0xA2, "answer"),
    "write-cdb": (0xC8, "cdb"), "write-data": (0xC8, "data"),
    "read-cdb": (0xC9, "cdb"), "read-answer": (0xC9, "answer"),
    "sync-cdb": (0xCA, "cdb"), "sync-answer": (0xCA, "answer"),
}
REPLAY_ITT = 0xE0000000  # initiator task tags of our own


def say(text):
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def get32(pdu, at):
    return int.from_bytes(pdu[at:at + 4], "big")


def put32(pdu, at, value):
    pdu[at:at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "big")


class Attack:
    """What all connections share: the counters, under one lock."""

    def __init__(self, args):
        self.args = args
        self.lock = threading.Lock()
        self.seen = 0
        self.flipped = 0
        self.writes = 0
        self.kept = None

    def due(self):
        self.seen += 1
        past = self.seen - self.args.first
        return past >= 0 and (self.args.count == 0 or past < self.args.count)

    def flip(self, pdu, at):
        pdu[at] ^= 1 << (self.flipped % 8)
        self.flipped += 1
        say("flipped %s number %d" % (self.args.flip, self.seen))


class Connection:
    def __init__(self, attack, client, server):
        self.attack, self.client, self.server = attack, client, server
        self.commands = {}  # initiator task tag -> opcode of the command
        self.added = 0      # commands of ours: by so much CmdSN and StatSN are shifted
        self.answered = 0
        self.lock = threading.Lock()

    # Commands that we add take numbers, which the two ends must not notice.
    def outward(self, pdu):
        opcode = pdu[0] & 0x3F
        with self.lock:
            if opcode != DATA_OUT:
                put32(pdu, 24, get32(pdu, 24) + self.added)  # CmdSN
            put32(pdu, 28, get32(pdu, 28) + self.answered)   # ExpStatSN

    def inward(self, pdu):
        opcode = pdu[0] & 0x3F
        with self.lock:
            ours = get32(pdu, 16) >= REPLAY_ITT and get32(pdu, 16) != 0xFFFFFFFF
            if opcode != DATA_IN or pdu[1] & 1:
                put32(pdu, 24, get32(pdu, 24) - self.answered)  # StatSN
            put32(pdu, 28, get32(pdu, 28) - self.added)  # ExpCmdSN
            put32(pdu, 32, get32(pdu, 32) - self.added)  # MaxCmdSN
            if ours and opcode == SCSI_RESPONSE:
                self.answered += 1
                say("replay answered with status %02x" % pdu[3])
        return ours

    def to_target(self, pdu, data_at):
        opcode = pdu[0] & 0x3F
        extra = None
        tag = get32(pdu, 16)
        with self.attack.lock:
            if opcode == SCSI_COMMAND:
                self.commands[tag] = pdu[32]
            command = self.commands.get(tag)
            kind, where = KINDS.get(self.attack.args.flip, (None, None))
            if kind == command:
                if where == "cdb" and opcode == SCSI_COMMAND and self.attack.due():
                    self.attack.flip(pdu, 32 + 1 + self.attack.flipped % 15)
                elif where == "data" and len(pdu) > data_at and self.attack.due():
                    self.attack.flip(pdu, (data_at + len(pdu)) // 2)
            if self.attack.args.replay and opcode == SCSI_COMMAND and pdu[32] == 0xC8 and len(pdu) > 4096:
                extra = self.replay(pdu)
        self.outward(pdu)
        if extra is not None:
            with self.lock:
                self.added += 1
                put32(extra, 16, REPLAY_ITT + self.added)
                put32(extra, 24, get32(pdu, 24) + 1)
                put32(extra, 28, get32(pdu, 28))
            pdu += extra
        return pdu

    def replay(self, pdu):
        self.attack.writes += 1
        if self.attack.writes == self.attack.args.replay:
            self.attack.kept = bytearray(pdu)
        elif self.attack.kept:
            say("replayed")
            return bytearray(self.attack.kept)
        return None

    def to_initiator(self, pdu, data_at):
        opcode = pdu[0] & 0x3F
        with self.attack.lock:
            if opcode == LOGIN_RESPONSE and b"HeaderDigest=CRC32C" in pdu:
                say("a header digest was agreed on: we can't change anything")
            command = self.commands.get(get32(pdu, 16))
            kind, where = KINDS.get(self.attack.args.flip, (None, None))
            if opcode == DATA_IN and where == "answer" and kind == command and len(pdu) > data_at:
                if self.attack.due():
                    self.attack.flip(pdu, (data_at + len(pdu)) // 2)
        return None if self.inward(pdu) else pdu

    def pump(self, source, sink, change, record):
        try:
            stream = source.makefile("rb", buffering=1 << 18)
            while True:
                head = stream.read(48)
                if len(head) < 48:
                    break
                rest = head[4] * 4 + (int.from_bytes(head[5:8], "big") + 3 & ~3)
                pdu = bytearray(head + stream.read(rest))
                if record:
                    record.write(pdu)
                pdu = change(pdu, 48 + head[4] * 4)
                if pdu is not None:
                    sink.sendall(pdu)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("target")
    parser.add_argument("--flip", choices=sorted(KINDS))
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--replay", type=int, default=0)
    parser.add_argument("--record")
    args = parser.parse_args()
    host, port = args.target.rsplit(":", 1)
    out = open(args.record + ".out", "wb", buffering=0) if args.record else None
    back = open(args.record + ".in", "wb", buffering=0) if args.record else None

    attack = Attack(args)
    listener = socket.create_server(("127.0.0.1", 0))
    print("port", listener.getsockname()[1], flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection((host, int(port)))
        except OSError as error:
            say("target: %s" % error)
            client.close()
            continue
        for s in (client, server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c = Connection(attack, client, server)
        for way in ((client, server, c.to_target, out), (server, client, c.to_initiator, back)):
            threading.Thread(target=c.pump, args=way, daemon=True).start()


if __name__ == "__main__":
    main()
