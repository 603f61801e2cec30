# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a host shows of its plan, and what keeps it from being seen."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import LibraryMissing
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import observing
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import CANNOT, Refused

from tests.unit.plugins.module_utils.evidence.builders import observations, plan


@pytest.mark.parametrize("error", [LibraryMissing("requests"), OllamaError(None, "the url is wrong")])
def test_what_cannot_be_observed_is_a_sentence(monkeypatch, error):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(observing, "collect", fail)
    with pytest.raises(Refused) as refused:
        observing.observe(plan())
    assert refused.value.code == CANNOT and str(refused.value).endswith(".")


def test_evidence_has_its_time(monkeypatch):
    monkeypatch.setattr(observing, "collect", lambda *_arguments, **_options: observations())
    data = observing.observe(plan()).data()
    assert data["verdict"] == "pass" and datetime.datetime.strptime(data["time"], "%Y-%m-%dT%H:%M:%SZ")


def test_times_are_in_utc():
    east = datetime.timezone(datetime.timedelta(hours=2))
    assert observing.text_of(datetime.datetime(2026, 11, 28, 0, 30, tzinfo=east)) == "2026-11-27T22:30:00Z"
