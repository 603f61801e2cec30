# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Calls at the same time."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.concurrency import in_parallel


def test_calls_run_at_the_same_time():
    together = threading.Barrier(3, timeout=60)
    in_parallel([together.wait] * 3)


def test_an_error_in_one_thread_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        in_parallel([lambda: 1, lambda: 1 / 0])
