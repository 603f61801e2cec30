# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""All layers of a manifest that act on a load: adapters, the draft model, the model's own parameters."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import manifest_facts, source
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.cache import Cache
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Adapter, ModelFacts
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import header_check, parameters
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import manifest as media
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError

from tests.rig.models import catalog, gguf
from tests.unit.plugins import model_layers as layers
from tests.unit.plugins.scripted_server import ranges, serving

PAIR_BYTES = 2 * 64 * layers.RANK * 2  # lora_a and lora_b of one matrix of 64 by 64 in F16


def from_store(directory, *given):
    return source.from_store(layers.in_store(directory, *given), "m")


def from_registry(server, cache=None):
    return source.from_registry(Registry(parse("m"), server.host, insecure=True, timeout=60), "m", Cache(cache))


def from_server(directory, show, *given):
    """From a server whose store is a directory of this host."""
    store = layers.in_store(directory, *given)
    tags = {"models": [{"name": "m:latest", "digest": "a" * 64, "size": 5}]}
    paths = {kind: store.blob_path(layers.digest_of(data)) for kind, data, _size in given}
    answer = dict(show, modelfile=show["modelfile"].format(**paths))
    with serving({("GET", "/api/tags"): (200, tags), ("POST", "/api/show"): (200, answer)}) as server:
        return source.from_server(OllamaClient(server.url), "m")


def show_of_tiny(modelfile, text=""):
    head, _size = catalog.header_of("tiny")
    del head
    tensors = [{"name": name, "type": kind, "shape": list(shape)} for name, kind, shape in catalog.tensors_of("tiny")]
    return {"modelfile": modelfile, "parameters": text, "model_info": catalog.pairs_of("tiny"), "tensors": tensors}


ALL = (
    layers.model(),
    layers.adapter(),
    layers.draft("small"),
    layers.parameters(num_batch=8192, main_gpu=1, stop=["a", "b"]),
)


def check_all(facts):
    assert facts["parameters"] == {"num_batch": 8192, "main_gpu": 1, "stop": ["a", "b"]}
    assert facts["adapters"] == [
        {
            "digest": layers.digest_of(ALL[1][1]),
            "size_bytes": ALL[1][2],
            "layer_bytes": {str(block): PAIR_BYTES for block in range(8)},
            "other_bytes": 0,
            "embedding_bytes": 0,
            "rank": layers.RANK,
        }
    ]
    small = catalog.MODELS["small:latest"]
    assert facts["draft"]["architecture"] == small["architecture"]
    assert facts["draft"]["file_bytes"] == facts["draft"]["size_bytes"] == ALL[2][2]
    assert facts["draft"]["digest"] == layers.digest_of(ALL[2][1])
    assert len(facts["draft"]["layers"]) == facts["draft"]["block_count"] > 0


def test_a_store_and_a_registry_say_the_same_of_all_layers(tmp_path):
    stored = from_store(tmp_path, *ALL)[0]
    check_all(stored)
    with serving(layers.routes(*ALL)) as server:
        served = from_registry(server)[0]
    check_all(served)
    assert {key: value for key, value in served.items() if key != "source"} == {
        key: value for key, value in stored.items() if key != "source"
    }


def test_a_model_of_another_server_is_not_planned():
    configuration = b'{"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}'
    config = {"digest": layers.digest_of(configuration), "size": len(configuration)}
    reads = manifest_facts.Reads(None, lambda layer: configuration)
    for listed in (None, []):
        manifest = media.Manifest(json.dumps({"layers": listed, "config": config}).encode())
        with pytest.raises(manifest_facts.SourceError, match="m is a model of another server .https://ollama.com:443"):
            manifest_facts.manifest_facts(manifest, reads, "m")
    with pytest.raises(manifest_facts.SourceError, match="no model in the GGUF format"):
        manifest_facts.manifest_facts(manifest, reads._replace(blob=lambda layer: b"{}"), "m")


