# SPDX-License-Identifier: LGPL-2.1-or-later
"""Persistent reservations (SPC-4, 5.13) between three initiators, and over SIGKILL and restart."""

import os
import struct
import unittest

from initiator import *

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE, REGISTER_AND_MOVE = range(8)
WRITE_EXCLUSIVE, EXCLUSIVE, WRITE_REGISTRANTS, EXCLUSIVE_REGISTRANTS, WRITE_ALL, EXCLUSIVE_ALL = 1, 3, 5, 6, 7, 8
PREEMPTED, RELEASED, REGISTRATION_GONE = (0x06, 0x2A, 0x03), (0x06, 0x2A, 0x04), (0x06, 0x2A, 0x05)
INVALID_LIST, INVALID_RELEASE, INVALID_CDB = (0x05, 0x26, 0x00), (0x05, 0x26, 0x04), (0x05, 0x24, 0x00)
LIST_LENGTH, NO_ROOM = (0x05, 0x1A, 0x00), (0x05, 0x55, 0x04)
ALICE, BOB, CAROL = 0xA11CE, 0xB0B, 0xCA401
BLOCK = 512


def send(c, action, parameters, kind=0):
    """PERSISTENT RESERVE OUT: status, or sense."""
    cdb = struct.pack('>BBBHIB', 0x5F, action, kind, 0, len(parameters), 0)
    answer = c.command(cdb, parameters)
    return answer.sense if answer.status == CHECK else answer.status


def out(c, action, key=0, new=0, kind=0, persist=False):
    return send(c, action, struct.pack('>QQIBxxx', key, new, 0, persist), kind)


def transport_id(name, isid=b'\x80\0\0\0\0\1'):
    """Of an initiator port; isid None: of a device."""
    text = f'iqn.2026-11.org.encsan:{name}'.encode() + (b',i,0x' + isid.hex().encode() if isid else b'') + b'\0'
    text += bytes(max(20 - len(text), -len(text) % 4))
    return struct.pack('>BxH', 0x45 if isid else 0x05, len(text)) + text


def register_too(c, key, new, ids, action=REGISTER, persist=False, length=None):
    """With SPEC_I_PT."""
    ids = b''.join(ids)
    return send(c, action, struct.pack('>QQIBxxxI', key, new, 0, 0x08 | persist, len(ids) if length is None else length)
                + ids)


def move(c, key, new, to, unregister=False, persist=False, port=1):
    return send(c, REGISTER_AND_MOVE, struct.pack('>QQxBHI', key, new, unregister << 1 | persist, port, len(to)) + to)


def read_in(c, action):
    return c.command(struct.pack('>BBBIHB', 0x5E, action, 0, 0, 4096, 0), expected=4096).data


def keys(c):
    data = read_in(c, 0)
    return [struct.unpack_from('>Q', data, at)[0] for at in range(8, 8 + struct.unpack_from('>I', data, 4)[0], 8)]


def held(c):
    """(key, type), or None."""
    data = read_in(c, 1)
    return (struct.unpack_from('>Q', data, 8)[0], data[21] & 15) if len(data) > 8 else None


def may(c):
    """What of reading and writing is allowed: 'rw', 'r', ''."""
    reads = c.command(read_10(0, 1), expected=BLOCK).status == GOOD
    writes = c.command(write_10(0, 1), bytes(BLOCK)).status == GOOD
    return ('r' if reads else '') + ('w' if writes else '')


