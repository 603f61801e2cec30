# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A lock of a host that somebody else has for a moment."""

from __future__ import annotations

import contextlib
import threading
import time

from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import run_lock

from tests.rig.waiting import PATIENCE


@contextlib.contextmanager
def held_a_moment(path, shared=False):
    """A thread holds the lock for half a second; the event is set at the end of that."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with run_lock(shared=shared, path=path):
            held.set()
            time.sleep(0.5)
            done.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE)
    yield done
    thread.join()