def test_the_files_of_a_server_are_read_where_they_are_on_this_host(tmp_path):
    text = 'num_batch                      8192\nmain_gpu                       1\nstop   "a"\nstop   "b"'
    show = show_of_tiny("# Modelfile\n\nFROM {model}\nADAPTER {adapter}\nDRAFT {draft}\nTEMPLATE x\n", text)
    facts, bytes_read = from_server(tmp_path, show, *ALL)
    check_all(facts)
    assert bytes_read > 0 and facts["headers"] is None


def test_a_text_of_the_model_names_no_adapter(tmp_path):
    show = show_of_tiny('FROM {model}\nSYSTEM """a\nADAPTER {adapter}\n"""\n')
    facts, bytes_read = from_server(tmp_path, show, *ALL)
    assert (facts["adapters"], facts["draft"], facts["parameters"], bytes_read) == ([], None, None, 0)


@pytest.mark.parametrize("line", ["ADAPTER /nowhere/blobs/sha256-" + "a" * 64, "DRAFT /etc/passwd", "ADAPTER a.gguf"])
def test_what_a_server_does_not_say_is_no_guess(tmp_path, line):
    with pytest.raises(source.SourceError, match="does not say how large the (adapter|draft model) of m.*use source"):
        from_server(tmp_path, show_of_tiny("FROM {model}\n%s\n" % line), *ALL)


def test_the_headers_of_all_layers_are_compared_after_the_pull(tmp_path):
    facts = from_store(tmp_path, *ALL)[0]
    assert len(facts["headers"]) == 3
    store, planned = Store(str(tmp_path)), header_check.planned_headers(facts["headers"])
    assert header_check.differs(store, parse("m"), planned) is False
    for place in (1, 2):
        kind, data, size = ALL[place]
        lie = data.replace(b"blk.3.attn_q", b"blk.4.attn_z")
        with open(store.blob_path(layers.digest_of(data)), "r+b") as stream:
            stream.write(lie)
        assert header_check.differs(store, parse("m"), planned) is True, kind
        with open(store.blob_path(layers.digest_of(data)), "r+b") as stream:
            stream.write(data)


def test_of_several_drafts_the_last_is_loaded_and_of_adapters_all(tmp_path):
    other = layers.adapter(blocks=[0, 1])
    facts = from_store(tmp_path, layers.model(), layers.draft("tiny"), layers.adapter(), layers.draft("small"), other)[
        0
    ]
    assert facts["draft"]["digest"] == layers.digest_of(layers.draft("small")[1])
    assert [len(one["layer_bytes"]) for one in facts["adapters"]] == [8, 2]
    assert len(facts["headers"]) == 4


def test_of_several_projectors_the_first_is_loaded(tmp_path):
    def projector(rows):
        head, size = gguf.header({"general.architecture": "clip"}, [("v.patch_embd.weight", "F16", [64, rows])])
        return ("projector", head, len(head) + size)

    facts = from_store(tmp_path, layers.model(), projector(100), projector(300))[0]
    assert facts["projector_bytes"] == 64 * 100 * 2 and facts["projector_separate"]
    assert len(facts["headers"]) == 2
    store, planned = Store(str(tmp_path)), header_check.planned_headers(facts["headers"])
    assert header_check.differs(store, parse("m"), planned) is False


def test_an_adapter_that_was_made_for_a_larger_model_is_refused(tmp_path):
    with pytest.raises(source.SourceError, match="adapter of m changes block 8, and the model has the blocks 0 to 7"):
        from_store(tmp_path, layers.model(), layers.adapter(blocks=range(9)))


@pytest.mark.parametrize("made_for, said", [("gemma3", "for the architecture gemma3"), ("", "for no architecture")])
def test_an_adapter_that_was_made_for_another_architecture_is_refused(tmp_path, made_for, said):
    with pytest.raises(source.SourceError, match="adapter of m was made %s, and the model has the arch.* llama" % said):
        from_store(tmp_path, layers.model(), layers.adapter(architecture=made_for))


