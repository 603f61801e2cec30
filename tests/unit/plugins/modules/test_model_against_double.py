# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module model (and model_info from a server) against the rig's double of Ollama 0.32.15 and the rig's registry."""

from __future__ import annotations

import os

import pytest

from tests.unit.plugins.modules.ollama_rig import TINY_BYTES, TINY_DIGEST
from tests.unit.plugins.modules.run_module import run_module


def same_again(rig, *args, **options):
    """The same call changes nothing, neither in check mode nor outside."""
    for check in (True, False):
        result = rig.model(*args, check=check, **options)
        assert not result["changed"] and result["action"] == "none", result
    return result


# -- pull --------------------------------------------------------------------------------------------------------------


def test_pull_check_do_repeat_remove(rig):
    before = len(rig.registry.requests)
    check = rig.model(check=True)
    assert (check["changed"], check["action"], check["digest"], check["pulled_bytes"]) == (
        True,
        "pull",
        TINY_DIGEST,
        TINY_BYTES,
    )
    assert rig.names() == [] and len(rig.registry.requests) == before + 1
    done = rig.model()
    assert done == check
    assert rig.names() == ["tiny:latest"], "a mirror must not show in the name"
    before = len(rig.registry.requests)
    assert same_again(rig)["digest"] == TINY_DIGEST
    assert len(rig.registry.requests) == before
    assert rig.model(state="absent", check=True)["action"] == "delete" and rig.names() == ["tiny:latest"]
    assert rig.model(state="absent")["action"] == "delete" and rig.names() == []
    assert rig.model(state="absent")["action"] == "none"


def test_exact_tag(rig):
    rig.model()
    result = rig.model("tiny:other")
    assert result["failed"] and "has no model 127.0.0.1" in result["msg"] and "tiny:other" in result["msg"]


def test_a_full_name_and_a_source(rig):
    full = rig.host + "/library/tiny"
    assert rig.model(full, registry=None)["action"] == "pull"
    assert rig.names() == [full + ":latest"]
    assert rig.model("mine:v1", registry=None, source=full)["pulled_bytes"] == 0
    assert rig.names() == sorted([full + ":latest", "mine:v1"]), "what was there under its own name stays"
    assert rig.model("mine:v2", registry=rig.host, source=full)["msg"].startswith(
        "registry and source are mutually exclusive"
    )


def test_the_pin(rig):
    wrong = "sha256:" + "1" * 64
    result = rig.model(digest=wrong)
    assert result["failed"] and "not the pinned " + wrong in result["msg"] and rig.names() == []
    assert rig.model(digest=TINY_DIGEST)["action"] == "pull"
    same_again(rig, digest=TINY_DIGEST[7:])
    assert rig.model(digest=wrong)["failed"] and rig.names() == ["tiny:latest"], (
        "a wrong pin must not lose what is there"
    )


@pytest.mark.parametrize(
    "name, words",
    [
        ("tiny:nosuch", "check the name and the tag"),
        ("f-500", "answered 500"),
        ("f-badjson", "is not JSON"),
        ("f-blob404", "the registry does not have it"),
        ("f-corrupt", "has thrown it away; run again"),
        ("f-direct200", "does not redirect to its blobs"),
        ("f-loc302", "redirects with another status than 307"),
        ("f-401", "cannot pull"),
    ],
)
def test_each_broken_pull_is_one_sentence_and_leaves_nothing(rig, name, words):
    rig.model()
    result = rig.model(name)
    assert result["failed"] and words in result["msg"], result
    assert rig.names() == ["tiny:latest"]


def test_what_the_registry_knows_shows_in_check_mode(rig):
    assert "check the name and the tag" in rig.model("tiny:nosuch", check=True)["msg"]
    assert "not the pinned" in rig.model(digest="sha256:" + "1" * 64, check=True)["msg"]


def test_an_unreachable_registry(rig):
    result = rig.model(registry="127.0.0.1:1")
    assert result["failed"] and "connection refused" in result["msg"] and "mirror" in result["msg"]
    assert "speaks plain http" in rig.model(insecure=False)["msg"]


