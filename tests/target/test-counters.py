# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counters, as Prometheus's own client library reads them, and --status, against what was done."""

import os
import re
import socket
import sys
import time
import unittest
import urllib.error
import urllib.request

sys.path.append('/usr/lib/python3/dist-packages')  # Debian's modules, for a python3 that is not Debian's
from prometheus_client.parser import text_string_to_metric_families

from initiator import *

BLOCK = 512
STRANGE = 'iqn.2026-11.org.encsan:a"b\\c{d="e"}'


class Counters(unittest.TestCase):
    def setUp(self):
        def groups(target):
            return ('[target far]\nname=iqn.2026-11.org.encsan:far\n' + '[initiator laptop]\nkey=' + 43 * 'A' + '=\n' +
                    lun_group(target, 1) + lun_group(target, 2, access='sealed') + lun_group(target, 'far/1', 'far'))

        self.target = ConfiguredTarget(groups, 'metrics=0\n')
        self.addCleanup(self.target.remove)
        self.url = re.search(r'http://127\.0\.0\.1:\d+/', self.target.read_log()).group()

    def fetch(self, path, method='GET'):
        return urllib.request.urlopen(urllib.request.Request(self.url + path, method=method), timeout=PATIENCE)

    def read(self):
        """{(name, (label values, by label)): value}. Families that come twice or samples that do are an error."""
        with self.fetch('metrics') as answer:
            self.assertTrue(answer.headers['Content-Type'].startswith('text/plain; version=0.0.4'))
            text = answer.read().decode()
        values, families = {}, set()
        for family in text_string_to_metric_families(text):
            self.assertNotIn(family.name, families)
            families.add(family.name)
            self.assertTrue(family.documentation)
            self.assertEqual(family.type, 'counter' if f'{family.name}_total ' in text else 'gauge')
            for sample in family.samples:
                self.assertTrue(sample.name in (family.name, family.name + '_total'), sample)
                key = sample.name.removeprefix('encsan_target_'), tuple(v for _, v in sorted(sample.labels.items()))
                self.assertNotIn(key, values)
                values[key] = sample.value
        self.assertEqual(len(values), sum(not line.startswith('#') for line in text.splitlines()))
        return values

    def test_what_was_done(self):
        before = self.read()
        self.assertEqual(before['sessions', ()], 0)
        self.assertEqual(before['lun_size_bytes', ('plain', '1')], 1 << 20)
        self.assertEqual(before['lun_size_bytes', ('sealed', '2')], 1 << 20)
        self.assertEqual(before['lun_size_bytes', ('plain', 'far/1')], 1 << 20)
        alice = 'iqn.2026-11.org.encsan:alice'
        with session(self.target, alice) as c, session(self.target, alice, b'\x80\0\0\0\0\2'), \
                session(self.target, STRANGE) as strange:
            for _ in range(3):
                self.assertEqual(c.command(write_10(0, 8), bytes(8 * BLOCK)).status, GOOD)
            for _ in range(5):
                self.assertEqual(c.command(read_10(0, 2), expected=2 * BLOCK).status, GOOD)
            self.assertEqual(c.command(read_10(5000, 1), expected=BLOCK).status, CHECK)
            self.assertEqual(strange.command(read_10(0, 1), expected=BLOCK).status, GOOD)
            values = self.read()
            self.assertEqual(values['sessions', ()], 3)
            self.assertEqual(values['initiator_sessions', (alice, '1')], 2)
        self.assertEqual(values['commands_total', (alice, '1', 'write')], 3)
        self.assertEqual(values['bytes_total', (alice, '1', 'write')], 3 * 8 * BLOCK)
        self.assertEqual(values['commands_total', (alice, '1', 'read')], 5)
        self.assertEqual(values['bytes_total', (alice, '1', 'read')], 5 * 2 * BLOCK)
        self.assertEqual(values['commands_total', (alice, '1', 'other')], 2)  # TEST UNIT READY, once in each session
        self.assertEqual(values['errors_total', (alice, '1')], 1)
        self.assertEqual(values['bytes_total', (STRANGE, '1', 'read')], BLOCK)
        self.assertEqual(values['errors_total', (STRANGE, '1')], 0)
        self.assertEqual(values['refused_logins_total', ()], 0)
        with Connection(self.target) as c, self.assertRaises(AssertionError):
            c.login(target='iqn.nobody')
        with Connection(self.target) as c:
            c.socket.sendall(bytes(48))  # no login
            self.assertTrue(c.ended())
        values = self.read()
        self.assertEqual((values['refused_logins_total', ()], values['security_events_total', ()]), (1, 1))

    def test_names_cost_nothing(self):
        """Of who has gone only the last ones are remembered; who stays is, and what he has done."""
        with session(self.target) as c:
            self.assertEqual(c.command(read_10(0, 1), expected=BLOCK).status, GOOD)
            for n in range(300):
                session(self.target, f'iqn.2026-11.org.encsan:{n}').close()
            deadline = time.monotonic() + PATIENCE
            values = self.read()
            while sum(name == 'errors_total' for name, _ in values) > 257:  # sessions end when they end
                self.assertLess(time.monotonic(), deadline)
                values = self.read()
            self.assertEqual(values['bytes_total', (c.name, '1', 'read')], BLOCK)
            self.assertNotIn(('errors_total', ('iqn.2026-11.org.encsan:0', '1')), values)
            self.assertIn(('errors_total', ('iqn.2026-11.org.encsan:299', '1')), values)

    def test_http(self):
        with self.fetch('status') as answer:
            self.assertIn('encsan-target', answer.read().decode())
        for path, method, status in ('', 'GET', 404), ('metrics/../../etc/passwd', 'GET', 404), ('metrics', 'PUT', 405):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.fetch(path, method)
            self.assertEqual(caught.exception.code, status)
            caught.exception.close()
        with self.fetch('metrics', 'HEAD') as answer:
            self.assertEqual(answer.read(), b'')
        port = int(self.url.rsplit(':', 1)[1].rstrip('/'))
        with socket.create_connection(('127.0.0.1', port)) as silent, socket.create_connection(('127.0.0.1', port)) as bad:
            silent.sendall(b'GET /met')
            bad.sendall(os.urandom(5000))
            self.assertTrue(self.read())
        with self.assertRaises(ConnectionRefusedError):  # 127.0.0.1 only
            socket.create_connection(('127.0.0.2', port))


if __name__ == '__main__':
    unittest.main()
