# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A check writes its verdict, and neither loads nor generates."""

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import observing
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.checking import check

from tests.unit.plugins.module_utils.evidence.builders import A, B, observations
from tests.unit.plugins.module_utils.program.host import Host

GIB = 1024**3


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


def kept(host):
    with open(host.places.verdict, encoding="utf-8") as stream:
        return json.load(stream)


def test_the_verdict_is_kept_for_everybody_to_read(host):
    check(host.places)
    assert os.stat(host.places.verdict).st_mode & 0o777 == 0o644
    assert kept(host)["verdict"] == "pass" and kept(host)["instances"][0]["verdict"] == "pass"
    assert kept(host)["ollama_version"] == "0.32.15" and kept(host)["time"].endswith("Z")
    assert host.collected == [{"load": False, "generate": False, "timeout": 30.0, "nvml_timeout": 30.0}]


def test_the_next_check_replaces_it(host):
    check(host.places)
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    assert check(host.places).code == 1 and kept(host)["verdict"] == "fail"
    assert os.listdir(os.path.dirname(host.places.verdict)) == ["verdict.json"]


def test_it_waits_for_nobody_who_loads(host):
    check(host.places)
    before = kept(host)
    host.shows(observations(held={A: 65 * GIB, B: 298 << 20}))
    with run_lock(shared=True, path=host.places.lock):
        answer = check(host.places)
    assert answer.code == 0 and answer.data["checked"] is False and kept(host) == before


def test_a_load_can_begin_while_it_observes(host, monkeypatch):
    def load(*_arguments, **_options):
        with run_lock(shared=True, path=host.places.lock):
            return host.seen

    monkeypatch.setattr(observing, "collect", load)
    assert check(host.places).data["checked"] is True
