# SPDX-License-Identifier: LGPL-2.1-or-later
"""encsan-target by RFC 7143: logins, texts, digests, data, task management, endings."""

import random
import signal
import struct
import unittest

from initiator import *

BLOCK = 512
RESET = (0x06, 0x29, 0x00)
UNIT_RESET = (0x06, 0x29, 0x03)
DATA_PHASE = (0x0B, 0x4B, 0x00)
SERVICE_CRC = (0x0B, 0x47, 0x05)


def some_bytes(count, seed=1):
    return random.Random(seed).randbytes(count)


class ISCSI(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.target = Target(luns=2)

    @classmethod
    def tearDownClass(cls):
        cls.target.remove()

    def status(self, pdu):
        return struct.unpack_from('>H', pdu.bhs, 36)[0]

    def write_and_read(self, c, seed):
        data = some_bytes(8 * BLOCK, seed)
        self.assertEqual(c.command(write_10(seed, 8), data).status, GOOD)
        self.assertEqual(c.command(read_10(seed, 8), expected=len(data)).data, data)

    # ---- login ----

    def test_login_in_pieces(self):
        """Security stage, then operational, its text cut anywhere (the C bit)."""
        with Connection(self.target) as c:
            r = c.login_pdu(TRANSIT | 0 << 2 | 1, text(InitiatorName=c.name, TargetName=IQN, SessionType='Normal',
                                                      AuthMethod='CHAP,None'))
            self.assertEqual((self.status(r), r.flags), (0, TRANSIT | 0 << 2 | 1))
            self.assertEqual(keys_of(r.data), {'AuthMethod': 'None', 'TargetPortalGroupTag': '1'})
            whole = text(HeaderDigest='None', MaxBurstLength=65536, **{'X-com.example': 1})
            for at in range(0, len(whole) - 1, 7):
                r = c.login_pdu(CONTINUE | 1 << 2, whole[at:min(at + 7, len(whole) - 1)])
                self.assertEqual((self.status(r), r.flags, r.data), (0, 1 << 2, b''))
            r = c.login_pdu(TRANSIT | 1 << 2 | 3, whole[-1:])
            self.assertEqual((self.status(r), r.flags), (0, TRANSIT | 1 << 2 | 3))
            said = keys_of(r.data)
            self.assertEqual((said['HeaderDigest'], said['MaxBurstLength'], said['X-com.example']),
                             ('None', '65536', 'NotUnderstood'))
            self.assertNotEqual(struct.unpack_from('>H', r.bhs, 14)[0], 0)
            self.assertEqual(c.clear_attentions(), [RESET])
            self.write_and_read(c, 1)

    def test_login_results(self):
        """Each key with its result function."""
        cases = {
            'HeaderDigest': ('Unknown,CRC32C,None', 'CRC32C'), 'DataDigest': ('None,CRC32C', 'None'),
            'InitialR2T': ('No', 'No'), 'ImmediateData': ('No', 'No'),
            'DataPDUInOrder': ('No', 'Yes'), 'DataSequenceInOrder': ('Yes', 'Yes'),
            'MaxConnections': ('8', '1'), 'MaxOutstandingR2T': ('2', '2'), 'ErrorRecoveryLevel': ('2', '0'),
            'DefaultTime2Wait': ('5', '5'), 'DefaultTime2Retain': ('20', '0'), 'MaxBurstLength': ('0x4000', '16384'),
            'FirstBurstLength': ('511', 'Reject'), 'TaskReporting': ('ResponseFence', 'Reject'),
            'iSCSIProtocolLevel': ('2', '1'), 'IFMarker': ('Yes', 'Reject'), 'OFMarkInt': ('1~2', 'Reject'),
        }
        with Connection(self.target) as c:
            said = c.login(MaxRecvDataSegmentLength=8192, **{key: value for key, (value, _) in cases.items()})
            for key, (_, expected) in cases.items():
                self.assertEqual(said[key], expected, key)
            self.assertEqual(said['MaxRecvDataSegmentLength'], '262144')

    def test_login_refused(self):
        names = {'InitiatorName': 'iqn.x', 'TargetName': IQN}
        cases = [
            (0x0205, dict(version=1), names),
            (0x0203, {}, {**names, 'TargetName': 'iqn.other'}),
            (0x0207, {}, {'TargetName': IQN}),
            (0x0207, {}, {'InitiatorName': 'iqn.x'}),
            (0x0201, {}, {**names, 'AuthMethod': 'CHAP'}),
            (0x020A, dict(tsih=4711), names),
        ]
        for expected, pdu, keys in cases:
            with self.subTest(expected=expected, keys=keys), Connection(self.target) as c:
                r = c.login_pdu(TRANSIT | 1 << 2 | 3, text(**keys), **pdu)
                self.assertEqual(self.status(r), expected)
                self.assertTrue(c.ended())
        with Connection(self.target) as c:
            r = c.login_pdu(TRANSIT | 1 << 2 | 3, text(**names) + b'MaxBurstLength=512\0MaxBurstLength=512\0')
            self.assertEqual(self.status(r), 0x0200)

    def test_second_connection(self):
        with Connection(self.target) as c, Connection(self.target) as other:
            names = text(InitiatorName=c.name, TargetName=IQN)
            tsih = struct.unpack_from('>H', c.login_pdu(TRANSIT | 1 << 2 | 3, names).bhs, 14)[0]
            r = other.login_pdu(TRANSIT | 1 << 2 | 3, names, tsih=tsih)
            self.assertEqual(self.status(r), 0x0206)
            self.assertEqual(c.clear_attentions(), [RESET])

    def test_reinstatement(self):
        """The same initiator port again: the old session is gone before the new one begins."""
        old = session(self.target)
        self.assertEqual(old.command(bytes([0x16, 0, 0, 0, 0, 0])).status, GOOD)  # RESERVE (6)
        with Connection(self.target) as new, \
                session(self.target, isid=b'\x80\0\0\0\0\2') as other:
            self.assertEqual(other.command(read_10(0, 1), expected=BLOCK).status, CONFLICT)
            new.login()
            self.assertTrue(old.ended())
            self.assertEqual(new.clear_attentions(), [RESET])
            self.assertEqual(other.command(read_10(0, 1), expected=BLOCK).status, GOOD)
        old.close()

    # ---- text ----

    def test_discovery(self):
        with Connection(self.target) as c:
            c.login('Discovery')
            c.send(TEXT, CONTINUE, 5, [(20, b'\xff' * 4)], b'SendTarg', cmd_sn=c.number())
            r = c.receive()
            self.assertEqual((r.opcode, r.flags, r.data), (TEXT_RESPONSE, 0, b''))
            self.assertNotEqual(r.ttt, NO_TAG)
            c.send(TEXT, FINAL, 5, [(20, struct.pack('>I', r.ttt))], b'ets=All\0', cmd_sn=c.number())
            r = c.receive()
            self.assertEqual((r.flags, r.ttt), (FINAL, NO_TAG))
            self.assertEqual(keys_of(r.data), {'TargetName': IQN, 'TargetAddress': f'127.0.0.1:{self.target.port},1'})
            c.send(COMMAND, FINAL, 6, cmd_sn=c.number())
            self.assertTrue(c.ended())

    def test_long_answer(self):
        """In pieces that the initiator asks for."""
        with session(self.target, MaxRecvDataSegmentLength=512) as c:
            c.send(TEXT, FINAL, 9, [(20, b'\xff' * 4)], text(**{f'X-{n}': n for n in range(100)}), cmd_sn=c.number())
            got, r = b'', c.receive()
            while r.flags & CONTINUE:
                self.assertEqual((len(r.data), r.flags), (512, CONTINUE))
                got += r.data
                c.send(TEXT, FINAL, 9, [(20, struct.pack('>I', r.ttt))], cmd_sn=c.number())
                r = c.receive()
            self.assertEqual(keys_of(got + r.data), {f'X-{n}': 'NotUnderstood' for n in range(100)})
            c.send(TEXT, FINAL, 10, [(20, b'\xff' * 4)], text(SendTargets='All', MaxBurstLength=512,
                                                             MaxRecvDataSegmentLength=1024), cmd_sn=c.number())
            self.assertEqual(keys_of(c.receive().data), {'SendTargets': 'Reject', 'MaxBurstLength': 'Reject'})
            itt = c.start(read_10(0, 4), expected=4 * BLOCK)
            self.assertEqual(len(c.receive().data), 1024)
            c.answers[itt] = bytearray(1024)
            self.assertEqual(c.finish(itt).status, GOOD)
            c.send(TEXT, FINAL, 11, [(20, b'\0\0\0\x63')], b'', cmd_sn=c.number())
            self.assertEqual(c.receive().opcode, REJECT)

    # ---- digests ----

    def test_digests(self):
        for header in 'None', 'CRC32C':
            for data in 'None', 'CRC32C':
                with self.subTest(header=header, data=data), \
                        session(self.target, HeaderDigest=header, DataDigest=data) as c:
                    self.write_and_read(c, 20)
                    c.send(NOP_OUT, FINAL, 3, [(20, b'\xff' * 4)], b'echo!', cmd_sn=c.number())
                    r = c.receive()
                    self.assertEqual((r.opcode, r.data), (NOP_IN, b'echo!'))

    def test_bad_digests(self):
        with session(self.target, HeaderDigest='CRC32C', DataDigest='CRC32C') as c:
            self.write_and_read(c, 30)
            itt = c.start(write_10(30, 1), bytes(BLOCK), damage='data')
            self.assertEqual((c.receive().opcode), REJECT)
            self.assertEqual(c.finish(itt).sense, SERVICE_CRC)
            self.assertEqual(c.command(read_10(30, 8), expected=8 * BLOCK).data, some_bytes(8 * BLOCK, 30))
            c.start(read_10(30, 1), expected=BLOCK, damage='header')
            self.assertTrue(c.ended())

    # ---- data ----

    def test_unsolicited(self):
        """Immediate data, then Data-Out that nobody asked for."""
        data = some_bytes(16 * BLOCK, 40)
        with session(self.target, InitialR2T='No', ImmediateData='Yes', FirstBurstLength=65536) as c:
            itt = c.start(write_10(40, 16), data, immediate=1000, final=False)
            c.data_out(itt, NO_TAG, 1000, data[1000:4001], 0, final=False)
            c.data_out(itt, NO_TAG, 4001, data[4001:], 1)
            self.assertEqual(c.finish(itt).status, GOOD)
            self.assertEqual(c.command(read_10(40, 16), expected=len(data)).data, data)
        with session(self.target, InitialR2T='Yes', ImmediateData='No') as c:
            c.start(write_10(40, 1), bytes(BLOCK))
            self.assertTrue(c.ended())

    def test_r2t(self):
        """As many at a time as were agreed on, in order, until all is there."""
        data = some_bytes(16 * BLOCK, 50)
        with session(self.target, InitialR2T='Yes', ImmediateData='Yes', MaxBurstLength=1024,
                     MaxOutstandingR2T=2) as c:
            itt = c.start(write_10(50, 16), data, immediate=100)
            asked = [c.receive(), c.receive()]
            for n in range(8):
                r = asked.pop(0)
                offset, length = r.word(40), r.word(44)
                self.assertEqual((r.opcode, r.itt, r.word(36), offset), (R2T, itt, n, 100 + 1024 * n))
                self.assertEqual(length, min(1024, len(data) - offset))
                c.data_out(itt, r.ttt, offset, data[offset:offset + 500], 0, final=False)
                c.data_out(itt, r.ttt, offset + 500, data[offset + 500:offset + length], 1)
                if n < 6:
                    asked.append(c.receive())
            self.assertEqual(c.finish(itt).status, GOOD)
            self.assertEqual(c.command(read_10(50, 16), expected=len(data)).data, data)

    def test_data_out_of_order(self):
        """Costs the command, not the session; what was asked for is still awaited."""
        with session(self.target, InitialR2T='Yes', ImmediateData='No', MaxBurstLength=1024,
                     MaxOutstandingR2T=2) as c:
            self.write_and_read_with_r2t(c)
            itt = c.start(write_10(60, 4), bytes(4 * BLOCK), immediate=0)
            first, second = c.receive(), c.receive()
            c.data_out(itt, first.ttt, 0, bytes(1024), sn=5)
            c.data_out(itt, second.ttt, 1024, bytes(1024))
            self.assertEqual(c.finish(itt).sense, DATA_PHASE)
            self.assertEqual(c.command(read_10(60, 4), expected=4 * BLOCK).data, some_bytes(4 * BLOCK, 60))

    def write_and_read_with_r2t(self, c):
        data = some_bytes(4 * BLOCK, 60)
        itt = c.start(write_10(60, 4), data, immediate=0)
        for r in [c.receive(), c.receive()]:
            c.data_out(itt, r.ttt, r.word(40), data[r.word(40):r.word(40) + 1024])
        self.assertEqual(c.finish(itt).status, GOOD)

    def test_data_in(self):
        """In bursts of MaxBurstLength, PDUs of the initiator's length, status with the last."""
        with session(self.target, MaxRecvDataSegmentLength=1024, MaxBurstLength=1536) as c:
            itt = c.start(read_10(0, 8), expected=5000)
            pdus = [c.receive() for _ in range(5)]
            self.assertEqual([len(p.data) for p in pdus], [1024, 512, 1024, 512, 1024])
            self.assertEqual([p.word(36) for p in pdus], [0, 1, 2, 3, 4])  # DataSN
            self.assertEqual([bool(p.flags & FINAL) for p in pdus], [False, True, False, True, True])
            self.assertEqual([p.flags & 1 for p in pdus], [0, 0, 0, 0, 1])  # status
            self.assertEqual((pdus[-1].flags & 2, pdus[-1].word(44)), (2, 5000 - 8 * BLOCK))
            self.assertEqual(pdus[-1].itt, itt)

    # ---- numbers ----

    def test_window(self):
        with session(self.target) as c:
            c.send(NOP_OUT, FINAL, 3, [(20, b'\xff' * 4)], cmd_sn=c.number())
            r = c.receive()
            self.assertEqual(r.exp_cmd_sn, c.cmd_sn)
            self.assertEqual(r.max_cmd_sn - r.exp_cmd_sn, 127)
            for outside in r.exp_cmd_sn - 1, r.max_cmd_sn + 1:  # dropped in silence
                c.send(NOP_OUT, FINAL, 4, [(20, b'\xff' * 4)], b'not me', cmd_sn=outside)
            c.send(NOP_OUT, FINAL, 5, [(20, b'\xff' * 4)], b'me', cmd_sn=c.number())
            self.assertEqual(c.receive().data, b'me')
            c.send(NOP_OUT | IMMEDIATE, FINAL, 6, [(20, b'\xff' * 4)], b'at once')
            r = c.receive()
            self.assertEqual((r.data, r.exp_cmd_sn), (b'at once', c.cmd_sn))
            c.send(NOP_OUT, FINAL, 7, cmd_sn=c.cmd_sn + 1)
            self.assertTrue(c.ended())

    def test_rejected(self):
        with session(self.target) as c:
            c.send(0x10, FINAL, 3, data=b'SNACK')
            r = c.receive()
            self.assertEqual((r.opcode, r.bhs[2], r.data[0]), (REJECT, 5, 0x10))
            self.write_and_read(c, 70)

    # ---- task management ----

    def test_abort(self):
        with session(self.target, InitialR2T='Yes', ImmediateData='No') as c:
            itt = c.start(write_10(80, 1), bytes(BLOCK), immediate=0)
            r = c.receive()
            self.assertEqual(c.manage(1, itt), 0)       # ABORT TASK
            self.assertEqual(c.manage(1, itt), 1)       # there is none any more
            c.data_out(itt, r.ttt, 0, bytes(BLOCK))     # was on its way
            itt = c.start(write_10(80, 1), bytes(BLOCK), immediate=0)
            c.receive()
            self.assertEqual(c.manage(2), 0)            # ABORT TASK SET
            self.assertEqual(c.manage(1, itt), 1)
            itt = c.start(write_10(80, 1), bytes(BLOCK), immediate=0)
            c.receive()
            self.assertEqual(c.manage(4), 0)            # CLEAR TASK SET
            self.assertEqual(c.manage(3), 5)            # CLEAR ACA: there is no ACA
            self.assertEqual(c.manage(7), 5)            # TARGET COLD RESET
            self.assertEqual(c.manage(8), 4)            # TASK REASSIGN
            self.assertEqual(c.manage(5, lun=9), 2)     # no such LUN
            self.assertEqual(c.command(read_10(0, 1), expected=BLOCK).status, GOOD)

    def test_reset(self):
        """A reset aborts the tasks of all sessions, and each of them hears of it."""
        for function in 5, 6:  # LOGICAL UNIT RESET, TARGET WARM RESET
            with self.subTest(function=function), session(self.target) as c, \
                    session(self.target, 'iqn.2026-11.org.encsan:bob', InitialR2T='Yes', ImmediateData='No') as bob:
                self.assertEqual(bob.command(bytes([0x16, 0, 0, 0, 0, 0]), lun=1).status, GOOD)  # RESERVE (6)
                itt = bob.start(write_10(90, 1), bytes(BLOCK), immediate=0)
                r = bob.receive()
                self.assertEqual(c.manage(function), 0)
                self.assertEqual(c.clear_attentions(), [UNIT_RESET])
                bob.data_out(itt, r.ttt, 0, b'x' * BLOCK)
                self.assertEqual(bob.finish(itt).status, ABORTED)
                self.assertEqual(bob.clear_attentions(), [UNIT_RESET])
                self.assertEqual(c.command(read_10(90, 1), expected=BLOCK).data, bytes(BLOCK))

    # ---- endings ----

    def test_logout(self):
        with session(self.target) as c:
            c.send(LOGOUT, FINAL | 1, 3, [(20, struct.pack('>H', 8))], cmd_sn=c.number())
            self.assertEqual(c.receive().bhs[2], 1)  # another CID
            c.send(LOGOUT, FINAL | 2, 4, [(20, struct.pack('>H', 7))], cmd_sn=c.number())
            self.assertEqual(c.receive().bhs[2], 2)  # no recovery
            c.send(LOGOUT, FINAL | 0, 5, cmd_sn=c.number())
            self.assertEqual((c.receive().bhs[2]), 0)
            self.assertTrue(c.ended())


class Shutdown(unittest.TestCase):
    def test_asynchronous_message(self):
        """Sessions are asked to log out; who does not is cut off."""
        target = Target()
        with session(target) as c, session(target, 'iqn.2026-11.org.encsan:deaf') as deaf:
            target.process.send_signal(signal.SIGTERM)
            r = c.receive()
            self.assertEqual((r.opcode, r.itt, r.bhs[36]), (ASYNCHRONOUS, NO_TAG, 1))
            c.send(LOGOUT, FINAL | 0, 5, cmd_sn=c.number())
            self.assertEqual(c.receive().opcode, LOGOUT_RESPONSE)
            self.assertTrue(c.ended())
            self.assertTrue(deaf.ended())
        target.stop()
        target.remove()


if __name__ == '__main__':
    unittest.main()
