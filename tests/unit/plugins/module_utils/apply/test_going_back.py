# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Going back, and going back that fails itself."""

from __future__ import annotations

import os
import shutil

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import going_back, kept
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.unit.plugins.module_utils.apply.made_up_host import MadeUpHost, plan
from tests.unit.plugins.module_utils.ollama.test_store import put

OLD, NEW = "0.32.14", "0.32.15"


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    """A host whose two instances were switched to another release, one after the other."""
    host = MadeUpHost(tmp_path, monkeypatch)
    for name in ("gpu0", "gpu1"):
        host.instance(name, OLD)
    host.apply(plan(OLD, "gpu0", "gpu1"))
    found = kept.load()
    for name in ("gpu0", "gpu1"):
        kept.keep(found, host.files, [name], [paths.TEMPLATE_UNIT_FILE], {})
        host.instance(name, NEW, "A=2\n")
    host.files.put(kept.WantedFile(paths.TEMPLATE_UNIT_FILE, content=b"[Unit]\n"))
    return host


def go_back(host):
    return going_back.go_back(kept.load(), plan(OLD, "gpu0", "gpu1"), host.files)


def test_shared_files_go_back_first_then_the_last_switch(host):
    back = go_back(host)
    assert (back.failure, back.instances, back.evidence["verdict"]) == ("", ["gpu1", "gpu0"], "pass")
    assert [entry["name"] for entry in back.evidence["instances"]] == ["gpu1", "gpu0"]
    assert not os.path.exists(paths.TEMPLATE_UNIT_FILE)
    assert [told[:2] for told in host.told] == [
        ("reload",),
        *[
            step
            for name in ("gpu1", "gpu0")
            for step in (
                ("stop", "ollama@%s.service" % name),
                ("enable", "ollama@%s.service" % name),
                ("start", "ollama@%s.service" % name),
                ("prove", OLD),
            )
        ],
    ]


def test_a_release_that_is_gone_stops_nothing(host):
    shutil.rmtree("%s/%s" % (paths.RELEASES, OLD))
    back = go_back(host)
    assert "which is not there any more" in back.failure and "0.32.14/bin/ollama" in back.failure
    assert host.told == [] and host.of("gpu0") == (NEW, "A=2\n") and host.kept().switches


@pytest.mark.parametrize("how, words", [("ends", "ended"), ("fails", "is slow")])
def test_what_does_not_go_back_leaves_the_rest_as_it_serves(host, how, words):
    getattr(host, how).add(OLD)
    back = go_back(host)
    assert words in back.failure and back.instances == []
    assert host.of("gpu1") == (OLD, "A=1\n") and host.of("gpu0") == (NEW, "A=2\n") and "gpu0" in host.active
    assert back.evidence["verdict"] == ("pass" if how == "ends" else "fail")


def test_models_go_back_and_what_did_not_run_does_not_start(tmp_path, monkeypatch):
    host = MadeUpHost(tmp_path, monkeypatch)
    host.instance("gpu0", OLD)
    host.active.clear()
    host.apply(plan(OLD, "gpu0"))
    store = Store(str(tmp_path / "store"))
    digest = put(store, parse("tiny"), b"x")
    found = kept.load()
    kept.keep(found, host.files, ["gpu0"], [], {"gpu0": store})
    put(store, parse("tiny"), b"y")
    host.active.add("gpu0")
    back = go_back(host)
    assert back.failure == "" and back.instances == [] and host.active == set()
    assert store.digest(parse("tiny")) == digest
