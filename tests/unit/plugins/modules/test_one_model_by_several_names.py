# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plain name of a model names the optimized one in an instance: against the rig's doubles of Ollama 0.32.15, which
load a model again for a name with other parameters as the real server does."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.model_contents import read_contents
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.listing import list_store
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

from tests.unit.plugins.modules.ollama_rig import TINY_DIGEST
from tests.unit.plugins.modules.test_instance_models import actions, entry, run

PARAMETERS = {"num_ctx": 2048, "num_gpu": 999, "num_batch": 256}


def models(rig, number=0, digest="", **parameters):
    """What the role asks for of an instance with an optimized model."""
    parameters = dict(PARAMETERS, **parameters)
    return [
        entry(rig, number, digest=digest),
        entry(rig, number, "tiny:optimized", parameters=parameters, **{"from": "tiny"}),
        entry(rig, number, same_as="tiny:optimized"),
        entry(rig, number, "tiny:optimized", "loaded", aliases=["tiny:latest"]),
    ]


def ask(rig, name, number=0):
    """One request of a client."""
    rig.server(number).request(
        "POST", "/api/generate", {"model": name, "prompt": "Hi", "stream": False, "keep_alive": -1}
    )


def engines(rig, number=0):
    return rig.server(number).request("GET", "/api/ps")[2]["models"]


def test_check_do_repeat(rig):
    wanted = models(rig)
    assert actions(run(rig, wanted, check=True)) == ["pull", "create", "alias", "load"]
    assert rig.names() == []
    done = run(rig, wanted)
    assert actions(done) == ["pull", "create", "alias", "load"]
    assert done["models"][2]["digest"] == done["models"][1]["digest"] != TINY_DIGEST
    assert done["models"][0]["digest"] == TINY_DIGEST
    for again in (True, False):
        assert actions(run(rig, wanted, check=again)) == ["none"] * 4
    assert run(rig, wanted)["models"][0]["digest"] == TINY_DIGEST


def test_a_request_under_either_name_keeps_the_engine(rig):
    run(rig, models(rig))
    for name in ("tiny", "tiny:optimized", "tiny"):
        ask(rig, name)
        (loaded,) = engines(rig)
        assert loaded["name"] == "tiny:optimized"  # the name under which it was loaded: no other engine took its place


def test_a_model_that_was_loaded_under_its_plain_name_is_loaded(rig):
    run(rig, models(rig))
    rig.model("tiny:optimized", state="unloaded")
    ask(rig, "tiny")
    assert rig.loaded() == ["tiny:latest"]
    assert actions(run(rig, models(rig))) == ["none"] * 4
    found = run(rig, [entry(rig, 0, "tiny:optimized", "unloaded", aliases=["tiny"])])
    assert actions(found) == ["unload"] and rig.loaded() == []


def test_parameters_that_are_taken_away_are_gone(rig):
    """The base is what was pulled, not what its name names now."""
    run(rig, models(rig, temperature=0.5))
    assert actions(run(rig, models(rig), check=True))[:3] == ["none", "create", "alias"]
    assert actions(run(rig, models(rig))) == ["none", "create", "alias", "reload"]
    show = rig.server().request("POST", "/api/show", {"model": "tiny"})[2]
    assert "temperature" not in show["parameters"] and "num_batch" in show["parameters"]
    assert actions(run(rig, models(rig))) == ["none"] * 4


def test_another_instance_gets_what_was_pulled(rig):
    run(rig, models(rig))
    assert actions(run(rig, models(rig, number=1, temperature=0.5))) == ["link", "create", "alias", "load"]
    first, second = (Store(str(rig.store(number))) for number in (0, 1))
    for store in (first, second):
        assert store.pulled(parse("tiny")).digest == TINY_DIGEST
    assert first.digest(parse("tiny")) != second.digest(parse("tiny"))


def test_a_pin_is_held_against_what_was_pulled(rig):
    run(rig, models(rig))
    assert actions(run(rig, models(rig, digest=TINY_DIGEST))) == ["none"] * 4
    refused = run(rig, models(rig, digest="sha256:" + "1" * 64))
    assert refused["failed"] and "not the pinned" in refused["msg"]


def test_a_model_that_is_pulled_again_by_hand_gets_its_name_back_in_the_next_run(rig):
    run(rig, models(rig))
    rig.server().request("POST", "/api/pull", {"model": "%s/library/tiny" % rig.host, "insecure": True})
    rig.server().request("POST", "/api/copy", {"source": "%s/library/tiny" % rig.host, "destination": "tiny"})
    assert actions(run(rig, models(rig))) == ["none", "none", "alias", "none"]


def test_what_server_info_and_host_info_say(rig):
    run(rig, models(rig))
    instance = {"store": str(rig.store(0)), "models": [{"name": "tiny", "create_as": "tiny:optimized"}]}
    contents = read_contents(OllamaClient(rig.url(0)), instance)
    assert contents["tiny:latest"]["pulled_digest"] == TINY_DIGEST
    assert (
        contents["tiny:latest"]["content"]["parameters"] == {"stop": ["</s>"]}
        and "pulled_digest" not in contents["tiny:optimized"]
    )
    listed = {model["name"]: model for model in list_store(str(rig.store(0)), os.getuid(), own=True)["models"]}
    assert listed["tiny:latest"]["pulled_digest"] == TINY_DIGEST
    assert listed["tiny:latest"]["digest"] == listed["tiny:optimized"]["digest"]


def test_removed_with_all_that_was_kept(rig):
    run(rig, models(rig))
    gone = [entry(rig, 0, name, "absent", store=str(rig.store(0))) for name in ("tiny:optimized", "tiny")]
    assert actions(run(rig, gone)) == ["delete", "delete"] and rig.names() == []
    assert not Store(str(rig.store(0))).has_record(parse("tiny"))


@pytest.mark.parametrize(
    "options, words",
    [({"store": "", "link_from": []}, "goes with store"), ({"from": "tiny"}, "not with what builds a model")],
)
def test_options_that_do_not_go_together(rig, options, words):
    result = run(rig, [entry(rig, 0, same_as="tiny:optimized", **options)])
    assert result["failed"] and words in result["msg"]


def test_a_model_that_is_not_there(rig):
    result = run(rig, [entry(rig, 0, same_as="tiny:nosuch")])
    assert result["failed"] and "the instance has no model tiny:nosuch for tiny:latest to name" in result["msg"]


def test_an_alias_that_goes_to_another_model_leaves_the_first_one_loaded(rig):
    """A server goes on listing the name of the request that loaded a model."""
    chat = entry(rig, 0, "chat", same_as="tiny:optimized")
    run(rig, models(rig) + [chat])
    rig.model("tiny:optimized", state="unloaded")
    ask(rig, "chat")
    assert rig.loaded() == ["chat:latest"]
    other = entry(rig, 0, "tiny:other", parameters={"num_ctx": 1024}, **{"from": "tiny"})
    moved = run(rig, models(rig) + [other, dict(chat, same_as="tiny:other")])
    assert actions(moved) == ["none"] * 4 + ["create", "alias"]
    assert moved["models"][5]["digest"] == moved["models"][4]["digest"]
    # What the alias named is no model of its own: the registry's chat would still have to be pulled.
    store = Store(str(rig.store(0)))
    assert store.pulled(parse("chat")) is None and store.complete(parse("chat"), pulled=True) is None
    found = run(rig, [entry(rig, 0, "tiny:optimized", "unloaded", aliases=["tiny"])])
    assert actions(found) == ["unload"] and rig.loaded() == []
