# SPDX-License-Identifier: LGPL-2.1-or-later
"""200 sessions at once. Half of them copy, and get every bit back; the others stop within a PDU,
ask for data and do not read it, or send what is no iSCSI. The target's memory stays within its
limit, and it ends in order. And a flood of connections that never log in."""

import concurrent.futures
import os
import random
import resource
import struct
import threading
import time
import unittest

from initiator import *

GOOD_ONES = BAD_ONES = 100
BLOCK = 512
BLOCKS = 512         # of one command
ROUNDS = 4
DEPTH = 4            # commands at a time
LARGE = {'InitialR2T': 'No', 'FirstBurstLength': 262144, 'MaxRecvDataSegmentLength': 262144}
TASK_SET_FULL, BUSY = 0x28, 0x08
MEMORY_LIMIT = 128   # MiB, for data: a fraction of what they ask for
MEMORY_BESIDE = 64   # MiB: threads, sessions, the programs themselves


def retried(c, cdb, out=b'', expected=0):
    """Where there is no memory now, later; that is what the status asks for."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = c.command(cdb, out, expected)
        if answer.status not in (TASK_SET_FULL, BUSY) or time.monotonic() > deadline:
            return answer
        time.sleep(0.01)


class Copier(threading.Thread):
    """Writes its own part of the disk and reads it again."""

    def __init__(self, target, number):
        super().__init__(name=f'copier {number}')
        self.target, self.number, self.error = target, number, None

    def run(self):
        try:
            with session(self.target, f'iqn.2026-11.org.encsan:copier-{self.number}', **LARGE) as c:
                for n in range(ROUNDS):
                    self.copy(c, (self.number * ROUNDS + n) * BLOCKS)
        except Exception as e:
            self.error = e

    def copy(self, c, lba):
        data = random.Random(lba).randbytes(BLOCKS * BLOCK)
        assert retried(c, write_10(lba, BLOCKS), data).status == GOOD, 'write'
        piece = BLOCKS // DEPTH
        tags = [c.start(read_10(lba + n * piece, piece), expected=piece * BLOCK) for n in range(DEPTH)]
        answers = c.finish_all(tags)
        for n, tag in enumerate(tags):
            answer = answers[tag]
            if answer.status in (TASK_SET_FULL, BUSY):
                answer = retried(c, read_10(lba + n * piece, piece), expected=piece * BLOCK)
            assert answer.data == data[n * piece * BLOCK:(n + 1) * piece * BLOCK], 'other data'


# ---- the others ----

def stops_within_a_pdu(c, number):
    for _ in range(64):
        c.start(write_10(0, BLOCKS), bytes(BLOCKS * BLOCK), immediate=1024, final=False)
    c.socket.sendall(bytes(20))


def does_not_read(c, number):
    c.socket.settimeout(0.5)
    try:
        for _ in range(127):
            c.start(read_10(0, BLOCKS), expected=BLOCKS * BLOCK)
        while True:
            c.send(NOP_OUT | IMMEDIATE, FINAL, 3, [(20, b'\xff' * 4)], bytes(100000))
    except OSError:  # nobody reads, or the target has had enough
        pass


def talks_nonsense(c, number):
    try:
        c.socket.sendall(random.Random(number).randbytes(100000))
    except OSError:
        pass


def half_a_login(target, number):
    c = Connection(target, f'iqn.2026-11.org.encsan:bad-{number}')
    c.socket.sendall(bytes([LOGIN | IMMEDIATE]) + bytes(30))
    return c


def drips(c):
    try:
        for byte in bytes([LOGIN | IMMEDIATE]) + bytes(47):
            c.socket.sendall(bytes([byte]))
            time.sleep(1)
    except OSError:  # that was too slow
        pass


def comes_in(target):
    """Once a connection that has ended is counted out."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return session(target, 'iqn.2026-11.org.encsan:bob')
        except (EOFError, ConnectionError):
            assert time.monotonic() < deadline, 'nobody is let in any more'
            time.sleep(0.1)


def misbehave(target, number):
    kinds = [stops_within_a_pdu, does_not_read, talks_nonsense]
    if number % 4 == 3:
        return half_a_login(target, number)
    c = session(target, f'iqn.2026-11.org.encsan:bad-{number}', **LARGE)
    kinds[number % 4](c, number)
    return c


class Flood:
    """At a target of its own: its few places are taken by who never logs in, and hundreds more come.
    Who does not log in has 15 seconds, however he spends them; that passes beside the crowd."""

    def __init__(self, test):
        self.test = test
        self.target = ConfiguredTarget(lambda target: lun_group(target, 1), 'sessions=8\n')
        test.addCleanup(self.target.remove)
        self.good = session(self.target)
        test.addCleanup(self.good.close)
        self.slow = [Connection(self.target) for _ in range(3)] + [half_a_login(self.target, n) for n in range(3)]
        dripping = Connection(self.target)
        self.slow.append(dripping)
        self.dripper = threading.Thread(target=drips, args=[dripping])
        self.dripper.start()
        for n in range(300):
            with Connection(self.target) as another:
                test.assertTrue(another.ended())
            if n % 10 == 0:
                self.check_good(n)

    def check_good(self, lba):
        data = random.Random(lba).randbytes(BLOCK)
        self.test.assertEqual(self.good.command(write_10(lba, 1), data).status, GOOD)
        self.test.assertEqual(self.good.command(read_10(lba, 1), expected=BLOCK).data, data)

    def end(self):
        for connection in self.slow:
            self.test.assertTrue(connection.ended())
            connection.close()
        self.dripper.join()
        comes_in(self.target).close()
        self.check_good(0)
        self.test.assertLess(self.target.read_log().count('turned away'), 100)


class Crowd(unittest.TestCase):
    def test_crowd(self):
        flood = Flood(self)
        size = GOOD_ONES * ROUNDS * BLOCKS * BLOCK >> 20
        target = ConfiguredTarget(lambda target: lun_group(target, 1, size=f'{size}M'), f'memory={MEMORY_LIMIT}M\n')
        with concurrent.futures.ThreadPoolExecutor(10) as crowd:
            bad = list(crowd.map(lambda number: misbehave(target, number), range(BAD_ONES)))
        copiers = [Copier(target, number) for number in range(GOOD_ONES)]
        for copier in copiers:
            copier.start()
        for copier in copiers:
            copier.join()
        self.assertEqual([(c.name, c.error) for c in copiers if c.error], [])
        peak = self.peak(target)
        print(f'{peak} MiB at most')
        if not os.environ.get('SANITIZED'):  # which needs memory of its own
            self.assertLess(peak, MEMORY_LIMIT + MEMORY_BESIDE)
        for c in bad:
            c.close()
        flood.end()
        target.stop()
        target.remove()

    def peak(self, target):
        with open(f'/proc/{target.process.pid}/status') as status:
            return next(int(line.split()[1]) for line in status if line.startswith('VmHWM:')) >> 10


if __name__ == '__main__':
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    unittest.main()
