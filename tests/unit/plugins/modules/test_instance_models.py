# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module instance_models against the rig's doubles of Ollama 0.32.15: models of two instances in one execution."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.differences import differences
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import present

from tests.rig.models import catalog
from tests.unit.plugins.modules.ollama_rig import TINY_BYTES, TINY_DIGEST
from tests.unit.plugins.modules.run_module import run_module

OPTIMIZED = {"from": "tiny", "parameters": {"num_ctx": 2048, "num_gpu": 999}}


def entry(rig, number, name="tiny", state="present", **options):
    """One entry of the list, as the role writes it."""
    common = {"instance": "gpu%d" % number, "name": name, "state": state, "url": rig.url(number)}
    if state == "present":
        others = [str(rig.store(other)) for other in range(2) if other != number]
        common.update(store=str(rig.store(number)), link_from=others, insecure=True)
    return dict(common, **options)


def everything(rig):
    """What the role asks for where two instances serve an optimized model."""
    models = []
    for number in range(2):
        models += [entry(rig, number), entry(rig, number, "tiny:optimized", **OPTIMIZED)]
    return models + [entry(rig, number, "tiny:optimized", "loaded", keep_alive=-1) for number in range(2)]


def run(rig, models, check=False, **options):
    return run_module("instance_models", dict({"models": models, "registry": rig.host, "timeout": 5}, **options), check)


def actions(result):
    assert not result.get("failed"), result
    assert result["changed"] == any(model["changed"] for model in result["models"])
    return [model["action"] for model in result["models"]]


def test_check_do_repeat(rig):
    models = everything(rig)
    check = run(rig, models, check=True)
    assert actions(check) == ["pull", "create", "link", "link", "load", "load"]
    assert [model["pulled_bytes"] for model in check["models"]] == [TINY_BYTES, 0, 0, 0, 0, 0]
    assert rig.names(0) == rig.names(1) == [] and rig.loaded() == []
    done = run(rig, models)
    assert actions(done) == actions(check)
    assert [model["pulled_bytes"] for model in done["models"]] == [TINY_BYTES, 0, 0, 0, 0, 0]
    assert rig.names(0) == rig.names(1) == ["tiny:latest", "tiny:optimized"]
    assert rig.loaded(0) == rig.loaded(1) == ["tiny:optimized"]
    first = done["models"][0]
    assert (first["instance"], first["name"], first["digest"]) == ("gpu0", "tiny:latest", TINY_DIGEST)
    assert done["models"][1]["digest"] and done["models"][1]["digest"] == done["models"][3]["digest"]
    assert done["models"][5]["loaded"]["context_length"] == 2048
    for again in (True, False):
        assert actions(run(rig, models, check=again)) == ["none"] * 6


@pytest.mark.parametrize("state", ["present", "loaded", "unloaded", "absent"])
def test_the_result_of_an_entry_is_that_of_the_module_model(rig, state):
    rig.model()
    options = OPTIMIZED if state == "present" else {}
    for done in (False, True):
        if done:
            rig.model("tiny:optimized", **OPTIMIZED)
            rig.model("tiny:optimized", state="loaded")
        alone = rig.model("tiny:optimized", check=True, state=state, **options)
        found = run(rig, [entry(rig, 0, "tiny:optimized", state, **options)], check=True)
        for key in ("changed", "action", "digest", "pulled_bytes", "loaded"):
            assert found["models"][0][key] == alone[key], key
        diff = alone["diff"] if alone["changed"] else {"before": None, "after": None}
        assert found["diff"] == differences(
            [("gpu0: tiny:optimized", diff["before"], diff["after"])], "models", details=False
        )


