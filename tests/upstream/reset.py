# SPDX-License-Identifier: LGPL-2.1-or-later
"""reset.py IQN PORT: an initiator of its own resets LUN 1 of that target on this machine."""

import os
import sys
import types

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'target'))
from initiator import *

with Connection(types.SimpleNamespace(port=int(sys.argv[2])), 'iqn.2026-11.org.encsan:resets') as c:
    c.login(target=sys.argv[1])
    c.clear_attentions()
    assert c.manage(5) == 0
