# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGHUP: LUNs, targets and users come and go, and who has nothing to do with it does not notice."""

import hashlib
import os
import socket
import struct
import threading
import time
import unittest

from initiator import *

BLOCK = 512
LUNS_CHANGED, CAPACITY_CHANGED, MODE_CHANGED = (0x06, 0x3F, 0x0E), (0x06, 0x2A, 0x09), (0x06, 0x2A, 0x01)
NO_SUCH_LUN, PROTECTED, POWER_ON = (0x05, 0x25, 0x00), (0x07, 0x27, 0x00), (0x06, 0x29, 0x00)
OTHER_IQN = 'iqn.2026-11.org.encsan:other'
PASSWORDS = {'alice': 'wonderland-12', 'bob': 'builder-of-14'}


def report_luns(c):
    data = c.command(struct.pack('>BBBxxxIxx', 0xA0, 0, 0, 4096), expected=4096, lun=0).data
    return [data[at + 1] for at in range(8, len(data), 8)]


def blocks_of(c, lun=1):
    return struct.unpack('>I', c.command(bytes([0x25]) + bytes(9), expected=8, lun=lun).data[:4])[0] + 1


def is_well(c, lun=1):
    """It writes and reads, and hears of nothing."""
    data = os.urandom(BLOCK)
    return (c.command(write_10(7, 1), data, lun=lun).status == GOOD and
            c.command(read_10(7, 1), expected=BLOCK, lun=lun).data == data)


def luns(*numbers, **keys):
    return lambda target: ''.join(lun_group(target, number, **keys) for number in numbers)


def user(name, password=None):
    return f'[user {name}]\npassword={password or PASSWORDS[name]}\n'


def log_in_as(test, name, password=None):
    """By CHAP; None: refused."""
    c = Connection(test.target, f'iqn.2026-11.org.encsan:{name}')
    test.addCleanup(c.close)
    c.login_pdu(TRANSIT | 1, text(InitiatorName=c.name, SessionType='Normal', TargetName=IQN, AuthMethod='CHAP'))
    said = keys_of(c.login_pdu(0, text(CHAP_A='5')).data)
    proof = hashlib.md5(bytes([int(said['CHAP_I'])]) + (password or PASSWORDS[name]).encode() +
                        bytes.fromhex(said['CHAP_C'][2:])).hexdigest()
    answer = c.login_pdu(TRANSIT | 1, text(CHAP_N=name, CHAP_R='0x' + proof))
    if answer.bhs[36:38] != b'\0\0':
        return None
    c.login_pdu(TRANSIT | 1 << 2 | 3)
    c.clear_attentions()
    return c


