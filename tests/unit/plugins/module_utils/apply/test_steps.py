# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Waiting for instances that were started."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import steps

INSTANCES = [{"unit": "ollama@gpu0.service", "url": "u"}, {"unit": "ollama@gpu1.service", "url": "v"}]


def test_all_problems_are_said(monkeypatch):
    problems = [None, None]
    monkeypatch.setattr(steps, "wait_for", lambda found, _timeout: [{"problem": problem} for problem in problems])
    steps.wait_until_ready(INSTANCES)
    problems[:] = ["One.", "Two."]
    with pytest.raises(steps.SwitchFailed, match="One. Two."):
        steps.wait_until_ready(INSTANCES)


def test_an_error_is_a_sentence():
    assert steps.sentence(OSError("oh")) == steps.sentence(OSError("oh.")) == "oh."
