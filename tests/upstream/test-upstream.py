# SPDX-License-Identifier: LGPL-2.1-or-later
"""A target whose disk is another encsan-target's: what initiators are told when that one is reset,
restarted, away, write-protected, reserved or has a bad medium."""

import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'target'))
from initiator import *

BLOCK = 512
LOGICAL_UNIT_RESET = 5
SYNCHRONIZE_CACHE = bytes([0x35]) + bytes(9)
TEST_UNIT_READY = bytes(6)
POWER_ON = (0x06, 0x29, 0x00)
WRITE_ERROR, NOT_READY, PROTECTED = (0x03, 0x0C, 0x00), (0x02, 0x04, 0x01), (0x07, 0x27, 0x00)
INTERNAL = (0x04, 0x44, 0x00)
CAPACITY_CHANGED, LBA_OUT_OF_RANGE = (0x06, 0x2A, 0x09), (0x05, 0x21, 0x00)
INQUIRY, READ_CAPACITY = bytes([0x12, 0, 0, 0, 96, 0]), bytes([0x25]) + bytes(9)


class Proxy(Target):
    """LUN 1 is the upstream's, LUN 2 a file."""

    def __init__(self, upstream):
        self.upstream = upstream
        super().__init__()

    def start(self):
        self.luns = [f'iscsi://127.0.0.1:{self.upstream.port}/{IQN}/1,access=plain',
                     f'{self.path("disk2")},size=1M,access=plain']
        self.options = ['--state-dir', self.path('state')]
        super().start()

    def says(self, what, times=1):
        """Waits until the log does."""
        deadline = time.monotonic() + PATIENCE
        while self.read_log().count(what) < times:
            assert time.monotonic() < deadline, f'the log does not say "{what}": {self.read_log()}'
            time.sleep(0.05)