def test_a_cut_connection_goes_on_where_it_stopped(rig):
    rig.registry.faults.add({"target": "library/tiny", "fault": "cut", "at": "data", "after": 300000, "times": 1})
    assert rig.model()["action"] == "pull"
    wanted = [request["headers"].get("Range") for request in rig.registry.requests if "cdn" in request["path"]]
    assert any(text and not text.startswith("bytes=0-") for text in wanted), wanted
    assert rig.model(check=True)["digest"] == TINY_DIGEST


def test_too_little_space_is_said_before(rig, monkeypatch):
    rig.server()
    from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

    monkeypatch.setattr(Store, "free_bytes", lambda self: 1000)
    result = rig.model(store=str(rig.store()))
    assert result["failed"] and "%d more" % (TINY_BYTES - 1000) in result["msg"] and rig.names() == []


# -- create ------------------------------------------------------------------------------------------------------------

OPTIMIZED = {"from": "tiny", "parameters": {"num_ctx": 2048, "num_gpu": 999}}


def parameters(rig, name="tiny:optimized"):
    return rig.server().request("POST", "/api/show", {"model": name})[2]["parameters"]


def test_create_pulls_its_base_and_is_idempotent(rig):
    check = rig.model("tiny:optimized", check=True, **OPTIMIZED)
    assert (check["action"], check["pulled_bytes"]) == ("create", TINY_BYTES) and rig.names() == []
    done = rig.model("tiny:optimized", **OPTIMIZED)
    assert (done["action"], done["pulled_bytes"]) == ("create", TINY_BYTES) and rig.names() == [
        "tiny:latest",
        "tiny:optimized",
    ]
    assert done["digest"].startswith("sha256:") and "warnings" not in done
    assert same_again(rig, "tiny:optimized", **OPTIMIZED)["digest"] == done["digest"]
    assert "num_gpu" in parameters(rig)


def test_only_a_difference_creates_again_and_the_diff_shows_it(rig):
    rig.model("tiny:optimized", **OPTIMIZED)
    changed = {"from": "tiny", "parameters": {"num_ctx": 1024}, "system": 'Say "no".\nAlways.'}
    for check in (True, False):
        result = rig.model("tiny:optimized", check=check, **changed)
        assert result["action"] == "create" and result["pulled_bytes"] == 0
        assert (
            "PARAMETER num_ctx 2048" in result["diff"]["before"] and "PARAMETER num_ctx 1024" in result["diff"]["after"]
        )
        assert "num_gpu 999" in result["diff"]["before"] and "num_gpu" not in result["diff"]["after"], (
            "a parameter that is no longer asked for goes"
        )
    assert "num_gpu" not in parameters(rig)
    same_again(rig, "tiny:optimized", **changed)


def test_a_hand_edited_model_is_repaired(rig):
    rig.model("tiny:optimized", **OPTIMIZED)
    assert (
        rig.server().request(
            "POST",
            "/api/create",
            {"model": "tiny:optimized", "from": "tiny", "parameters": {"num_ctx": 512}, "stream": False},
        )[0]
        == 200
    )
    assert rig.model("tiny:optimized", check=True, **OPTIMIZED)["changed"]
    assert rig.model("tiny:optimized", **OPTIMIZED)["changed"]
    same_again(rig, "tiny:optimized", **OPTIMIZED)


def test_a_modelfile_and_the_options_mean_the_same(rig):
    rig.model("tiny:optimized", **OPTIMIZED)
    same_again(rig, "tiny:optimized", modelfile="FROM tiny\nPARAMETER num_gpu 999\nPARAMETER num_ctx 2048\n")


def test_template_system_stop_and_messages_survive(rig):
    text = (
        'FROM tiny\nTEMPLATE """{{ .System }} 50% "$x" {{ .Prompt }}"""\nSYSTEM Be brief.\n'
        'PARAMETER stop a\nPARAMETER stop "b c"\nMESSAGE user hi\n'
    )
    assert "warnings" not in rig.model("mine", modelfile=text)
    same_again(rig, "mine", modelfile=text)


