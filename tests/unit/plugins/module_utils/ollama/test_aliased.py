# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A further name of a model in an instance. What a server makes of it: modules/test_one_model_by_several_names.py."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.aliased import ensure_aliased
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Target

from tests.unit.plugins.module_utils.ollama.fake_client import FakeClient
from tests.unit.plugins.module_utils.ollama.test_present import offline
from tests.unit.plugins.module_utils.ollama.test_store import TINY, put
from tests.unit.plugins.module_utils.ollama.test_store_pulled import OPTIMIZED


def test_a_stopped_instance_gets_it_as_well(tmp_path):
    store = Store(str(tmp_path / "gpu0"))
    put(store, TINY)
    made = put(store, OPTIMIZED, b"parameters")
    check = ensure_aliased(offline(store), TINY, OPTIMIZED, check_mode=True)
    assert check.action == "alias" and check.after == {"digest": made, "same_as": "tiny:optimized"}
    assert not store.is_renamed(TINY)
    assert ensure_aliased(offline(store), TINY, OPTIMIZED).action == "alias" and store.digest(TINY) == made
    assert ensure_aliased(offline(store), TINY, OPTIMIZED).action == "none"


def test_in_check_mode_the_model_may_come_before(tmp_path):
    assert ensure_aliased(offline(Store(str(tmp_path))), TINY, OPTIMIZED, check_mode=True).action == "alias"


def test_a_server_with_another_store_is_said(tmp_path):
    store = Store(str(tmp_path / "gpu0"))
    put(store, OPTIMIZED)
    target = Target(FakeClient({"tiny:optimized": ""}), store)
    with pytest.raises(ModelError, match="does not say so; give the store that this server uses"):
        ensure_aliased(target, TINY, OPTIMIZED)


def test_a_store_is_needed():
    with pytest.raises(ModelError, match="only in a store on this host"):
        ensure_aliased(Target(FakeClient({"tiny:optimized": ""})), TINY, OPTIMIZED)
