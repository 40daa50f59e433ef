# SPDX-License-Identifier: LGPL-2.1-or-later
"""CHAP byte by byte: what stock initiators never do, and may not get in by (RFC 7143, 9.2.1 and 12.1.3)."""

import base64
import hashlib
import os
import struct
import subprocess
import unittest

from initiator import IQN, TRANSIT, Connection, ConfiguredTarget, keys_of, lun_group, text

PASSWORD, TARGET_PASSWORD = b'wonderland-12', b'looking-glass'
AUTHENTICATION_FAILURE, INITIATOR_ERROR = 0x0201, 0x0200
SECURITY_TO_OPERATIONAL, SECURITY, OPERATIONAL_TO_FULL = TRANSIT | 1, 0, TRANSIT | 1 << 2 | 3


def groups(target):
    """A user, and a LUN of that user."""
    return (f'[user alice]\npassword={PASSWORD.decode()}\ntarget-password={TARGET_PASSWORD.decode()}\n' +
            lun_group(target, 1, users='alice'))


def status_of(pdu):
    return struct.unpack_from('>H', pdu.bhs, 36)[0]


def response(said, password=PASSWORD):
    challenge = bytes.fromhex(said['CHAP_C'][2:])
    return hashlib.md5(bytes([int(said['CHAP_I'])]) + password + challenge).digest()


class CHAP(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.target = ConfiguredTarget(groups)

    @classmethod
    def tearDownClass(cls):
        cls.target.stop()
        cls.target.remove()

    def connect(self):
        connection = Connection(self.target)
        self.addCleanup(connection.close)
        return connection

    def begin(self, c):
        """Up to the challenge."""
        answer = c.login_pdu(SECURITY_TO_OPERATIONAL, text(InitiatorName=c.name, SessionType='Normal', TargetName=IQN,
                                                           AuthMethod='CHAP,None'))
        self.assertEqual((status_of(answer), answer.flags & TRANSIT), (0, 0))
        self.assertEqual(keys_of(answer.data)['AuthMethod'], 'CHAP')
        answer = c.login_pdu(SECURITY, text(CHAP_A='7,5'))
        said = keys_of(answer.data)
        self.assertEqual((status_of(answer), said['CHAP_A']), (0, '5'))
        self.assertEqual(len(said['CHAP_C']), 2 + 32)
        return said

    def refused(self, answer, status):
        self.assertEqual(status_of(answer), status)
        self.assertEqual(answer.data, b'')

    def test_right_in_each_notation(self):
        for notation in (lambda r: '0x' + r.hex(), lambda r: '0X' + r.hex().upper(),
                         lambda r: '0b' + base64.b64encode(r).decode()):
            c = self.connect()
            said = self.begin(c)
            answer = c.login_pdu(SECURITY_TO_OPERATIONAL, text(CHAP_N='alice', CHAP_R=notation(response(said))))
            self.assertEqual((status_of(answer), answer.flags), (0, SECURITY_TO_OPERATIONAL))
            answer = c.login_pdu(OPERATIONAL_TO_FULL)
            self.assertEqual((status_of(answer), answer.flags), (0, OPERATIONAL_TO_FULL))
            c.close()

    def test_mutual(self):
        c = self.connect()
        said = self.begin(c)
        answer = c.login_pdu(SECURITY_TO_OPERATIONAL, text(CHAP_N='alice', CHAP_R='0x' + response(said).hex(),
                                                           CHAP_I='200', CHAP_C='0x123'))
        ours = keys_of(answer.data)
        self.assertEqual((status_of(answer), ours['CHAP_N']), (0, IQN))
        self.assertEqual(ours['CHAP_R'], '0x' + hashlib.md5(b'\xc8' + TARGET_PASSWORD + b'\x01\x23').hexdigest())

    def test_own_challenge_sent_back(self):
        c = self.connect()
        said = self.begin(c)
        self.refused(c.login_pdu(SECURITY_TO_OPERATIONAL, text(CHAP_N='alice', CHAP_R='0x' + response(said).hex(),
                                                               CHAP_I='1', CHAP_C=said['CHAP_C'])),
                     AUTHENTICATION_FAILURE)
        self.assertIn('our own challenge', self.target.read_log())

    def test_wrong(self):
        for keys in ({'CHAP_N': 'alice', 'CHAP_R': '0x' + '00' * 16}, {'CHAP_N': 'alice'}, {'CHAP_R': '0x' + '00' * 16},
                     {}, {'CHAP_N': 'alice', 'CHAP_R': '0x'}, {'CHAP_N': 'alice', 'CHAP_R': '0x' + '0' * 4000},
                     {'CHAP_N': 'alice', 'CHAP_R': '0b' + 'A' * 4000}, {'CHAP_N': 'alice', 'CHAP_R': '0xzz'},
                     {'CHAP_N': 'alice', 'CHAP_R': 'what'}, {'CHAP_N': '', 'CHAP_R': '0x' + '00' * 16}):
            c = self.connect()
            self.begin(c)
            self.refused(c.login_pdu(SECURITY_TO_OPERATIONAL, text(**keys)), AUTHENTICATION_FAILURE)
            c.close()

    def test_wrong_with_mutual(self):
        for number, challenge in (('256', '0x00'), ('x', '0x00'), ('', '0x00'), ('1', ''), ('1', '0x' + '0' * 2050)):
            c = self.connect()
            said = self.begin(c)
            self.refused(c.login_pdu(SECURITY_TO_OPERATIONAL, text(CHAP_N='alice', CHAP_R='0x' + response(said).hex(),
                                                                   CHAP_I=number, CHAP_C=challenge)),
                         AUTHENTICATION_FAILURE)
            c.close()

    def test_no_way_around(self):
        c = self.connect()  # a stage further without a response
        self.begin(c)
        self.refused(c.login_pdu(OPERATIONAL_TO_FULL), INITIATOR_ERROR)
        c = self.connect()  # None after all
        self.begin(c)
        self.refused(c.login_pdu(SECURITY_TO_OPERATIONAL, text(AuthMethod='None')), INITIATOR_ERROR)
        c = self.connect()  # another algorithm
        c.login_pdu(SECURITY, text(InitiatorName=c.name, SessionType='Normal', TargetName=IQN, AuthMethod='CHAP'))
        self.refused(c.login_pdu(SECURITY, text(CHAP_A='7')), AUTHENTICATION_FAILURE)
        c = self.connect()  # a response before there is a challenge
        self.refused(c.login_pdu(SECURITY_TO_OPERATIONAL, text(
            InitiatorName=c.name, SessionType='Normal', TargetName=IQN, AuthMethod='CHAP', CHAP_N='alice',
            CHAP_R='0x' + '00' * 16)), INITIATOR_ERROR)

    def test_nobody_has_no_lun(self):
        c = self.connect()
        c.login()
        answer = c.finish(c.start(bytes([0x25]) + bytes(15), expected=8))  # READ CAPACITY
        self.assertEqual(answer.sense[0], 5)
        answer = c.finish(c.start(bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0]) + bytes(6), expected=256, lun=0))
        self.assertEqual(answer.data, bytes(8))  # REPORT LUNS: none


if __name__ == '__main__':
    unittest.main()
