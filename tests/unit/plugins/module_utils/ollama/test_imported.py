# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model of the user's own without a server; with one: modules/test_own_models.py."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.imported import ensure_imported
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Target

from tests.unit.plugins.module_utils.ollama.fake_client import FakeClient
from tests.unit.plugins.module_utils.ollama.test_present import offline
from tests.unit.plugins.module_utils.ollama.test_store_own import CONTENT, own

MINE = parse("mine")


@pytest.fixture(name="file")
def _file(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(CONTENT)
    return path


def test_a_stopped_instance_gets_it_as_well(tmp_path, file):
    store = Store(str(tmp_path / "gpu0"))
    check = ensure_imported(offline(store), MINE, own(file), 5, {"digest": None}, check_mode=True)
    assert (check.action, check.digest) == ("import", own(file).manifest().digest) and store.names() == []
    done = ensure_imported(offline(store), MINE, own(file), 5, {"digest": None})
    assert done.pulled_bytes == len(CONTENT) and store.complete(MINE).digest == done.digest == check.digest


def test_there_has_to_be_room_and_a_store(tmp_path, file, monkeypatch):
    store = Store(str(tmp_path / "gpu0"))
    monkeypatch.setattr(Store, "free_bytes", lambda self: 7)
    with pytest.raises(ModelError, match="where 7 are free"):
        ensure_imported(offline(store), MINE, own(file), 5, {})
    with pytest.raises(ModelError, match="give store"):
        ensure_imported(Target(FakeClient({})), MINE, own(file), 5, {})