def test_renderer_parser_and_requires_are_sent_and_compared(rig):
    text = "FROM tiny\nRENDERER qwen3-coder\nPARSER\tqwen3-coder\nREQUIRES v0.14.0\nPARAMETER use_mmap 1\n"
    result = rig.model("mine", modelfile=text)
    assert result["action"] == "create" and "warnings" not in result
    show = rig.server().request("POST", "/api/show", {"model": "mine"})[2]
    assert "RENDERER qwen3-coder\nPARSER qwen3-coder\n" in show["modelfile"] and show["requires"] == "0.14.0"
    same_again(rig, "mine", modelfile=text)
    heir = "FROM mine\nPARAMETER num_ctx 2048\n"  # the base's are inherited
    rig.model("heir", modelfile=heir)
    same_again(rig, "heir", modelfile=heir)
    for other in (text.replace("RENDERER qwen3-coder", "RENDERER other"), text.replace("0.14.0", "0.15.0")):
        assert rig.model("mine", check=True, modelfile=other)["changed"]
        assert rig.model("mine", modelfile=other)["changed"]
        same_again(rig, "mine", modelfile=other)


def test_a_draft_model_is_uploaded_and_compared(rig, tmp_path):
    rig.model()
    header = sorted(rig.store().glob("blobs/sha256-*"), key=lambda path: path.stat().st_size)[-1]
    draft = tmp_path / "draft.gguf"
    draft.write_bytes(header.read_bytes() + bytes(64))
    text = "FROM tiny\nDRAFT %s\n" % draft
    assert rig.model("fast", modelfile=text)["action"] == "create"
    assert "DRAFT " in rig.server().request("POST", "/api/show", {"model": "fast"})[2]["modelfile"]
    same_again(rig, "fast", modelfile=text)
    draft.write_bytes(header.read_bytes() + bytes(128))
    assert rig.model("fast", check=True, modelfile=text)["changed"] and rig.model("fast", modelfile=text)["changed"]
    same_again(rig, "fast", modelfile=text)


def test_licences_and_what_is_dropped(rig, capsys):
    text = "FROM tiny\nLICENSE one\nLICENSE two\nPARAMETER mirostat 2\nSYSTEM \n"
    result = rig.model("mine", modelfile=text)
    # ansible-core 2.21 shows a warning that it gave before in this process without putting it into the result again.
    said = str(result.get("warnings")) + capsys.readouterr().err
    assert "the parameter mirostat of the Modelfile is dropped" in said
    same_again(rig, "mine", modelfile=text)


def test_without_its_base_a_model_is_believed(rig):
    rig.model("tiny:optimized", **OPTIMIZED)
    rig.model("tiny", state="absent")
    same_again(rig, "tiny:optimized", **OPTIMIZED)
    assert (
        rig.model("tiny:optimized", check=True, **{"from": "tiny", "parameters": {"num_ctx": 1024}})["action"]
        == "create"
    )