class Reservations(unittest.TestCase):
    def setUp(self):
        self.target = Target()
        self.connect()

    def connect(self):
        self.alice, self.bob, self.carol = (
            session(self.target, f'iqn.2026-11.org.encsan:{name}') for name in ('alice', 'bob', 'carol'))

    def disconnect(self):
        for c in self.alice, self.bob, self.carol:
            c.close()

    def tearDown(self):
        self.disconnect()
        self.target.remove()

    def register(self, persist=False):
        for c, key in (self.alice, ALICE), (self.bob, BOB):
            self.assertEqual(out(c, REGISTER, 0, key, persist=persist), GOOD)

    def test_access(self):
        """Holder, registrant, stranger under each type."""
        self.register()
        expected = {WRITE_EXCLUSIVE: ('rw', 'r', 'r'), EXCLUSIVE: ('rw', '', ''),
                    WRITE_REGISTRANTS: ('rw', 'rw', 'r'), EXCLUSIVE_REGISTRANTS: ('rw', 'rw', ''),
                    WRITE_ALL: ('rw', 'rw', 'r'), EXCLUSIVE_ALL: ('rw', 'rw', '')}
        for kind, (holder, registrant, stranger) in expected.items():
            with self.subTest(kind=kind):
                self.assertEqual(out(self.alice, RESERVE, ALICE, kind=kind), GOOD)
                self.assertEqual(held(self.carol), (0 if kind in (WRITE_ALL, EXCLUSIVE_ALL) else ALICE, kind))
                self.assertEqual((may(self.alice), may(self.bob), may(self.carol)), (holder, registrant, stranger))
                self.assertEqual(self.carol.command(bytes(6)).status, GOOD)  # TEST UNIT READY
                self.assertEqual(out(self.alice, RELEASE, ALICE, kind=kind), GOOD)
                self.assertEqual(self.bob.clear_attentions(), [] if kind in (WRITE_EXCLUSIVE, EXCLUSIVE) else [RELEASED])

    def test_refused(self):
        self.register()
        self.assertEqual(out(self.carol, RESERVE, CAROL, kind=EXCLUSIVE), CONFLICT)  # not registered
        self.assertEqual(out(self.alice, RESERVE, BOB, kind=EXCLUSIVE), CONFLICT)    # with another's key
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=2), INVALID_CDB)
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=EXCLUSIVE), GOOD)
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=EXCLUSIVE), GOOD)      # again
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=WRITE_EXCLUSIVE), CONFLICT)
        self.assertEqual(out(self.bob, RESERVE, BOB, kind=EXCLUSIVE), CONFLICT)
        self.assertEqual(out(self.bob, RELEASE, BOB, kind=EXCLUSIVE), GOOD)          # nothing happens
        self.assertEqual(out(self.alice, RELEASE, ALICE, kind=WRITE_EXCLUSIVE), INVALID_RELEASE)
        self.assertEqual(out(self.bob, PREEMPT, BOB, 0, kind=EXCLUSIVE), INVALID_LIST)
        self.assertEqual(out(self.bob, PREEMPT, BOB, 0x4711, kind=EXCLUSIVE), CONFLICT)
        self.assertEqual(self.bob.command(bytes([0x16, 0, 0, 0, 0, 0])).status, CONFLICT)  # RESERVE (6)
        self.assertEqual((keys(self.bob), held(self.bob)), ([ALICE, BOB], (ALICE, EXCLUSIVE)))

    def test_register(self):
        self.register()
        self.assertEqual(out(self.alice, REGISTER, 0, 1), CONFLICT)
        self.assertEqual(out(self.alice, REGISTER, ALICE, ALICE + 1), GOOD)
        self.assertEqual(out(self.carol, REGISTER_AND_IGNORE, 0x4711, CAROL), GOOD)
        self.assertEqual(keys(self.bob), [ALICE + 1, BOB, CAROL])
        self.assertEqual(out(self.carol, RESERVE, CAROL, kind=EXCLUSIVE_REGISTRANTS), GOOD)
        status = read_in(self.bob, 3)  # READ FULL STATUS
        for name in b'alice', b'bob', b'carol':
            self.assertIn(b'iqn.2026-11.org.encsan:' + name + b',i,0x800000000001\0', status)
        self.assertEqual(out(self.carol, REGISTER, CAROL, 0), GOOD)  # the holder goes, and so does it
        self.assertEqual(self.bob.clear_attentions(), [RELEASED])
        self.assertEqual((keys(self.bob), held(self.bob)), ([ALICE + 1, BOB], None))

    def test_preempt(self):
        self.register()
        self.assertEqual(out(self.carol, REGISTER, 0, CAROL), GOOD)
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=WRITE_REGISTRANTS), GOOD)
        generation = struct.unpack('>I', read_in(self.bob, 0)[:4])[0]
        self.assertEqual(out(self.bob, PREEMPT, BOB, ALICE, kind=EXCLUSIVE), GOOD)
        self.assertEqual((keys(self.bob), held(self.bob)), ([BOB, CAROL], (BOB, EXCLUSIVE)))
        self.assertEqual(struct.unpack('>I', read_in(self.bob, 0)[:4])[0], generation + 1)
        self.assertEqual(self.alice.clear_attentions(), [REGISTRATION_GONE])
        self.assertEqual(self.carol.clear_attentions(), [RELEASED])
        self.assertEqual((may(self.alice), may(self.bob), may(self.carol)), ('', 'rw', ''))
        self.assertEqual(out(self.carol, PREEMPT, CAROL, BOB, kind=EXCLUSIVE_ALL), GOOD)
        self.assertEqual(held(self.carol), (0, EXCLUSIVE_ALL))
        self.assertEqual(out(self.carol, CLEAR, CAROL), GOOD)
        self.assertEqual((keys(self.carol), held(self.carol)), ([], None))

    def test_preempt_and_abort(self):
        """What the preempted one has begun does not end any more."""
        self.register()
        with session(self.target, 'iqn.2026-11.org.encsan:dave', InitialR2T='Yes', ImmediateData='No') as dave:
            self.assertEqual(out_with_r2t(dave, REGISTER, 0, 0xDA7E), GOOD)
            itt = dave.start(write_10(5, 1), b'x' * BLOCK, immediate=0)
            r = dave.receive()
            self.assertEqual(out(self.alice, PREEMPT_AND_ABORT, ALICE, 0xDA7E, kind=EXCLUSIVE), GOOD)
            dave.data_out(itt, r.ttt, 0, b'x' * BLOCK)
            self.assertEqual(dave.finish(itt).status, ABORTED)
            self.assertEqual(dave.clear_attentions(), [REGISTRATION_GONE])
            self.assertEqual(self.alice.command(read_10(5, 1), expected=BLOCK).data, bytes(BLOCK))

    def test_clear(self):
        self.register()
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=EXCLUSIVE), GOOD)
        self.assertEqual(out(self.bob, CLEAR, BOB), GOOD)
        self.assertEqual(self.alice.clear_attentions(), [PREEMPTED])
        self.assertEqual((keys(self.alice), may(self.carol)), ([], 'rw'))

    # ---- for others ----

    def test_capabilities(self):
        self.assertEqual(read_in(self.alice, 2), bytes([0, 8, 0x0D, 0x80, 0xEA, 1, 0, 0]))  # SIP_C, ATP_C, PTPL_C
        told = self.alice.command(struct.pack('>BBBBHIxx', 0xA3, 0x0C, 2, 0x5F, REGISTER_AND_MOVE, 64), expected=64)
        self.assertEqual(told.data[1] & 7, 3)  # supported

    def test_register_others(self):
        """SPEC_I_PT: who is named is registered, whether there is such a session or not; or nobody is."""
        everybody = [transport_id('bob'), transport_id('nobody', b'\x40\0\1\2\3\4')]
        self.assertEqual(register_too(self.alice, 0, ALICE, everybody), GOOD)
        self.assertEqual(keys(self.carol), [ALICE] * 3)
        self.assertIn(everybody[1], read_in(self.carol, 3))  # READ FULL STATUS
        self.assertEqual(out(self.bob, RESERVE, ALICE, kind=WRITE_REGISTRANTS), GOOD)
        self.assertEqual((may(self.alice), may(self.carol)), ('rw', 'r'))
        self.assertEqual(register_too(self.alice, ALICE, BOB, everybody), INVALID_LIST)  # is registered
        self.assertEqual(register_too(self.carol, 1, CAROL, everybody), CONFLICT)
        self.assertEqual(register_too(self.carol, 0, CAROL, everybody, action=REGISTER_AND_IGNORE), INVALID_LIST)
        self.assertEqual(register_too(self.carol, 0, 0, everybody), INVALID_LIST)
        self.assertEqual(register_too(self.carol, 0, CAROL, everybody, length=4), LIST_LENGTH)
        for wrong in b'', transport_id('bob')[:-4], b'\x44' + transport_id('bob')[1:], transport_id('bob')[:23] + b' ' * 49:
            self.assertEqual(register_too(self.carol, 0, CAROL, [transport_id('dave'), wrong or bytes(24)]), INVALID_LIST)
        self.assertEqual(keys(self.carol), [ALICE] * 3)
        self.assertEqual(register_too(self.carol, 0, CAROL, everybody), GOOD)  # who is already stays what he is
        self.assertEqual(keys(self.carol), [ALICE] * 3 + [CAROL])

    def test_register_device(self):
        """Without an ISID: all its ports that are there."""
        with session(self.target, 'iqn.2026-11.org.encsan:bob', b'\x80\0\0\0\0\2') as second:
            self.assertEqual(register_too(self.alice, 0, ALICE, [transport_id('bob', None)]), GOOD)
            self.assertEqual(out(self.alice, RESERVE, ALICE, kind=EXCLUSIVE_REGISTRANTS), GOOD)
            self.assertEqual((may(self.bob), may(second), may(self.carol)), ('rw', 'rw', ''))

    def test_register_too_many(self):
        self.assertEqual(register_too(self.alice, 0, ALICE, [transport_id(f'n{n}') for n in range(64)]), NO_ROOM)
        self.assertEqual(keys(self.alice), [])
        self.assertEqual(register_too(self.alice, 0, ALICE, [transport_id(f'n{n}') for n in range(63)]), GOOD)
        self.assertEqual(len(keys(self.alice)), 64)

    def test_move(self):
        """The reservation becomes another's, who need not have been registered."""
        self.assertEqual(out(self.alice, REGISTER, 0, ALICE), GOOD)
        self.assertEqual(move(self.carol, CAROL, BOB, transport_id('bob')), CONFLICT)  # not registered
        self.assertEqual(move(self.alice, ALICE, BOB, transport_id('bob')), INVALID_CDB)  # nothing is reserved
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=EXCLUSIVE), GOOD)
        generation = struct.unpack('>I', read_in(self.alice, 0)[:4])[0]
        for to, port in ((transport_id('alice'), 1), (transport_id('bob', None), 1), (transport_id('bob'), 2),
                         (transport_id('bob') + bytes(24), 1)):
            self.assertEqual(move(self.alice, ALICE, BOB, to, port=port), INVALID_LIST)
        self.assertEqual(move(self.alice, ALICE, 0, transport_id('bob')), INVALID_LIST)
        self.assertEqual(move(self.alice, BOB, BOB, transport_id('bob')), CONFLICT)
        self.assertEqual(move(self.alice, ALICE, BOB, transport_id('bob')), GOOD)
        self.assertEqual((keys(self.carol), held(self.carol)), ([ALICE, BOB], (BOB, EXCLUSIVE)))
        self.assertEqual(struct.unpack('>I', read_in(self.alice, 0)[:4])[0], generation + 1)
        self.assertEqual((may(self.alice), may(self.bob)), ('', 'rw'))
        self.assertEqual(move(self.alice, ALICE, CAROL, transport_id('carol')), CONFLICT)  # not the holder any more
        self.assertEqual(move(self.bob, BOB, ALICE + 1, transport_id('alice'), unregister=True), GOOD)
        self.assertEqual((keys(self.carol), held(self.carol)), ([ALICE + 1], (ALICE + 1, EXCLUSIVE)))
        self.assertEqual(out(self.alice, RELEASE, ALICE + 1, kind=EXCLUSIVE), GOOD)
        self.assertEqual(out(self.alice, RESERVE, ALICE + 1, kind=EXCLUSIVE_ALL), GOOD)
        self.assertEqual(move(self.alice, ALICE + 1, BOB, transport_id('bob')), CONFLICT)  # it is everybody's

    def test_move_kept(self):
        self.assertEqual(out(self.alice, REGISTER, 0, ALICE), GOOD)
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=WRITE_EXCLUSIVE), GOOD)
        self.assertEqual(move(self.alice, ALICE, BOB, transport_id('bob'), persist=True), GOOD)
        self.restart()
        self.assertEqual((keys(self.carol), held(self.carol)), ([ALICE, BOB], (BOB, WRITE_EXCLUSIVE)))

    def test_many(self):
        """No more than there is room for."""
        for n in range(64):
            with session(self.target, f'iqn.2026-11.org.encsan:n{n}') as c:
                self.assertEqual(out(c, REGISTER, 0, 1000 + n), GOOD)
        self.assertEqual(out(self.alice, REGISTER, 0, ALICE), NO_ROOM)
        self.assertEqual(len(keys(self.alice)), 64)

    # ---- over restarts ----

    def restart(self):
        if self.target.process.poll() is None:
            self.target.kill()
        self.disconnect()
        self.target.start()
        self.connect()

    def test_kept(self):
        self.register(persist=True)
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=WRITE_EXCLUSIVE), GOOD)
        self.assertEqual(read_in(self.alice, 2)[3] & 1, 1)  # PTPL_A
        generation = read_in(self.alice, 0)[:4]
        self.restart()
        self.assertEqual((keys(self.carol), held(self.carol)), ([ALICE, BOB], (ALICE, WRITE_EXCLUSIVE)))
        self.assertEqual(read_in(self.alice, 0)[:4], generation)
        self.assertEqual((may(self.alice), may(self.bob), may(self.carol)), ('rw', 'r', 'r'))
        self.assertEqual(out(self.bob, PREEMPT, BOB, ALICE, kind=EXCLUSIVE_ALL), GOOD)
        self.restart()
        self.assertEqual((keys(self.bob), held(self.bob)), ([BOB], (0, EXCLUSIVE_ALL)))
        self.assertEqual((may(self.alice), may(self.bob)), ('', 'rw'))
        self.assertEqual(out(self.bob, REGISTER, BOB, BOB), GOOD)  # without APTPL: kept no longer
        self.assertEqual(may(self.alice), '')
        self.restart()
        self.assertEqual((keys(self.bob), held(self.bob), may(self.alice)), ([], None, 'rw'))

    def test_not_kept(self):
        self.register()
        self.assertEqual(out(self.alice, RESERVE, ALICE, kind=EXCLUSIVE), GOOD)
        self.restart()
        self.assertEqual((keys(self.alice), may(self.carol)), ([], 'rw'))

    def test_state_folder(self):
        """They are in --state-dir, where there is one, and go with a disk that is made anew."""
        self.target.options = ['--state-dir', self.target.path('states')]
        self.restart()
        self.register(persist=True)
        self.restart()
        self.assertEqual(keys(self.alice), [ALICE, BOB])
        kept = os.listdir(self.target.path('states'))
        self.assertEqual(len([name for name in kept if name.endswith('.encsan-reservations')]), 1, kept)
        self.target.kill()
        os.remove(self.target.path('disk1'))
        self.restart()
        self.assertEqual(keys(self.alice), [])

    def test_damaged(self):
        """Nobody gets what another has reserved because a file is damaged: a clear error."""
        self.register(persist=True)
        self.target.kill()
        self.disconnect()
        path = self.target.path('disk1.encsan-reservations')
        with open(path, 'rb') as f:
            good = f.read()
        for bad in good[:-10], good.replace(b'type 0', b'type 8'), b'', good[1:]:
            with open(path, 'wb') as f:
                f.write(bad)
            with self.assertRaisesRegex(AssertionError, 'disk1.encsan-reservations: damaged'):
                self.target.start()
        os.remove(path)
        self.target.start()
        self.connect()
        self.assertEqual(keys(self.alice), [])


def out_with_r2t(c, action, key, new):
    """PERSISTENT RESERVE OUT in a session without immediate data."""
    parameters = struct.pack('>QQIBxxx', key, new, 0, 0)
    itt = c.start(struct.pack('>BBBHIB', 0x5F, action, 0, 0, 24, 0), parameters, immediate=0)
    c.data_out(itt, c.receive().ttt, 0, parameters)
    return c.finish(itt).status


if __name__ == '__main__':
    unittest.main()