class Reload(unittest.TestCase):
    def start(self, groups, head='', environment={}):
        self.target = ConfiguredTarget(groups, head, environment)
        self.addCleanup(self.target.remove)

    def session(self, name='alice', **keys):
        c = session(self.target, f'iqn.2026-11.org.encsan:{name}', **keys)
        self.addCleanup(c.close)
        return c

    def refused(self, groups, says, head=''):
        """Nothing changes, and one line says why."""
        before = self.target.read_log()
        self.target.reload(groups, head, 'nothing has changed: ')
        said = [line for line in self.target.read_log()[len(before):].splitlines() if ': closed' not in line]
        self.assertEqual(len(said), 1, said)
        self.assertIn(says.replace('CONF', self.target.path('conf')), said[0])

    def test_added(self):
        self.start(luns(1, 5))
        c = self.session()
        self.target.reload(luns(1, 3, 5))
        self.assertEqual(c.clear_attentions(), [LUNS_CHANGED])
        self.assertEqual(report_luns(c), [1, 3, 5])
        self.assertEqual(c.clear_attentions(lun=3), [POWER_ON])
        for lun in 1, 3, 5:
            c.clear_attentions(lun=lun)
            self.assertTrue(is_well(c, lun))
        self.target.reload(luns(1, 2, 3, 5))
        self.assertEqual(report_luns(c), [1, 2, 3, 5])
        self.assertEqual(c.clear_attentions(), [])  # REPORT LUNS has told

    def test_removed(self):
        """What was begun ends, also a write whose data comes later; the disk is free for another LUN."""
        self.start(luns(1, 2))
        c, other = self.session(), self.session('bob')
        c.clear_attentions(lun=2)
        late = c.start(write_10(0, 16), bytes(16 * BLOCK), immediate=0, lun=2)
        r2t = c.receive()
        self.assertEqual(r2t.opcode, R2T)
        self.target.reload(luns(1))
        self.target.until_logged('LUN 2: closed')
        c.data_out(late, r2t.ttt, 0, bytes(16 * BLOCK), lun=2)
        self.assertEqual(c.finish(late).sense, NO_SUCH_LUN)
        self.assertEqual(c.command(bytes(6), lun=2).sense, NO_SUCH_LUN)
        self.assertEqual(c.command(read_10(0, 1), expected=BLOCK, lun=2).sense, NO_SUCH_LUN)
        self.assertEqual(c.manage(5, lun=2), 2)
        for session in c, other:
            self.assertEqual(session.clear_attentions(), [LUNS_CHANGED])
            self.assertEqual(report_luns(session), [1])
            self.assertTrue(is_well(session))
        self.target.reload(lambda t: luns(1)(t) + lun_group(t, 9, 'disk2'))
        self.assertEqual(c.clear_attentions(lun=9), [POWER_ON, LUNS_CHANGED])
        self.assertTrue(is_well(c, 9))
        self.refused(luns(1, 2), 'CONF:9: [lun 2] path=' + self.target.path('disk2') + ': it is open as the plain LUN 9')
        self.assertTrue(is_well(c, 9))

    def test_grown(self):
        self.start(luns(1, 2))
        c = self.session()
        c.clear_attentions(lun=2)
        self.assertEqual(blocks_of(c), 2048)
        self.target.reload(lambda t: lun_group(t, 1, size='3M') + lun_group(t, 2))
        self.assertEqual(c.clear_attentions(), [CAPACITY_CHANGED])
        self.assertEqual(blocks_of(c), 3 * 2048)
        self.assertEqual(c.command(write_10(3 * 2048 - 1, 1), bytes(BLOCK)).status, GOOD)
        self.assertTrue(is_well(c, 2))
        os.truncate(self.target.path('disk2'), 2 << 20)  # by hand, and size= says nothing
        self.target.reload(lambda t: lun_group(t, 1, size='3M') + lun_group(t, 2, size=None))
        self.assertEqual(c.clear_attentions(lun=2), [CAPACITY_CHANGED])
        self.assertEqual(blocks_of(c, 2), 2 * 2048)
        self.refused(lambda t: lun_group(t, 1, size='2M') + lun_group(t, 2, size=None),
                     'CONF:5: [lun 1] ' + self.target.path('disk1') + ': has 3145728 bytes, more than size=')
        self.assertTrue(is_well(c) and is_well(c, 2))

    def test_read_only(self):
        self.start(luns(1))
        c = self.session()
        self.target.reload(luns(1, access='read-only'))
        self.assertEqual(c.clear_attentions(), [MODE_CHANGED])
        self.assertEqual(c.command(write_10(0, 1), bytes(BLOCK)).sense, PROTECTED)
        self.assertEqual(c.command(read_10(0, 1), expected=BLOCK).status, GOOD)
        self.target.reload(luns(1))
        self.assertEqual(c.clear_attentions(), [MODE_CHANGED])
        self.assertTrue(is_well(c))

    def test_wrong(self):
        """All of it holds, or nothing."""
        self.start(luns(1, 2))
        c = self.session()
        self.refused(lambda t: luns(1, 2, 3)(t) + 'colour=red\n', 'CONF:17: [lun 3] colour= is unknown here')
        self.refused(lambda t: '', 'a group [lun 1] is needed')
        self.refused(lambda t: luns(1, 2, 3)(t) + lun_group(t, 4, size=None),
                     'CONF:17: [lun 4] ' + self.target.path('disk4') + ': no such file')
        self.refused(lambda t: lun_group(t, 1) + lun_group(t, 3, 'disk2'), 'CONF:9: [lun 3] path=')
        self.refused(lambda t: '[initiator a]\nkey=' + 43 * 'A' + '=\n' + lun_group(t, 1, access='sealed'),
                     'CONF:7: [lun 1] path=')
        os.remove(self.target.path('conf'))
        self.refused(None, 'No such file or directory')
        self.assertEqual(report_luns(c), [1, 2])
        self.assertTrue(is_well(c))
        self.target.reload(luns(1, 2, 3))
        self.assertEqual(report_luns(c), [1, 2, 3])

    def test_not_without_a_restart(self):
        self.start(luns(1))
        c = self.session()
        before = self.target.read_log()
        self.target.reload(luns(1), head=f'state-dir={self.target.folder}\nlog=syslog\nsessions=2\n',
                           says='as before, until a restart')
        self.assertEqual(self.target.read_log()[len(before):].splitlines()[-1],
                         f'encsan-target: {self.target.path("conf")}: state-dir=, log=: as before, until a restart')
        self.assertTrue(is_well(c))
        self.session('bob')
        with Connection(self.target) as third:
            self.assertTrue(third.ended())

    def test_users(self):
        """Who is not there any more, or has another password now, is gone; the other one stays."""
        mine = lambda t: lun_group(t, 1) + lun_group(t, 2, users='alice;bob') + lun_group(t, 3, users='bob')
        self.start(lambda t: user('alice') + user('bob') + mine(t))
        alice, bob, nobody = log_in_as(self, 'alice'), log_in_as(self, 'bob'), self.session('nobody')
        self.assertEqual((report_luns(alice), report_luns(bob), report_luns(nobody)), ([1, 2], [1, 2, 3], [1]))
        bob.clear_attentions(lun=3), bob.clear_attentions(lun=2), alice.clear_attentions(lun=2)
        self.assertEqual(bob.command(bytes([0x16, 0, 0, 0, 0, 0]), lun=2).status, GOOD)  # RESERVE (6)
        self.assertEqual(alice.command(bytes(6), lun=2).status, CONFLICT)
        self.target.reload(lambda t: user('alice') + user('bob') + lun_group(t, 1) + lun_group(t, 2, users='alice') +
                           lun_group(t, 3, users='bob'))
        self.assertEqual(bob.command(bytes(6), lun=2).sense, NO_SUCH_LUN)
        self.assertEqual(bob.clear_attentions(lun=3), [LUNS_CHANGED])
        self.assertTrue(is_well(alice) and is_well(alice, 2) and is_well(bob, 3) and is_well(nobody))
        self.target.reload(lambda t: user('alice', 'another-pass') + user('bob') + mine(t))
        self.assertTrue(alice.ended())
        self.assertIsNone(log_in_as(self, 'alice'))
        alice = log_in_as(self, 'alice', 'another-pass')
        self.assertEqual((report_luns(alice), report_luns(bob)), ([1, 2], [1, 2, 3]))
        self.target.reload(lambda t: user('alice', 'another-pass') + lun_group(t, 1) + lun_group(t, 2, users='alice'))
        self.assertTrue(bob.ended())
        self.assertEqual(alice.clear_attentions(), [])  # her LUNs are the same
        self.assertTrue(is_well(alice) and is_well(nobody))

    def test_targets(self):
        """Several in one process, each with LUNs of its own."""
        other = f'[target far]\nname={OTHER_IQN}\n'
        self.start(lambda t: other + lun_group(t, 1) + lun_group(t, 'far/1', 'far', size='2M') + 
                   lun_group(t, 'far/4', 'four'))
        with Connection(self.target) as c:
            c.login(session='Discovery')
            c.send(TEXT, FINAL, c.tag(), [(20, b'\xff\xff\xff\xff')], text(SendTargets='All'), cmd_sn=c.number())
            names = [line[11:] for line in c.receive().data.decode().split('\0') if line.startswith('TargetName=')]
            self.assertEqual(names, [IQN, OTHER_IQN])
        near = self.session()
        far = Connection(self.target, 'iqn.2026-11.org.encsan:alice', b'\x80\0\0\0\0\2')
        self.addCleanup(far.close)
        far.login(target=OTHER_IQN)
        far.clear_attentions(), far.clear_attentions(lun=4)
        self.assertEqual((report_luns(near), report_luns(far)), ([1], [1, 4]))
        self.assertEqual((blocks_of(near), blocks_of(far)), (2048, 2 * 2048))
        page = bytes([0x12, 1, 0x83, 0, 255, 0])
        self.assertNotEqual(near.command(page, expected=255).data[:16], far.command(page, expected=255).data[:16])
        self.assertIn(OTHER_IQN.encode(), far.command(page, expected=255).data)
        self.target.reload(lambda t: other + lun_group(t, 1) + lun_group(t, 'far/1', 'far', size='2M'))
        self.target.until_logged('LUN far/4: removed')
        self.assertEqual(near.clear_attentions(), [])
        self.assertEqual(far.clear_attentions(), [LUNS_CHANGED])
        self.target.reload(luns(1))
        self.assertTrue(far.ended())
        self.assertTrue(is_well(near))
        with Connection(self.target) as c, self.assertRaisesRegex(AssertionError, '0x0203'):
            c.login(target=OTHER_IQN)

    def test_window(self):
        """As many commands as the window says; sessions that come later have the new one."""
        self.start(luns(1), 'window=5\n')
        with Connection(self.target) as c:
            answer = c.login_pdu(TRANSIT | 1 << 2 | 3, text(InitiatorName=c.name, TargetName=IQN))
            self.assertEqual(answer.max_cmd_sn - answer.exp_cmd_sn, 4)
        self.target.reload(luns(1), 'window=7\n')
        with Connection(self.target) as c:
            answer = c.login_pdu(TRANSIT | 1 << 2 | 3, text(InitiatorName=c.name, TargetName=IQN))
            self.assertEqual(answer.max_cmd_sn - answer.exp_cmd_sn, 6)

    def test_service_manager(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind('\0encsan-reload-%d' % os.getpid())
            manager.settimeout(PATIENCE)
            self.start(luns(1), environment={'NOTIFY_SOCKET': '@encsan-reload-%d' % os.getpid()})
            self.assertEqual(manager.recv(4096), b'READY=1')
            for says in 'read again', 'nothing has changed':
                before = time.monotonic_ns() // 1000
                self.target.reload(says=says)
                state, when = manager.recv(4096).split(b'\n')
                self.assertEqual((state, when[:15]), (b'RELOADING=1', b'MONOTONIC_USEC='))
                self.assertTrue(before <= int(when[15:]) <= time.monotonic_ns() // 1000)
                self.assertEqual(manager.recv(4096), b'READY=1')
                self.target.write(lambda t: '[what]\n')

    def test_under_load(self):
        """LUNs come and go, and files are broken, while two sessions write and read."""
        self.start(luns(1, 2))
        wrong, ending = [], threading.Event()

        def work(c, lun):
            while not ending.is_set():
                if not is_well(c, lun):
                    wrong.append(lun)
                    return

        sessions = [(self.session('alice'), 1), (self.session('bob'), 2)]
        for c, lun in sessions:
            c.clear_attentions(lun=lun)
            report_luns(c)
        # what comes and goes is carol's: it is no news for these two
        workers = [threading.Thread(target=work, args=s) for s in sessions]
        third = lambda n: lambda t: user('carol', PASSWORDS['alice']) + luns(1, 2)(t) + lun_group(t, n, users='carol')
        self.target.reload(third(3))
        for worker in workers:
            worker.start()
        try:
            for n in range(4, 40):
                self.target.reload(third(n), says='read again')
                self.refused(lambda t: luns(1)(t) + '[lun x]\n', '[lun x]')
        finally:
            ending.set()
            for worker in workers:
                worker.join()
        self.assertEqual(wrong, [])
        self.target.until_logged('closed', 36)


if __name__ == '__main__':
    unittest.main()