def test_the_cache_tells_models_apart_that_differ_in_one_layer(tmp_path):
    cache = str(tmp_path)
    sets = [
        (layers.model(),),
        (layers.model(), layers.parameters(num_batch=512)),
        (layers.model(), layers.parameters(num_batch=8192)),
        (layers.model(), layers.adapter()),
        (layers.model(), layers.draft()),
    ]
    found = []
    with serving(layers.routes(*sets[0])) as server:
        for one in sets:
            server.routes.update(layers.routes(*one))
            found.append(from_registry(server, cache)[0])
            assert from_registry(server, cache)[0] == found[-1]
    picked = [(one["parameters"], len(one["adapters"]), one["draft"] is not None) for one in found]
    assert picked == [
        (None, 0, False),
        ({"num_batch": 512}, 0, False),
        ({"num_batch": 8192}, 0, False),
        (None, 1, False),
        (None, 0, True),
    ]


def test_facts_out_of_the_cache_have_the_same_shape(tmp_path):
    with serving(layers.routes(*ALL)) as server:
        first = ModelFacts.of(from_registry(server, str(tmp_path))[0])
        again = ModelFacts.of(from_registry(server, str(tmp_path))[0])
    assert first == again and again.adapters[0].layer_bytes[7] == PAIR_BYTES
    assert isinstance(again.adapters[0], Adapter) and isinstance(again.draft, ModelFacts)


# -- damaged and hostile -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, words",
    [
        (b"[1]", "a parameter layer of m is not a JSON object"),
        (b'"x"', "is not a JSON object"),
        (b"{", "is not JSON"),
        (b'{"num_ctx": NaN}', "is not JSON"),
        (b'{"num_ctx": 1e999}', "is not JSON"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b"", "is not JSON"),
        (b"[" * 200000, "is not JSON"),
    ],
)
def test_parameters_that_ollama_cannot_read_are_a_sentence(tmp_path, content, words):
    with pytest.raises(source.SourceError, match=words):
        from_store(tmp_path, layers.model(), ("params", content, None))


@pytest.mark.parametrize("count, size", [(1, parameters.MAX_LAYER_BYTES + 1), (2, parameters.MAX_LAYER_BYTES)])
def test_parameters_are_bounded_before_they_are_read(count, size):
    given = [("params", b"{}" + bytes([number]), size) for number in range(count)]
    with serving(layers.routes(layers.model(), *given)) as server:
        with pytest.raises(source.SourceError, match="bytes of parameters, and no model has more than 262144"):
            from_registry(server)
        assert len(server.requests) == 1


def test_a_registry_cannot_lie_about_parameters():
    given = (layers.model(), layers.parameters(main_gpu=1))
    table = layers.routes(*given)
    table["GET", "/v2/library/m/blobs/" + layers.digest_of(given[1][1])] = ranges(b'{"main_gpu":0}\n')
    with serving(table) as server:
        with pytest.raises(source.SourceError, match="the parameters of m from .* are not those of the digest sha256:"):
            from_registry(server)


@pytest.mark.parametrize("kind, words", [("adapter", "the adapter of m"), ("draft", "the draft model of m")])
def test_a_layer_that_is_no_gguf_file_is_named(tmp_path, kind, words):
    junk = (kind, b"<html>login</html>" * 40, None)
    with serving(layers.routes(layers.model(), junk)) as server:
        with pytest.raises(HeaderError, match=words + " from .*: the file does not begin with GGUF"):
            from_registry(server)
    with pytest.raises(HeaderError, match="does not begin with GGUF"):
        from_store(tmp_path, layers.model(), junk)


@pytest.mark.parametrize("make", [layers.adapter, layers.draft])
def test_a_layer_that_ends_before_its_tensors_do_is_refused(tmp_path, make):
    kind, data, size = make()
    with serving(layers.routes(layers.model(), (kind, data, size - 4000))) as server:
        with pytest.raises(HeaderError, match="another header"):
            from_registry(server)
    with pytest.raises(HeaderError, match="cut off, so get it again"):
        from_store(tmp_path, layers.model(), (kind, data, size - 4000))


