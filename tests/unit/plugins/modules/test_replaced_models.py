# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A loaded model whose name gets another file: against the rig's doubles of Ollama 0.32.15, which unload a model by a
name of its file as the real server does."""

from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.replaced import named
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store_replaced import REPLACED

from tests.unit.plugins.modules.ollama_rig import TINY_DIGEST
from tests.unit.plugins.modules.test_instance_models import actions, entry, run
from tests.unit.plugins.modules.test_one_model_by_several_names import ask, engines
from tests.unit.plugins.modules.test_one_model_by_several_names import models as models_of


def models(rig, number=0, **options):
    """What the role asks for, which tells the store of every entry."""
    return [dict(one, store=str(rig.store(number))) for one in models_of(rig, number, **options)]


@pytest.fixture(name="moved")
def _moved(rig):
    """A function that lets the tag tiny name another model; returns its digest."""

    def move(mark="two"):
        rig.registry.store.move("library/tiny", "latest", mark)
        text = rig.registry.store.manifest("library/tiny", "latest")
        return "sha256:" + hashlib.sha256(text).hexdigest()

    for number in (0, 1):  # as the role's instances run
        if number in rig.servers:
            rig.stop(number)
        rig.environment = {"OLLAMA_NOPRUNE": "1"}
        rig.server(number)
    yield move
    move("")
    rig.clean()
    for number in (0, 1):
        rig.stop(number)
    rig.environment = {}


def test_the_model_of_before_is_unloaded_although_its_name_has_another_file(rig, moved):
    run(rig, models(rig))
    assert rig.loaded() == ["tiny:optimized"]
    new = moved()
    done = run(rig, models(rig, digest=new))
    assert actions(done) == ["pull", "create", "alias", "reload"]
    (loaded,) = engines(rig)
    assert "sha256:" + loaded["digest"].replace("sha256:", "") == done["models"][1]["digest"]
    assert rig.names() == ["tiny:latest", "tiny:optimized"]  # the name that it was unloaded by is gone


def test_a_request_that_loads_the_model_of_before_again_is_not_in_the_way(rig, moved):
    run(rig, models(rig))
    new = moved()
    early = entry(rig, 0, "tiny:optimized", "unloaded", aliases=["tiny:latest"], store=str(rig.store(0)))
    assert actions(run(rig, [early])) == ["unload"]
    ask(rig, "tiny")
    assert actions(run(rig, models(rig, digest=new)))[-1] == "reload" and len(engines(rig)) == 1


def test_what_was_replaced_stays_until_it_is_taken_away(rig, moved):
    run(rig, models(rig))
    new = moved()
    run(rig, models(rig, digest=new))
    store = Store(str(rig.store(0)))
    with named(store, TINY_DIGEST) as name:
        assert store.digest(name) == TINY_DIGEST
    assert store.manifest(name) is None
    with named(store, "sha256:" + "1" * 64) as name:
        assert name is None
    # A model that is removed takes none of its blobs.
    store.remove(parse("tiny:optimized"))
    with named(store, TINY_DIGEST) as name:
        assert name is not None


def test_another_instance_that_links_it_keeps_the_one_of_before(rig, moved):
    run(rig, models(rig))
    run(rig, models(rig, number=1))
    new = moved()
    run(rig, models(rig, digest=new))
    assert actions(run(rig, models(rig, number=1, digest=new)))[0] == "link"
    kept = (rig.store(1) / REPLACED).iterdir()
    assert {json.loads(one.read_bytes())["schemaVersion"] for one in kept} == {2} and len(engines(rig, 1)) == 1


def test_blobs_of_a_removed_model_are_kept_where_that_is_wanted(rig, moved):
    run(rig, models(rig))
    store = str(rig.store(0))
    before = sorted(path.name for path in (rig.store(0) / "blobs").iterdir())
    gone = [entry(rig, 0, name, "absent", store=store, keep_blobs=True) for name in ("tiny:optimized", "tiny")]
    assert actions(run(rig, gone)) == ["delete", "delete"] and rig.names() == [] and rig.loaded() == []
    assert sorted(path.name for path in (rig.store(0) / "blobs").iterdir()) == before
    assert not Store(store).has_record(parse("tiny"))
    # Nothing but the manifest is asked for when it comes back.
    rig.registry.requests.clear()
    assert actions(run(rig, models(rig)))[0] == "pull"
    assert {one["kind"] for one in rig.registry.requests} == {"manifest"}