def test_a_null_takes_away_what_the_base_has(rig):
    """A base with a main_gpu that the host does not have cannot be loaded; the model that is created from it can."""
    free = {"from": "pinned", "parameters": {"main_gpu": None, "num_gpu": -1, "num_ctx": 1024}}
    pinned = entry(rig, 0, "pinned", **{"from": "tiny", "parameters": {"main_gpu": 7, "num_gpu": 3}})
    models = [pinned, entry(rig, 0, "pinned:free", **free), entry(rig, 0, "pinned:free", "loaded", keep_alive=-1)]
    assert actions(run(rig, models)) == ["create", "create", "load"]
    for check in (True, False):
        assert actions(run(rig, models, check)) == ["none"] * 3
    assert rig.loaded(0) == ["pinned:free"]
    assert "terminated" in run(rig, [entry(rig, 0, "pinned", "loaded")])["msg"]


def test_the_diff_names_instance_and_model(rig):
    run(rig, [entry(rig, 0, "tiny:optimized", **OPTIMIZED)])
    changed = {"from": "tiny", "parameters": {"num_ctx": 1024}}
    result = run(rig, [entry(rig, 0), entry(rig, 0, "tiny:optimized", **changed)], check=True)
    assert actions(result) == ["none", "create"] and len(result["diff"]) == 1
    assert result["diff"][0]["before_header"] == "gpu0: tiny:optimized"
    assert "PARAMETER num_ctx 2048" in result["diff"][0]["before"]
    assert "PARAMETER num_ctx 1024" in result["diff"][0]["after"]
    assert "diff" not in run_module("instance_models", {"models": [entry(rig, 0)]}, diff=False)


def test_unload_and_remove(rig):
    run(rig, everything(rig))
    models = [
        entry(rig, 0, "tiny:optimized", "unloaded"),
        entry(rig, 1, "tiny:optimized", "absent"),
        entry(rig, 1, "tiny:nosuch", "absent"),
    ]
    assert actions(run(rig, models, check=True)) == ["unload", "delete", "none"] == actions(run(rig, models))
    assert rig.loaded(0) == rig.loaded(1) == [] and rig.names(1) == ["tiny:latest"]
    assert rig.names(0) == ["tiny:latest", "tiny:optimized"]


def test_a_list_asks_each_server_once(rig):
    """What an unchanged host costs: the list of models once for each instance."""
    run(rig, everything(rig))
    from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient

    asked = []
    tags = OllamaClient.tags
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OllamaClient, "tags", lambda self: asked.append(self.url) or tags(self))
        run(rig, [model for model in everything(rig) if model["state"] == "present"])
    assert asked == [rig.url(0), rig.url(1)]


def test_a_failure_names_the_model_and_leaves_other_instances_alone(rig):
    models = [entry(rig, 0, "tiny:nosuch"), entry(rig, 0), entry(rig, 1), entry(rig, 1, state="loaded")]
    result = run(rig, models)
    assert result["failed"] and result["changed"]
    assert result["msg"].startswith("tiny:nosuch of instance gpu0: ") and "check the name and the tag" in result["msg"]
    assert "tiny:latest of gpu1 was pulled, tiny:latest of gpu1 was loaded; this stays" in result["msg"]
    assert result["msg"].endswith("Not begun: tiny:latest of gpu0 (present).")
    assert [(model["instance"], model["action"]) for model in result["models"]] == [("gpu1", "pull"), ("gpu1", "load")]
    assert rig.names(0) == [] and rig.names(1) == rig.loaded(1) == ["tiny:latest"]
    again = run(rig, models)
    assert again["failed"] and not again["changed"] and "No model was changed." in again["msg"]
    assert len(again["models"]) == 2


def test_the_registry_is_asked_in_check_mode(rig):
    result = run(rig, [entry(rig, 0, "tiny:nosuch")], check=True)
    assert result["failed"] and "check the name and the tag" in result["msg"]