def test_a_draft_model_has_a_limit_of_its_own(monkeypatch):
    """Two vocabularies of 262,144 tokens do not fit into what one model's headers may take."""
    big = layers.model("llama3.1:8b")
    monkeypatch.setattr(source, "NETWORK_LIMIT", len(big[1]) + 1000)
    with serving(layers.routes(big, ("draft",) + big[1:])) as server:
        facts, bytes_read = from_registry(server)
    assert facts["draft"]["block_count"] == 32 and bytes_read >= 2 * len(big[1])
    with serving(layers.routes(big, ("adapter",) + layers.model("qwen3:8b")[1:])) as server:
        with pytest.raises(HeaderError, match="the adapter of m from .* (goes on after|cut off)"):
            from_registry(server)


def test_very_many_adapters_are_none():
    given = [("adapter", layers.adapter(blocks=[number % 8])[1], 5000 + number) for number in range(257)]
    with serving(layers.routes(layers.model(), *given)) as server:
        with pytest.raises(source.SourceError, match="lists 257 model files of one kind"):
            from_registry(server)
    assert manifest_facts.MAX_PARTS == 256


def test_a_blob_that_is_missing_is_named(tmp_path):
    store = layers.in_store(tmp_path, *ALL)
    os.unlink(store.blob_path(layers.digest_of(ALL[3][1])))
    with pytest.raises(StoreError, match="does not have the blob sha256-" + hashlib.sha256(ALL[3][1]).hexdigest()):
        source.from_store(store, "m")


def test_several_models_in_a_manifest_are_told_from_the_parts_of_one(tmp_path):
    """Ollama loads the last one alone; nothing is damaged."""
    first, last = layers.model("tiny"), layers.model("small")
    with pytest.raises(manifest_facts.SourceError) as caught:
        from_store(tmp_path, first, last)
    said = str(caught.value)
    assert "lists 2 models, which are not parts of one" in said and "damaged" not in said
    assert layers.digest_of(last[1])[:19] in said and "create the model again from one file" in said
    with pytest.raises(manifest_facts.SourceError, match="lists 2 models"):
        from_store(tmp_path / "twice", first, ("model", first[1] + b"", first[2]))


def with_config(store, content):
    """The store of a model with a configuration of these bytes."""
    path = store.manifest_path(parse("m"))
    with open(path, encoding="utf-8") as stream:
        manifest = json.load(stream)
    manifest["config"].update(digest=layers.digest_of(content), size=len(content))
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(manifest, stream)
    with open(store.blob_path(layers.digest_of(content)), "wb") as stream:
        stream.write(content)
    return store


@pytest.mark.parametrize(
    "content, found",
    [
        (b'{"model_family": "llama"}', ["completion"]),
        (b'{"capabilities": ["embedding"]}', ["completion", "embedding"]),
        (b'{"capabilities": ["completion", "tools", 5]}', ["completion", "tools"]),
        (b'{"capabilities": "embedding"}', ["completion"]),
        (b'{"capabilities": null}', ["completion"]),
    ],
)
def test_the_configuration_adds_capabilities(tmp_path, content, found):
    store = with_config(layers.in_store(tmp_path, layers.model()), content)
    assert source.from_store(store, "m")[0]["capabilities"] == found


def test_a_model_that_embeds_only_stays_one(tmp_path):
    assert manifest_facts._with_capabilities(["embedding"], {"capabilities": ["completion"]}) == ["embedding"]


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b"[" * 5000])
def test_a_configuration_that_is_none_is_said(tmp_path, content):
    store = with_config(layers.in_store(tmp_path, layers.model()), content)
    with pytest.raises(manifest_facts.SourceError, match="configuration of m .* is not JSON, so Ollama cannot load"):
        source.from_store(store, "m")


def test_a_configuration_comes_from_the_registry_as_well():
    content = b'{"capabilities": ["embedding"]}'
    manifest = json.loads(layers.manifest_of([layers.model()]))
    manifest["config"].update(digest=layers.digest_of(content), size=len(content))
    routes = dict(layers.routes(layers.model()))
    routes["GET", "/v2/library/m/manifests/latest"] = (200, json.dumps(manifest).encode())
    routes["GET", "/v2/library/m/blobs/" + layers.digest_of(content)] = ranges(content)
    with serving(routes) as server:
        assert from_registry(server)[0]["capabilities"] == ["completion", "embedding"]
