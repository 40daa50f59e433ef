# SPDX-License-Identifier: LGPL-2.1-or-later
"""A target of the test's own, and an initiator that speaks iSCSI byte by byte: RFC 7143."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

IQN = 'iqn.2026-11.org.encsan:by-hand'
PATIENCE = 60  # seconds; for answers that must come
NO_TAG = 0xFFFFFFFF

NOP_OUT, COMMAND, TASK_MANAGEMENT, LOGIN, TEXT, DATA_OUT, LOGOUT = range(7)
NOP_IN, RESPONSE, TASK_MANAGEMENT_RESPONSE, LOGIN_RESPONSE, TEXT_RESPONSE, DATA_IN, LOGOUT_RESPONSE = range(0x20, 0x27)
R2T, ASYNCHRONOUS, REJECT = 0x31, 0x32, 0x3F
FINAL, READ, WRITE, TRANSIT, CONTINUE, IMMEDIATE = 0x80, 0x40, 0x20, 0x80, 0x40, 0x40
GOOD, CHECK, CONFLICT, ABORTED = 0x00, 0x02, 0x18, 0x40


def _make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _make_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return struct.pack('<I', crc ^ 0xFFFFFFFF)


def padded(data):
    return data + bytes(-len(data) % 4)


def text(**keys):
    return b''.join(f'{key}={value}'.encode() + b'\0' for key, value in keys.items())


def keys_of(data):
    return dict(pair.decode().split('=', 1) for pair in data.split(b'\0') if pair)


class Target:
    """encsan-target with plain LUNs; its folder goes with it."""

    environment = {}

    def __init__(self, luns=1, megabytes=16):
        fast = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
        self.folder = tempfile.mkdtemp(prefix='encsan-by-hand-', dir=fast)
        self.key = self.path('key')
        subprocess.run([os.environ['ENCSAN'], 'keygen', self.key], check=True, stdout=subprocess.DEVNULL)
        self.luns = [f'{self.path(f"disk{n}")},size={megabytes}M,access=plain' for n in range(1, luns + 1)]
        self.port = 0
        self.options = []
        self.start()

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        self.log = open(self.path('log'), 'ab')
        self.process = subprocess.Popen([os.environ['ENCSAN_TARGET'], *self.arguments()], stdout=subprocess.PIPE,
                                        stderr=self.log, env={**os.environ, **self.environment})
        line = self.process.stdout.readline().decode()
        if not line.startswith('iscsi://'):
            self.kill()
            raise AssertionError(f'encsan-target did not start: {self.read_log()}')
        self.port = int(line.split('/')[2].rsplit(':', 1)[1])

    def arguments(self):
        arguments = ['--listen', f'127.0.0.1:{self.port}', '--name', IQN, '--key', self.key, *self.options]
        for lun in self.luns:
            arguments += ['--lun', lun]
        return arguments

    def read_log(self):
        with open(self.path('log'), 'rb') as log:
            return log.read().decode(errors='replace')

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._close()

    def stop(self):
        """It must end in order."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=PATIENCE)
        self._close()
        assert status == 0, f'exit status {status}: {self.read_log()}'

    def _close(self):
        self.process.stdout.close()
        self.log.close()

    def remove(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)


def lun_group(target, number, name=None, **keys):
    """A plain LUN of 1 MiB, in a configuration; its disk is `name` in the target's folder."""
    keys = {'path': target.path(name or f'disk{number}'), 'size': '1M', 'access': 'plain', **keys}
    return f'[lun {number}]\n' + ''.join(f'{key}={value}\n' for key, value in keys.items() if value)


class ConfiguredTarget(Target):
    """One with a configuration file, which is `head` in [target], and what `groups` makes of it."""

    def __init__(self, groups, head='', environment={}):
        self.groups, self.head, self.environment = groups, head, environment
        super().__init__()

    def arguments(self):
        self.write(self.groups, self.head)
        return ['--config', self.path('conf')]

    def write(self, groups, head=''):
        with open(self.path('conf'), 'w') as conf:
            conf.write(f'[target]\nlisten=127.0.0.1:0\nname={IQN}\nkey={self.key}\n{head}{groups(self)}')

    def until_logged(self, text, count=1):
        deadline = time.monotonic() + PATIENCE
        while self.read_log().count(text) < count:
            assert time.monotonic() < deadline, f'not in the log: {text}\n{self.read_log()}'
            time.sleep(0.02)

    def reload(self, groups=None, head='', says='read again'):
        """The file is what `groups` makes of it now (None: as it is); waits until the log says `says`."""
        if groups:
            self.write(groups, head)
        count = self.read_log().count(says)
        self.process.send_signal(signal.SIGHUP)
        self.until_logged(says, count + 1)