class Upstream(unittest.TestCase):
    def setUp(self):
        self.upstream = Target(megabytes=4)
        self.proxy = Proxy(self.upstream)
        self.alice = session(self.proxy, 'iqn.2026-11.org.encsan:alice')
        self.bob = session(self.proxy, 'iqn.2026-11.org.encsan:bob')
        self.bob.clear_attentions(lun=2)

    def tearDown(self):
        self.alice.close()
        self.bob.close()
        self.proxy.remove()
        if os.path.exists(self.upstream.folder):
            self.upstream.remove()

    def write(self, connection, lba, byte, lun=1):
        return connection.command(write_10(lba, 1), bytes([byte]) * BLOCK, lun=lun)

    def read(self, connection, lba, lun=1):
        return connection.command(read_10(lba, 1), expected=BLOCK, lun=lun)

    def told(self, connection):
        """A unit attention, then that what was not flushed may be lost, then all is well."""
        self.assertEqual(connection.command(TEST_UNIT_READY).sense, POWER_ON)
        self.assertEqual(connection.command(TEST_UNIT_READY).status, GOOD)
        self.assertEqual(connection.command(SYNCHRONIZE_CACHE).sense, WRITE_ERROR)
        self.assertEqual(connection.command(SYNCHRONIZE_CACHE).status, GOOD)

    def test_reset(self):
        """A flush right after the upstream disk was reset never succeeds; all hear of it, once."""
        self.assertEqual(self.write(self.alice, 7, 1).status, GOOD)
        with session(self.upstream, 'iqn.2026-11.org.encsan:other') as other:
            self.assertEqual(other.manage(LOGICAL_UNIT_RESET), 0)
        self.assertEqual(self.alice.command(SYNCHRONIZE_CACHE).sense, WRITE_ERROR)
        self.assertEqual(self.alice.command(TEST_UNIT_READY).sense, POWER_ON)
        self.assertEqual(self.alice.command(SYNCHRONIZE_CACHE).status, GOOD)
        self.told(self.bob)
        self.assertEqual(self.read(self.alice, 7).data, bytes([1]) * BLOCK)

    def test_reset_without_loss(self):
        """Where everything was flushed, nothing is lost and nobody is told anything."""
        self.assertEqual(self.write(self.alice, 7, 1).status, GOOD)
        self.assertEqual(self.alice.command(SYNCHRONIZE_CACHE).status, GOOD)
        with session(self.upstream, 'iqn.2026-11.org.encsan:other') as other:
            self.assertEqual(other.manage(LOGICAL_UNIT_RESET), 0)
        self.assertEqual(self.read(self.alice, 7).data, bytes([1]) * BLOCK)
        self.proxy.says('is there again')
        self.assertEqual(self.bob.command(SYNCHRONIZE_CACHE).status, GOOD)
        self.assertEqual(self.alice.command(TEST_UNIT_READY).status, GOOD)

    def test_restart(self):
        """What is on its way when the upstream is killed is done once it is back."""
        self.assertEqual(self.write(self.alice, 7, 1).status, GOOD)
        self.upstream.kill()
        self.proxy.says('the connection is lost')
        self.assertEqual(self.alice.command(TEST_UNIT_READY).sense, POWER_ON)
        waiting = self.alice.start(write_10(8, 1), bytes([2]) * BLOCK)
        self.assertEqual(self.write(self.bob, 0, 3, lun=2).status, GOOD)
        self.upstream.start()
        self.assertEqual(self.alice.finish(waiting).status, GOOD)
        self.assertEqual(self.alice.command(SYNCHRONIZE_CACHE).sense, WRITE_ERROR)
        self.assertEqual(self.alice.command(SYNCHRONIZE_CACHE).status, GOOD)
        self.told(self.bob)
        self.assertEqual(self.read(self.bob, 8).data, bytes([2]) * BLOCK)

    def test_absent_at_start(self):
        """The disk is NOT READY until its target comes; then it is as any other, and larger than nothing."""
        self.alice.close(), self.bob.close()
        self.proxy.stop()
        self.upstream.kill()
        self.proxy.start()
        self.bob = session(self.proxy, 'iqn.2026-11.org.encsan:bob', lun=2)
        self.assertEqual(self.write(self.bob, 7, 1, lun=2).status, GOOD)
        self.alice = session(self.proxy, 'iqn.2026-11.org.encsan:alice', lun=2)
        self.assertEqual(self.alice.command(INQUIRY, expected=96).status, GOOD)
        self.assertEqual(self.alice.command(TEST_UNIT_READY).sense, POWER_ON)
        for cdb, bytes_in in (TEST_UNIT_READY, 0), (READ_CAPACITY, 8), (read_10(0, 1), BLOCK):
            self.assertEqual(self.alice.command(cdb, expected=bytes_in).sense, NOT_READY)
        self.assertEqual(self.write(self.alice, 7, 1).sense, NOT_READY)
        self.upstream.start()
        self.proxy.says(': is there\n', 2)
        self.assertEqual(self.alice.command(TEST_UNIT_READY).sense, CAPACITY_CHANGED)
        self.assertEqual(self.alice.command(TEST_UNIT_READY).status, GOOD)
        self.assertEqual(self.alice.command(READ_CAPACITY, expected=8).data, struct.pack('>II', 8191, BLOCK))
        self.assertEqual(self.write(self.alice, 8191, 1).status, GOOD)
        self.assertEqual(self.read(self.alice, 8191).data, bytes([1]) * BLOCK)

    def test_away(self):
        """After a while NOT READY is the answer; others are served meanwhile, however many wait."""
        self.upstream.kill()
        self.proxy.says('the connection is lost')
        waiting = [self.alice.start(read_10(n, 1), expected=BLOCK) for n in range(60)]
        for n in range(100):
            self.assertEqual(self.write(self.bob, n, 4, lun=2).status, GOOD)
        for answer in self.alice.finish_all(waiting).values():
            self.assertEqual(answer.sense, NOT_READY)
        self.assertEqual(self.bob.command(SYNCHRONIZE_CACHE).status, GOOD)  # nothing was written

    def test_end_while_away(self):
        """SIGTERM does not wait for the upstream."""
        self.assertEqual(self.write(self.alice, 7, 1).status, GOOD)
        self.upstream.kill()
        self.proxy.says('the connection is lost')
        self.assertEqual(self.alice.command(TEST_UNIT_READY).sense, POWER_ON)
        self.alice.start(read_10(7, 1), expected=BLOCK)
        began = time.monotonic()
        self.proxy.process.terminate()
        self.assertEqual(self.proxy.process.wait(timeout=PATIENCE), 0)
        self.assertLess(time.monotonic() - began, PATIENCE / 2)

    def test_write_protected(self):
        """By the upstream's mode page; said as what it is, and no reason to go away."""
        with session(self.upstream, 'iqn.2026-11.org.encsan:other') as other:
            page = bytearray(other.command(bytes([0x1A, 0x08, 0x0A, 0, 255, 0]), expected=255).data[4:])
            page[4] |= 0x08
            select = struct.pack('>BBIBHB', 0x55, 0x10, 0, 0, 8 + len(page), 0)
            self.assertEqual(other.command(select, bytes(8) + page).status, GOOD)
            self.assertEqual(self.write(self.alice, 7, 1).sense, PROTECTED)
            self.assertEqual(self.read(self.alice, 7).status, GOOD)
        self.assertNotIn('is lost', self.proxy.read_log())

    def test_reserved(self):
        """A reservation conflict upstream is none of our initiators': an error, and a line in the log."""
        with session(self.upstream, 'iqn.2026-11.org.encsan:other') as other:
            self.assertEqual(other.command(bytes([0x16, 0, 0, 0, 0, 0])).status, GOOD)
            self.assertEqual(self.write(self.alice, 7, 1).sense, INTERNAL)
            self.proxy.says('reservation conflict')
            self.assertEqual(other.command(bytes([0x17, 0, 0, 0, 0, 0])).status, GOOD)
        self.assertEqual(self.write(self.alice, 7, 1).status, GOOD)

    def test_bad_medium(self):
        """A disk that takes no more from some block on."""
        resource.prlimit(self.upstream.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        self.assertEqual(self.write(self.alice, 7, 1).status, GOOD)
        self.assertEqual(self.write(self.alice, 4096, 1).sense, WRITE_ERROR)
        self.assertEqual(self.write(self.alice, 8, 1).status, GOOD)

    def test_reservations(self):
        """Reservations are ours, and outlive the upstream's."""
        self.assertEqual(self.alice.command(bytes([0x16, 0, 0, 0, 0, 0])).status, GOOD)
        self.upstream.kill()
        self.upstream.start()
        self.assertEqual(self.write(self.bob, 7, 1).status, CONFLICT)
        self.assertEqual(self.write(self.alice, 7, 1).status, GOOD)


class Configured(unittest.TestCase):
    """With a configuration, at both ends: what changes meanwhile."""

    def setUp(self):
        self.upstream = ConfiguredTarget(self.disk('wonderland-12', '4M'))
        self.addCleanup(self.upstream.remove)
        self.states = tempfile.mkdtemp(prefix='encsan-states-')
        self.addCleanup(shutil.rmtree, self.states)
        self.proxy = ConfiguredTarget(self.url('password'), f'metrics=0\nstate-dir={self.states}\n')
        self.addCleanup(self.proxy.remove)

    def disk(self, password, size):
        return lambda target: f'[user alice]\npassword={password}\n' + lun_group(target, 1, size=size, users='alice')

    def url(self, password_file):
        def groups(target):
            if not os.path.exists(target.path(password_file)):
                self.write_password(target, password_file, 'wonderland-12')
            return (f'[lun 1]\npath=iscsi://alice@127.0.0.1:{self.upstream.port}/{IQN}/1\n'
                    f'password-file={target.path(password_file)}\naccess=plain\n')
        return groups

    def write_password(self, target, name, password):
        with open(target.path(name), 'w', opener=lambda *args: os.open(*args, 0o600)) as file:
            file.write(password + '\n')

    def alice(self):
        c = session(self.proxy)
        self.addCleanup(c.close)
        return c

    def status(self):
        return subprocess.run([os.environ['ENCSAN_TARGET'], '--config', self.proxy.path('conf'), '--status'],
                              stdout=subprocess.PIPE, check=True, text=True).stdout

    def metric(self, name):
        url = re.search(r'http://127\.0\.0\.1:\d+/metrics', self.proxy.read_log()).group()
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return int(re.search(rf'^encsan_target_{name}{{lun="1"}} (\d+)$', answer.read().decode(), re.M)[1])

    def test_password(self):
        """Another one: it is read at each login, and SIGHUP brings another file."""
        c = self.alice()
        self.assertEqual(self.metric('upstream_sessions'), 4)
        self.assertEqual(self.metric('upstream_reconnects_total'), 0)
        self.assertRegex(self.status(), 'plain; its target is there, 4 sessions, 0 reconnects\n')
        self.upstream.reload(self.disk('another-pass', '4M'))
        self.proxy.until_logged('cannot log in')
        self.assertEqual(self.metric('upstream_sessions'), 0)
        self.assertRegex(self.status(), 'plain; its target is away, for \\d+ s, 0 reconnects, last: iscsi://.*cannot log in')
        self.write_password(self.proxy, 'password', 'another-pass')
        self.proxy.until_logged('is there again')
        self.assertEqual(c.command(write_10(7, 1), bytes(BLOCK)).status, GOOD)
        self.assertEqual(self.metric('upstream_sessions'), 4)
        self.assertEqual(self.metric('upstream_reconnects_total'), 1)
        self.upstream.reload(self.disk('a-third-one-', '4M'))
        self.write_password(self.proxy, 'password2', 'a-third-one-')
        self.proxy.reload(self.url('password2'), self.proxy.head)
        self.proxy.until_logged('is there again', 2)
        c.clear_attentions()
        self.assertEqual(c.command(read_10(7, 1), expected=BLOCK).status, GOOD)

    def test_grown(self):
        c = self.alice()
        self.assertEqual(c.command(write_10(8192, 1), bytes(BLOCK)).sense, LBA_OUT_OF_RANGE)
        self.upstream.reload(self.disk('wonderland-12', '8M'))
        self.proxy.reload()
        self.assertEqual(c.command(TEST_UNIT_READY).sense, CAPACITY_CHANGED)
        self.assertEqual(c.command(READ_CAPACITY, expected=8).data, struct.pack('>II', 16383, BLOCK))
        self.assertEqual(c.command(write_10(16383, 1), bytes(BLOCK)).status, GOOD)


if __name__ == '__main__':
    import signal as signals
    signals.signal(signals.SIGXFSZ, signals.SIG_IGN)  # the targets inherit it: EFBIG then
    unittest.main()