def test_check_mode_on_an_untouched_host(rig, tmp_path):
    """No server and no store: everything would be changed, nothing fails."""
    nobody = {"url": "http://127.0.0.1:1", "store": str(tmp_path / "gpu0"), "link_from": [str(tmp_path / "gpu1")]}
    models = [
        dict(nobody, instance="gpu0", name="tiny", insecure=True),
        dict(nobody, instance="gpu0", name="tiny:optimized", insecure=True, **OPTIMIZED),
        dict(nobody, instance="gpu1", name="tiny", insecure=True)
        | {"url": "http://127.0.0.1:2", "store": str(tmp_path / "gpu1"), "link_from": [str(tmp_path / "gpu0")]},
        {"instance": "gpu0", "name": "tiny:optimized", "state": "unloaded", "url": nobody["url"]},
        {"instance": "gpu0", "name": "tiny:optimized", "state": "loaded", "url": nobody["url"]},
    ]
    result = run(rig, models, check=True)
    assert actions(result) == ["pull", "create", "link", "none", "load"]
    assert [model["pulled_bytes"] for model in result["models"]] == [TINY_BYTES, 0, 0, 0, 0]
    failed = run(rig, models)
    assert failed["failed"] and "connection refused; is the service running? No model" in failed["msg"]


def test_check_mode_counts_on_an_earlier_entry_only_where_it_brings_the_same(rig):
    pinned, other = entry(rig, 0, digest=TINY_DIGEST), {"from": "tiny", "parameters": {"num_ctx": 1024}}
    assert actions(run(rig, [pinned, entry(rig, 1)], check=True)) == ["pull", "link"]
    assert actions(run(rig, [entry(rig, 0), entry(rig, 1, digest=TINY_DIGEST)], check=True)) == ["pull", "link"]
    models = [entry(rig, 0, "tiny:optimized", **OPTIMIZED), entry(rig, 1, "tiny:optimized", **other)]
    assert actions(run(rig, models, check=True)) == ["create", "create"]
    assert actions(run(rig, [pinned, entry(rig, 1, link_from=[])], check=True)) == ["pull", "pull"]


def test_only_the_model_that_was_planned_is_pulled(rig):
    """A tag may move between plan and pull; a model that the host has already stays as it is."""
    planned = "sha256:" + "1" * 64
    for check in (True, False):
        result = run(rig, [entry(rig, 0, planned_digest=planned)], check=check)
        assert result["failed"] and "changed in the registry %s since the plan was made" % rig.host in result["msg"]
        assert "so nothing was pulled; run again" in result["msg"] and rig.names() == []
    optimized = entry(rig, 0, "tiny:optimized", planned_digest=planned, **OPTIMIZED)
    assert "since the plan was made" in run(rig, [optimized])["msg"] and rig.names() == []
    assert actions(run(rig, [entry(rig, 0, planned_digest=TINY_DIGEST)])) == ["pull"]
    assert actions(run(rig, [entry(rig, 0, planned_digest=planned)])) == ["none"]
    assert actions(run(rig, [entry(rig, 1, planned_digest=planned)])) == ["link"]


def test_a_tag_that_moves_during_the_pull(rig, monkeypatch):
    """The server pulls what the tag names then; that is not what was planned, and nothing goes on with it."""
    planned = "sha256:" + "1" * 64
    true = present.Registry.manifest

    def moves(registry):
        manifest = true(registry)
        manifest.digest = planned
        return manifest

    monkeypatch.setattr(present.Registry, "manifest", moves)
    result = run(rig, [entry(rig, 0, planned_digest=planned), entry(rig, 0, state="loaded")])
    assert result["failed"] and "has the digest %s, not the planned %s" % (TINY_DIGEST, planned) in result["msg"]
    assert rig.loaded() == []


TRUE = [{"header_bytes": 64, "header_sha256": hashlib.sha256(catalog.header_of("tiny")[0][:64]).hexdigest()}]
LIE = [dict(TRUE[0], header_sha256="0" * 64)]


def differs(result):
    return [model["header_differs"] for model in result["models"]]


