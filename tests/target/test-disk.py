# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plain LUNs by SPC-4 and SBC-3, where iscsi-test-cu does not look: what sessions share, what
is atomic, what a restart keeps."""

import struct
import threading
import unittest

from initiator import *

BLOCK = 512
MODE_CHANGED, UNIT_RESET = (0x06, 0x2A, 0x01), (0x06, 0x29, 0x03)
STOPPED, PROTECTED = (0x02, 0x04, 0x02), (0x07, 0x27, 0x02)
INVALID_CDB, INVALID_LIST, MISCOMPARE = (0x05, 0x24, 0x00), (0x05, 0x26, 0x00), (0x0E, 0x1D, 0x00)
CACHING, CONTROL = 0x08, 0x0A


def mode_sense(c, page, control=0):
    """The page."""
    return c.command(bytes([0x1A, 0x08, control << 6 | page, 0, 255, 0]), expected=255).data[4:]


def mode_select(c, page):
    data = bytes(8) + page
    return c.command(struct.pack('>BBIBHB', 0x55, 0x10, 0, 0, len(data), 0), data)


def compare_and_write(lba, blocks):
    return struct.pack('>BBQ3xBBB', 0x89, 0, lba, blocks, 0, 0)


def write_same(lba, blocks, unmap=False):
    return struct.pack('>BBQIBB', 0x93, 8 if unmap else 0, lba, blocks, 0, 0)


def lba_status(c, lba):
    """(LBA, blocks, provisioning status) of each extent."""
    data = c.command(struct.pack('>BBQIBB', 0x9E, 0x12, lba, 1024, 0, 0), expected=1024).data
    return [struct.unpack_from('>QIB', data, at) for at in range(8, len(data), 16)]


class Disk(unittest.TestCase):
    def setUp(self):
        self.target = Target(megabytes=1)
        self.alice = session(self.target, 'iqn.2026-11.org.encsan:alice')
        self.bob = session(self.target, 'iqn.2026-11.org.encsan:bob')

    def tearDown(self):
        self.alice.close()
        self.bob.close()
        self.target.remove()

    def test_mode_pages(self):
        """What one changes, the others hear of; a reset brings back what was."""
        for code, byte, bit in (CACHING, 2, 0x04), (CONTROL, 4, 0x08):
            page, changeable = bytearray(mode_sense(self.alice, code)), mode_sense(self.alice, code, 1)
            self.assertEqual(changeable[2:], bytes(byte - 2) + bytes([bit]) + bytes(len(page) - byte - 1))
            page[byte] ^= bit
            self.assertEqual(mode_select(self.alice, page).status, GOOD)
            self.assertEqual(mode_sense(self.alice, code), page)
            self.assertEqual(self.bob.clear_attentions(), [MODE_CHANGED])
            self.assertEqual(mode_sense(self.bob, code), page)
            page[3] ^= 0x20
            self.assertEqual(mode_select(self.bob, page).sense, INVALID_LIST)
        self.assertEqual(self.bob.command(write_10(0, 1), bytes(BLOCK)).sense, PROTECTED)
        self.assertEqual(self.alice.manage(5), 0)  # LOGICAL UNIT RESET
        for c in self.alice, self.bob:
            self.assertEqual(c.clear_attentions(), [UNIT_RESET])
        self.assertEqual(self.bob.command(write_10(0, 1), bytes(BLOCK)).status, GOOD)
        self.assertEqual(mode_sense(self.alice, CACHING), mode_sense(self.alice, CACHING, 2))

    def test_stopped(self):
        self.assertEqual(self.alice.command(bytes([0x1B, 0, 0, 0, 0, 0])).status, GOOD)
        self.assertEqual(self.bob.command(read_10(0, 1), expected=BLOCK).sense, STOPPED)
        self.assertEqual(self.bob.command(bytes(6)).sense, STOPPED)
        self.assertEqual(len(self.bob.command(bytes([0x12, 0, 0, 0, 96, 0]), expected=96).data), 96)
        self.assertEqual(self.bob.command(bytes([0x1B, 0, 0, 0, 1, 0])).status, GOOD)
        self.assertEqual(self.alice.command(read_10(0, 1), expected=BLOCK).status, GOOD)

    def test_compare_and_write(self):
        """Several count with it, and none of them is lost."""
        def count(c):
            for _ in range(25):
                while True:
                    old = c.command(read_10(7, 1), expected=BLOCK).data
                    new = struct.pack('>I', struct.unpack('>I', old[:4])[0] + 1) + old[4:]
                    answer = c.command(compare_and_write(7, 1), old + new)
                    if answer.status == GOOD:
                        break
                    self.assertEqual(answer.sense, MISCOMPARE)

        with session(self.target, 'iqn.2026-11.org.encsan:carol') as carol:
            threads = [threading.Thread(target=count, args=(c,)) for c in (self.alice, self.bob, carol)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        data = self.alice.command(read_10(7, 1), expected=BLOCK).data
        self.assertEqual(struct.unpack('>I', data[:4])[0], 75)

    def test_provisioning(self):
        """Extents that are mapped, and those that are not."""
        self.assertEqual(lba_status(self.alice, 0), [(0, 2048, 1)])
        self.assertEqual(self.alice.command(write_same(64, 128), b'pattern!' * 64).status, GOOD)
        self.assertEqual(self.alice.command(read_10(191, 2), expected=2 * BLOCK).data, b'pattern!' * 64 + bytes(BLOCK))
        self.assertEqual(lba_status(self.alice, 8), [(8, 56, 1), (64, 128, 0), (192, 1856, 1)])
        self.assertEqual(self.alice.command(write_same(96, 32, unmap=True), bytes(BLOCK)).status, GOOD)
        self.assertEqual(lba_status(self.alice, 70)[:3], [(70, 26, 0), (96, 32, 1), (128, 64, 0)])
        self.assertEqual(self.alice.command(read_10(96, 32), expected=32 * BLOCK).data, bytes(32 * BLOCK))

    def test_reserved_bits(self):
        """Each command says which bits it knows; the others are refused."""
        for cdb in read_10(0, 1), write_10(0, 1), bytes([0x12, 0, 0, 0, 96, 0]), bytes(6):
            for byte, bit in (1, 0x80), (len(cdb) - 1, 0x04):  # RDPROTECT or the like; NACA
                spoilt = bytearray(cdb)
                spoilt[byte] |= bit
                out = bytes(BLOCK) if cdb[0] == 0x2A else b''
                self.assertEqual(self.alice.command(bytes(spoilt), out, 0 if out else 96).sense, INVALID_CDB)

    def test_identity(self):
        """The same after a restart."""
        def identity(c):
            return [c.command(bytes([0x12, 1, page, 1, 0, 0]), expected=256).data for page in (0x80, 0x83)]

        before = identity(self.alice)
        self.assertIn(IQN.encode() + b',t,0x0001\0', before[1])
        self.alice.close()
        self.bob.close()
        self.target.stop()
        self.target.start()
        with session(self.target) as again:
            self.assertEqual(identity(again), before)


if __name__ == '__main__':
    unittest.main()
