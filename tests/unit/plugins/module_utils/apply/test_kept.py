# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is kept of a host before it is changed."""

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import kept
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.unit.plugins.module_utils.apply.made_up_host import MadeUpHost, plan
from tests.unit.plugins.module_utils.ollama.test_store import put


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    host = MadeUpHost(tmp_path, monkeypatch)
    host.instance("gpu0", "0.32.15")
    host.apply(plan("0.32.15", "gpu0"))
    return host


def keep(host, names, changed=(), stores=None):
    found = kept.load()
    kept.keep(found, host.files, names, changed, stores or {})
    return found


def test_what_is_kept_is_read_again(host, tmp_path):
    store = Store(str(tmp_path / "store"))
    put(store, parse("tiny"), b"x")
    with open(paths.TEMPLATE_UNIT_FILE, "w", encoding="utf-8") as stream:
        stream.write("[Unit]\n")
    first = keep(host, ["gpu0", "gpu1"], [paths.TEMPLATE_UNIT_FILE], {"gpu0": store})
    assert stat.S_IMODE(os.stat(paths.BEFORE).st_mode) == 0o600
    assert kept.load() == first
    one, other = first.switches[0].instances
    assert (one.active, one.enabled, len(one.manifests)) == (True, True, 1) and not (other.active or other.enabled)
    assert list(first.shared) == [paths.TEMPLATE_UNIT_FILE]
    kinds = {path.rsplit("/", 1)[1]: file.kind for path, file in first.switches[0].files.items()}
    assert kinds == {
        "gpu0.env": "file",
        "gpu0.json": "absent",
        "gpu0": "link",
        "gpu1.env": "absent",
        "gpu1.json": "absent",
        "gpu1": "absent",
    }


def test_the_first_that_is_kept_counts(host):
    keep(host, ["gpu0"])
    for file in host.wanted("gpu0", "0.32.16", "A=9\n"):
        host.files.put(file)
    found = keep(host, ["gpu0"])
    assert len(found.switches) == 1
    kept.put_back(found.switches[0].files, host.files)
    assert host.of("gpu0") == ("0.32.15", "A=1\n")


def test_what_is_kept_belongs_to_the_plan_however_its_file_is_formatted(host):
    first = keep(host, ["gpu0"])
    with open(paths.PLAN, encoding="utf-8") as stream:
        plan_in_force = json.load(stream)
    with open(paths.PLAN, "w", encoding="utf-8") as stream:
        json.dump(plan_in_force, stream, indent=3)
    assert kept.load() == first and first.switches


def test_what_is_kept_for_another_plan_counts_for_nothing(host):
    keep(host, ["gpu0"])
    assert kept.load().switches
    host.apply(plan("0.32.16", "gpu0"))
    assert kept.load() == kept.Kept(kept.load().plan)
    with open(paths.BEFORE, "w", encoding="utf-8") as stream:
        stream.write('{"plan": 1')
    assert kept.load().switches == []


def test_files_get_their_times_back(host):
    """A unit file that is younger than a process would have the process restarted."""
    path = paths.environment_file("gpu0")
    os.utime(path, (1000, 1000))
    found = keep(host, ["gpu0"])
    host.files.put(host.wanted("gpu0", "0.32.15", "A=2\n")[1])
    kept.put_back(found.switches[0].files, host.files)
    assert os.stat(path).st_mtime == 1000
    kept.drop(host.files)
    assert not os.path.exists(paths.BEFORE)