def test_nothing_is_loaded_where_the_plan_was_made_from_another_header(rig):
    assert actions(run(rig, [entry(rig, 0, "tiny:old", **OPTIMIZED)])) == ["create"]
    models = [entry(rig, 0, headers=LIE), entry(rig, 0, "tiny:optimized", **OPTIMIZED)]
    models += [entry(rig, 0, "tiny:old", "absent"), entry(rig, 0, "tiny:optimized", "loaded")]
    result = run(rig, models)
    assert actions(result) == ["none", "create"] and differs(result) == [True, None]
    assert [(held["name"], held["state"]) for held in result["held_back"]] == [
        ("tiny:old", "absent"),
        ("tiny:optimized", "loaded"),
    ]
    assert rig.loaded() == [] and "tiny:old" in rig.names()
    check = run(rig, models, check=True)
    assert actions(check) == ["none", "none"] and differs(check) == [True, None] and len(check["held_back"]) == 2


def test_models_with_the_planned_header_are_loaded(rig):
    models = [entry(rig, 0, headers=TRUE), entry(rig, 1, headers=TRUE), entry(rig, 0, state="loaded")]
    for check, compared in ((True, None), (False, False), (True, False)):
        result = run(rig, models, check=check)
        assert differs(result) == [compared, compared, None] and result["held_back"] == []
    assert rig.loaded() == ["tiny:latest"]


def test_empty_values_count_as_not_given(rig):
    empty = {"from": "", "digest": "", "parameters": {}, "system": "", "template": ""}
    assert actions(run(rig, [entry(rig, 0, **empty)])) == ["pull"]
    optimized = dict(OPTIMIZED, digest="", system="", template="")
    assert actions(run(rig, [entry(rig, 0, "tiny:optimized", **optimized)])) == ["create"]
    assert actions(run(rig, [entry(rig, 0, "tiny:optimized", **OPTIMIZED)])) == ["none"]
    assert actions(run(rig, [], registry="")) == []
    assert "url" in run(rig, [entry(rig, 0, url="")])["msg"]
    brief = entry(rig, 0, "brief", system="Be brief.", **{"from": "tiny"})
    longer = {"from": "brief", "parameters": {"num_ctx": 2048}}
    again = entry(rig, 0, "longer", system="", template="", **longer)
    assert actions(run(rig, [brief, again, again])) == ["create", "create", "none"]
    assert rig.server().request("POST", "/api/show", {"model": "longer"})[2]["system"] == "Be brief."


def test_an_entry_sees_what_an_earlier_one_has_changed(rig):
    models = [
        entry(rig, 0, "tiny", "absent"),
        entry(rig, 0),
        entry(rig, 0, "tiny", "loaded"),
        entry(rig, 0, "tiny", "absent"),
        entry(rig, 0),
    ]
    assert actions(run(rig, models)) == ["none", "pull", "load", "delete", "pull"]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"from": "tiny", "parameters": {"num_gpu": "999"}}, "num_gpu must be an integer"),
        ({"parameters": {"num_ctx": 1}}, "from must name"),
        ({"digest": "abc"}, "64 hexadecimal digits"),
        ({"url": "http://127.0.0.1:99999"}, "between 1 and 65535"),
        ({"store": ""}, "link_from needs store"),
        ({"keep_alive": "soon"}, "keep_alive 'soon'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_done(rig, options, words):
    for check in (True, False):
        result = run(rig, [entry(rig, 0), entry(rig, 1, "new", **options)], check=check)
        assert result["failed"] and words in result["msg"] and "new" in result["msg"] and "gpu1" in result["msg"], (
            result
        )
        assert not result.get("changed") and result["models"] == []
    assert rig.names(0) == []


def test_a_missing_library_is_the_action_plugins_to_bring(rig, monkeypatch):
    from ansible_collections.gpufleet.ollama.plugins.module_utils.common import libraries
    from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import transport

    def missing(*unused):
        raise libraries.LibraryMissing("requests")

    monkeypatch.setattr(transport, "import_requests", missing)
    result = run(rig, [dict(instance="gpu0", name="tiny", url="http://127.0.0.1:1")])
    assert result["failed"] and result["missing_library"] == "requests"