@pytest.mark.parametrize(
    "args, words",
    [
        ({"from": "tiny", "parameters": {"num_gpu": "999"}}, "num_gpu must be an integer"),
        ({"from": "tiny", "parameters": {"nun_gpu": 2}}, "did you mean num_gpu"),
        ({"modelfile": "FROM tiny\nPARAMETER num_ctx many"}, "num_ctx must be an integer"),
        ({"modelfile": "SYSTEM x"}, "no FROM"),
        ({"parameters": {"num_ctx": 1}}, "from must name"),
        ({"from": "./x.gguf"}, "is a file"),
        ({"from": "a:{{7*7}}"}, "invalid tag"),
        ({"from": "new"}, "cannot be built on itself"),
        ({"from": "tiny", "modelfile": "FROM tiny"}, "mutually exclusive"),
        ({"from": "tiny", "adapters": ["/nonexistent"]}, "cannot read the adapter"),
        ({"digest": "abc"}, "64 hexadecimal digits"),
        ({"url": "http://127.0.0.1:99999"}, "between 1 and 65535"),
        ({"link_from": ["/x"]}, "link_from needs store"),
        ({"timeout": 0}, "timeout 0"),
        ({"registry": "h:70000"}, "between 1 and 65535"),
        ({"keep_alive": "soon"}, "keep_alive 'soon'"),
        ({"keep_alive": "0"}, "state: unloaded"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_done(rig, args, words):
    rig.server()
    before = len(rig.registry.requests)
    for check in (True, False):
        result = rig.model("new", check=check, **args)
        assert result["failed"] and words in result["msg"], result
    assert rig.names() == [] and len(rig.registry.requests) == before


# -- stores ------------------------------------------------------------------------------------------------------------


def linked(rig, name, number, check=False, **args):
    return rig.model(
        name, number, check=check, store=str(rig.store(number)), link_from=[str(rig.store(1 - number))], **args
    )


def test_a_second_instance_gets_links_and_no_byte(rig):
    rig.server(1)
    digest = rig.model("tiny:optimized", **OPTIMIZED)["digest"]
    before = len(rig.registry.requests)
    check = linked(rig, "tiny:optimized", 1, check=True, **OPTIMIZED)
    assert (check["action"], check["pulled_bytes"], check["digest"]) == ("link", 0, digest) and rig.names(1) == []
    assert linked(rig, "tiny:optimized", 1, **OPTIMIZED)["action"] == "link"
    assert len(rig.registry.requests) == before and rig.names(1) == ["tiny:optimized"], "and only what was asked for"
    for check in (True, False):
        assert linked(rig, "tiny:optimized", 1, check=check, **OPTIMIZED)["action"] == "none"
    blobs = {path.name for path in (rig.store(1) / "blobs").iterdir()}
    assert (
        all(os.path.samefile(str(rig.store(0) / "blobs" / name), str(rig.store(1) / "blobs" / name)) for name in blobs)
        and blobs
    )
    assert rig.model("tiny:optimized", 1, state="loaded")["action"] == "load"
    assert rig.model("tiny", 1, state="loaded")["failed"]


def test_an_absent_in_one_store_leaves_the_other(rig):
    rig.server(1)
    rig.model()
    assert linked(rig, "tiny", 1)["action"] == "link"
    assert rig.model(state="absent")["action"] == "delete"
    assert rig.names(0) == [] and rig.names(1) == ["tiny:latest"]
    assert rig.model("tiny", 1, state="loaded")["action"] == "load"


def test_a_changed_model_is_linked_again(rig):
    rig.server(1)
    rig.model("tiny:optimized", **OPTIMIZED)
    linked(rig, "tiny:optimized", 1, **OPTIMIZED)
    changed = {"from": "tiny", "parameters": {"num_ctx": 1024}}
    digest = rig.model("tiny:optimized", **changed)["digest"]
    result = linked(rig, "tiny:optimized", 1, **changed)
    assert (result["action"], result["digest"]) == ("link", digest)


def test_a_store_that_another_server_uses_is_noticed(rig, tmp_path):
    rig.model()
    rig.server(1)
    result = rig.model("tiny", 1, store=str(tmp_path / "other"), link_from=[str(rig.store(0))])
    assert result["failed"] and "give the store that this server uses" in result["msg"]


def test_without_a_server(rig):
    rig.model("tiny:optimized", **OPTIMIZED)
    store, nobody = str(rig.directory / "offline"), "http://127.0.0.1:1"
    offline = {"url": nobody, "store": store, "link_from": [str(rig.store(0))]}
    for check in (True, False):
        assert rig.model("tiny:optimized", check=check, **dict(OPTIMIZED, **offline))["action"] == "link"
    assert not rig.model("tiny:optimized", **dict(OPTIMIZED, **offline))["changed"]
    assert rig.model("tiny:optimized", state="absent", url=nobody, store=store, check=True)["action"] == "delete"
    assert rig.model("tiny:optimized", state="absent", url=nobody, store=store)["action"] == "delete"
    assert rig.model("tiny:optimized", state="absent", url=nobody, store=store)["action"] == "none"


def test_an_empty_name_is_refused():
    assert "is empty" in run_module("model", {"name": ""})["msg"]


def test_check_mode_on_an_untouched_host(rig):
    nobody = "http://127.0.0.1:1"
    assert rig.model(url=nobody, check=True)["pulled_bytes"] == TINY_BYTES
    result = rig.model("tiny:optimized", url=nobody, check=True, **OPTIMIZED)
    assert (result["action"], result["pulled_bytes"]) == ("create", TINY_BYTES)
    assert rig.model(url=nobody, state="loaded", check=True)["action"] == "load"
    assert not rig.model(url=nobody, state="unloaded", check=True)["changed"]
    assert not rig.model(url=nobody, state="absent", check=True)["changed"]
    for state in ("present", "absent", "loaded", "unloaded"):
        result = rig.model(url=nobody, state=state)
        assert result["failed"] and "connection refused; is the service running?" in result["msg"], state


# -- loading -----------------------------------------------------------------------------------------------------------


def test_load_check_do_repeat_unload(rig):
    rig.model("tiny:optimized", **OPTIMIZED)
    assert rig.model("tiny:optimized", state="loaded", check=True)["action"] == "load" and rig.loaded() == []
    done = rig.model("tiny:optimized", state="loaded")
    assert (
        done["action"] == "load" and done["loaded"]["context_length"] == 2048 and done["loaded"]["expires_at"] > "2300"
    )
    assert rig.loaded() == ["tiny:optimized"]
    assert same_again(rig, "tiny:optimized", state="loaded")["loaded"]["context_length"] == 2048
    assert rig.model("tiny:optimized", state="unloaded", check=True)["action"] == "unload" and rig.loaded() == [
        "tiny:optimized"
    ]
    assert rig.model("tiny:optimized", state="unloaded")["action"] == "unload" and rig.loaded() == []
    same_again(rig, "tiny:optimized", state="unloaded")


def test_an_older_state_is_loaded_again(rig):
    rig.model("tiny:optimized", **OPTIMIZED)
    rig.model("tiny:optimized", state="loaded")
    rig.model("tiny:optimized", **{"from": "tiny", "parameters": {"num_ctx": 1024}})
    assert rig.model("tiny:optimized", state="loaded", check=True)["action"] == "reload"
    result = rig.model("tiny:optimized", state="loaded")
    assert (result["action"], result["loaded"]["context_length"]) == ("reload", 1024) and "older digest" in result[
        "diff"
    ]["before"]["stale"]
    same_again(rig, "tiny:optimized", state="loaded")


def test_another_context_is_loaded_again(rig):
    rig.model("tiny:optimized", **OPTIMIZED)
    assert (
        rig.server().request(
            "POST",
            "/api/generate",
            {"model": "tiny:optimized", "keep_alive": -1, "options": {"num_ctx": 512}, "stream": False},
        )[0]
        == 200
    )
    result = rig.model("tiny:optimized", state="loaded")
    assert result["action"] == "reload" and "512 tokens instead of 2048" in result["diff"]["before"]["stale"]
    same_again(rig, "tiny:optimized", state="loaded")


def test_a_model_that_would_expire_is_kept(rig):
    rig.model()
    assert rig.model(state="loaded", keep_alive="10m")["action"] == "load"
    same_again(rig, state="loaded", keep_alive="10m")
    assert rig.model(state="loaded", check=True)["action"] == "keep_alive"
    assert rig.model(state="loaded")["action"] == "keep_alive"
    same_again(rig, state="loaded")


def test_absent_takes_a_loaded_model_off_the_gpus(rig):
    rig.model()
    rig.model(state="loaded")
    assert rig.model(state="absent")["action"] == "delete"
    assert rig.loaded() == [] and rig.server().engines() == []


def test_a_ghost_cannot_be_unloaded_and_that_is_said(rig):
    rig.model()
    rig.model(state="loaded", keep_alive="2s")
    assert rig.server().request("DELETE", "/api/delete", {"model": "tiny"})[0] == 200
    result = rig.model(state="unloaded")
    assert result["failed"] and "deleted while it was loaded" in result["msg"]
    rig.stop(0)


def test_loading_what_is_not_there(rig):
    result = rig.model(state="loaded")
    assert result["failed"] and "state: present first" in result["msg"]
    assert rig.model(state="loaded", check=True)["action"] == "load"


def test_a_load_that_fails_has_the_servers_reason(rig):
    rig.model()
    assert (
        rig.server().request(
            "POST", "/api/create", {"model": "bad", "from": "tiny", "parameters": {"num_gpu": "999"}, "stream": False}
        )[0]
        == 200
    )
    result = rig.model("bad", state="loaded")
    assert result["failed"] and 'option "num_gpu" must be of type integer' in result["msg"]


# -- model_info --------------------------------------------------------------------------------------------------------


def test_model_info_from_the_server_and_from_the_registry_agree(rig):
    rig.model()
    served = run_module("model_info", {"name": "tiny", "source": "server", "url": rig.url()})["model"]
    offered = run_module("model_info", {"name": "tiny", "registry": rig.host, "insecure": True})["model"]
    assert (
        served["digest"] == offered["digest"] == TINY_DIGEST
        and served["size_bytes"] == offered["size_bytes"] == TINY_BYTES
    )
    different = {key for key in served if served[key] != offered[key]}
    assert different <= {"source", "capabilities", "headers"}, different