class Pdu:
    def __init__(self, bhs, data):
        self.bhs, self.data = bhs, data
        self.opcode, self.flags = bhs[0] & 0x3F, bhs[1]

    def word(self, offset):
        return struct.unpack_from('>I', self.bhs, offset)[0]

    itt = property(lambda self: self.word(16))
    ttt = property(lambda self: self.word(20))
    stat_sn = property(lambda self: self.word(24))
    exp_cmd_sn = property(lambda self: self.word(28))
    max_cmd_sn = property(lambda self: self.word(32))


class Answer:
    """Of a SCSI command."""

    def __init__(self, status, data=b'', sense=None, residual=0, flags=0):
        self.status, self.data, self.sense, self.residual, self.flags = status, data, sense, residual, flags


class Connection:
    """A TCP connection, before and after login."""

    def __init__(self, target, name='iqn.2026-11.org.encsan:alice', isid=b'\x80\0\0\0\0\1'):
        self.socket = socket.create_connection(('127.0.0.1', target.port), timeout=PATIENCE)
        self.name, self.isid = name, isid
        self.header_digest = self.data_digest = False
        self.cmd_sn, self.exp_stat_sn, self.next_itt = 100, 0, 1
        self.answers = {}

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    # ---- PDUs ----

    def send(self, opcode, flags, itt, fields=(), data=b'', damage=None, lun=0, cmd_sn=None):
        """fields: (offset, bytes)…; damage: 'header' or 'data' spoils that digest."""
        bhs = bytearray(48)
        bhs[0], bhs[1], bhs[9] = opcode, flags, lun
        bhs[5:8] = len(data).to_bytes(3, 'big')
        struct.pack_into('>I', bhs, 16, itt)
        struct.pack_into('>II', bhs, 24, self.cmd_sn if cmd_sn is None else cmd_sn, self.exp_stat_sn)
        for offset, value in fields:
            bhs[offset:offset + len(value)] = value
        out = bytes(bhs)
        if self.header_digest:
            out += crc32c(bhs) if damage != 'header' else b'nope'
        out += padded(data)
        if self.data_digest and data:
            out += crc32c(padded(data)) if damage != 'data' else b'nope'
        self.socket.sendall(out)

    def _read(self, count):
        data = b''
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def receive(self):
        bhs = self._read(48)
        if self.header_digest:
            assert self._read(4) == crc32c(bhs), 'header digest'
        count = int.from_bytes(bhs[5:8], 'big')
        data = self._read(count + -count % 4)
        if self.data_digest and count:
            assert self._read(4) == crc32c(data), 'data digest'
        pdu = Pdu(bhs, data[:count])
        if pdu.opcode not in (R2T,) and not (pdu.opcode == DATA_IN and not pdu.flags & 1):
            assert self.exp_stat_sn in (0, pdu.stat_sn), f'StatSN {pdu.stat_sn}, expected {self.exp_stat_sn}'
            self.exp_stat_sn = pdu.stat_sn + 1
        return pdu

    def ended(self):
        """The target has closed the connection, whatever it said before."""
        try:
            while True:
                self._read(1)
        except (EOFError, ConnectionError):
            return True

    def number(self):
        self.cmd_sn += 1
        return self.cmd_sn - 1

    def tag(self):
        self.next_itt += 1
        return self.next_itt

    # ---- login ----

    def login_pdu(self, flags, data=b'', tsih=0, version=0):
        self.send(LOGIN | IMMEDIATE, flags, 1, [(3, bytes([version])), (8, self.isid), (14, struct.pack('>H', tsih)),
                                                (20, struct.pack('>H', 7))], data)
        return self.receive()

    def login(self, session='Normal', target=IQN, **keys):
        """In one step. Returns the keys of the answer."""
        names = {'InitiatorName': self.name, 'SessionType': session}
        if session == 'Normal':
            names['TargetName'] = target
        answer = self.login_pdu(TRANSIT | 1 << 2 | 3, text(**names, **keys))
        status = struct.unpack_from('>H', answer.bhs, 36)[0]
        assert status == 0, f'login refused: {status:#06x}'
        said = keys_of(answer.data)
        self.header_digest = said.get('HeaderDigest') == 'CRC32C'
        self.data_digest = said.get('DataDigest') == 'CRC32C'
        return said

    # ---- commands ----

    def start(self, cdb, out=b'', expected=0, immediate=None, final=True, lun=1, damage=None):
        """Sends a command; `immediate` bytes of `out` with it. Returns its tag."""
        itt = self.tag()
        writes = WRITE if out else 0
        reads = READ if expected and not out else 0
        data = out if immediate is None else out[:immediate]
        self.send(COMMAND, (FINAL if final else 0) | writes | reads, itt,
                  [(20, struct.pack('>I', len(out) or expected)), (32, cdb)], data, damage, lun, self.number())
        return itt

    def data_out(self, itt, ttt, offset, data, sn=0, final=True, damage=None, lun=1):
        self.send(DATA_OUT, FINAL if final else 0, itt,
                  [(20, struct.pack('>I', ttt)), (36, struct.pack('>II', sn, offset))], data, damage, lun)

    def _collect(self, pdu):
        if pdu.opcode == DATA_IN:
            got = self.answers.setdefault(pdu.itt, bytearray())
            assert pdu.word(40) == len(got), 'Data-In out of order'
            got += pdu.data
            if pdu.flags & 1:
                return Answer(pdu.bhs[3], bytes(self.answers.pop(pdu.itt)), None, pdu.word(44), pdu.flags)
            return None
        assert pdu.opcode == RESPONSE, f'opcode {pdu.opcode:#x}'
        sense = None
        if pdu.bhs[3] == CHECK:
            sense = (pdu.data[4], pdu.data[14], pdu.data[15])
        return Answer(pdu.bhs[3], b'', sense, pdu.word(44), pdu.flags)

    def finish(self, itt):
        """The answer to this command; nothing else may come before it."""
        while True:
            pdu = self.receive()
            assert pdu.itt == itt, f'another answer, {pdu.opcode:#x}'
            answer = self._collect(pdu)
            if answer:
                return answer

    def finish_all(self, tags):
        """The answers to these commands, in whatever order they come; by tag."""
        answers = {}
        while len(answers) < len(tags):
            pdu = self.receive()
            assert pdu.itt in tags, f'another answer, {pdu.opcode:#x}'
            answer = self._collect(pdu)
            if answer:
                answers[pdu.itt] = answer
        return answers

    def command(self, cdb, out=b'', expected=0, lun=1):
        return self.finish(self.start(cdb, out, expected, lun=lun))

    def manage(self, function, referenced=NO_TAG, lun=1):
        itt = self.tag()
        self.send(TASK_MANAGEMENT | IMMEDIATE, FINAL | function, itt, [(20, struct.pack('>I', referenced))], lun=lun)
        pdu = self.receive()
        assert pdu.opcode == TASK_MANAGEMENT_RESPONSE and pdu.itt == itt
        return pdu.bhs[2]

    def clear_attentions(self, lun=1):
        """What TEST UNIT READY reports, until it is GOOD."""
        senses = []
        while True:
            answer = self.command(bytes(6), lun=lun)
            if answer.status != CHECK:
                return senses
            senses.append(answer.sense)


def session(target, name='iqn.2026-11.org.encsan:alice', isid=b'\x80\0\0\0\0\1', lun=1, **keys):
    """Logged in, and without attentions from that LUN."""
    connection = Connection(target, name, isid)
    connection.login(**keys)
    connection.clear_attentions(lun)
    return connection


def write_10(lba, blocks):
    return struct.pack('>BBIBHB', 0x2A, 0, lba, 0, blocks, 0)


def read_10(lba, blocks):
    return struct.pack('>BBIBHB', 0x28, 0, lba, 0, blocks, 0)
