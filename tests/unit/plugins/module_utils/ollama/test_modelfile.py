# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import model_content, modelfile, parameters
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.manifest import Manifest

from tests.unit.plugins.scripted_server import recorded

RECORDED = recorded()


def content(name):
    return model_content.content_of_show(RECORDED[name]["response"]["body"])


def request(**values):
    return dict(modelfile.empty_request(), **values)


# -- Modelfiles --------------------------------------------------------------------------------------------------------


def test_a_modelfile_is_read():
    assert modelfile.parse('''# comment
FROM llama3.1:8b
parameter num_ctx 8192
PARAMETER temperature 0.5
PARAMETER stop "<|end|>"
PARAMETER stop </s>
TEMPLATE """{{ .System }}
# not a comment
{{ .Prompt }}"""
SYSTEM "You are
brief."
MESSAGE user Hello there
MESSAGE assistant """Hi"""
LICENSE MIT
''') == {
        "from": "llama3.1:8b",
        "parameters": {"num_ctx": 8192, "temperature": 0.5, "stop": ["<|end|>", "</s>"]},
        "template": "{{ .System }}\n# not a comment\n{{ .Prompt }}",
        "system": "You are\nbrief.",
        "adapters": [],
        "license": ["MIT"],
        "messages": [{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Hi"}],
        "renderer": None,
        "parser": None,
        "requires": None,
        "draft": None,
        "ignored": [],
    }


def test_what_ollama_show_prints_is_read_again():
    parsed = modelfile.parse(RECORDED["show-optimized"]["response"]["body"]["modelfile"])
    assert parsed["parameters"] == {"num_ctx": 2048, "num_gpu": 999, "stop": ["</s>", "<|end|>"], "temperature": 0.1}
    assert parsed["system"] == "You are tiny."


@pytest.mark.parametrize(
    "text, words",
    [
        ("PARAMETER num_ctx 1", "no FROM"),
        ("FROM x\nFRMO y", "line 2 of the Modelfile begins with 'FRMO'"),
        ('FROM x\nSYSTEM """never closed', "line 2 of the Modelfile is not closed"),
        ("FROM x\nPARAMETER num_ctx", "line 2 of the Modelfile needs a blank and a value after 'num_ctx', not the end"),
        ("FROM x\nMESSAGE robot hi", "not one of system, user, assistant"),
    ],
)
def test_a_broken_modelfile_is_refused(text, words):
    with pytest.raises(modelfile.ModelfileError, match=words):
        modelfile.parse(text)
    with pytest.raises(parameters.InvalidParameter, match="did you mean num_gpu"):
        modelfile.parse("FROM x\nPARAMETER nun_gpu 2")
    with pytest.raises(parameters.InvalidParameter, match="must be an integer"):
        modelfile.parse("FROM x\nPARAMETER num_gpu two")


@pytest.mark.parametrize(
    "base, file",
    [("./x.gguf", True), ("/srv/x", True), ("model.GGUF", True), ("llama3:8b", False), ("hf.co/a/b", False)],
)
def test_files_and_models_are_told_apart(base, file):
    assert modelfile.is_file(base) is file


# -- contents, against what the server really made ---------------------------------------------------------------------


def test_desired_content_is_what_the_server_made():
    base = content("show")
    assert model_content.desired(base, request(parameters={"num_gpu": 999, "num_ctx": 2048})) == content(
        "show-optimized"
    )
    assert model_content.desired(
        base, request(parameters={"num_gpu": 999}, system="Be brief.", template="{{ .Prompt }}")
    ) == content("show-optimized2")
    assert model_content.desired(content("show-optimized"), request(parameters={"num_ctx": 1024})) == content(
        "show-chain"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"parameters": {"num_gpu": 999, "num_ctx": 4096}},
        {"parameters": {"num_gpu": 999}},
        {"parameters": {"num_gpu": 999, "num_ctx": 2048, "seed": 1}},
        {"parameters": {"num_gpu": 999, "num_ctx": 2048}, "system": ""},
        {"parameters": {"num_gpu": 999, "num_ctx": 2048}, "template": "{{ .Prompt }}!"},
    ],
)
def test_any_difference_is_seen(changed):
    assert model_content.desired(content("show"), request(**changed)) != content("show-optimized")


def test_the_wrong_type_on_the_server_is_a_difference():
    assert model_content.desired(content("show"), request(parameters={"num_gpu": 999})) != content("show-bad-type")


def test_a_manifest_and_show_give_the_same_content():
    blobs = {}

    def layer(kind, data):
        digest = "sha256:%064x" % (len(blobs) + 1)
        blobs[digest] = data
        return {"mediaType": "application/vnd.ollama.image." + kind, "digest": digest, "size": len(data)}

    gguf = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": content("show-optimized")["from"][0],
        "size": 674176,
    }
    raw = json.dumps(
        {
            "layers": [
                gguf,
                layer("template", b"{{ .System }} {{ .Prompt }}"),
                layer("system", b"You are tiny."),
                layer("license", b"MIT-like text"),
                layer(
                    "params",
                    json.dumps(
                        {"stop": ["<|end|>", "</s>"], "temperature": 0.1, "num_gpu": 999, "num_ctx": 2048}
                    ).encode(),
                ),
            ]
        }
    )
    assert model_content.content_of_manifest(Manifest(raw.encode()), lambda item: blobs[item.digest]) == content(
        "show-optimized"
    )


def test_without_the_base_what_is_not_asked_for_is_believed():
    existing = content("show-optimized")
    assert model_content.without_base(existing, request(parameters={"num_ctx": 2048})) == existing
    assert model_content.without_base(existing, request(parameters={"num_ctx": 1024})) != existing


def test_the_diff_is_readable_and_sorted():
    text = model_content.render(content("show-optimized"))
    assert text.splitlines()[1:6] == [
        "PARAMETER num_ctx 2048",
        "PARAMETER num_gpu 999",
        'PARAMETER stop "</s>"',
        'PARAMETER stop "<|end|>"',
        "PARAMETER temperature 0.1",
    ]
    assert text.startswith("FROM sha256:cc067141")


def test_the_body_of_create_holds_what_was_asked_for_and_no_more():
    body = modelfile.create_payload(
        "tiny-optimized", request(**{"from": "tiny", "parameters": {"num_gpu": 999, "num_ctx": 2048}})
    )
    assert body == {"model": "tiny-optimized", "from": "tiny", "parameters": {"num_gpu": 999, "num_ctx": 2048}}
    assert modelfile.create_payload("x", request(**{"from": "y", "system": ""})) == {
        "model": "x",
        "from": "y",
        "system": "",
    }


def test_the_diff_of_a_model_whose_base_is_not_here_yet_shows_what_was_asked_for():
    asked = request(**{"from": "tiny", "parameters": {"num_gpu": 999, "stop": ["b", "a"]}, "system": "Be brief."})
    assert model_content.render(model_content.announced("tiny:latest", asked)).splitlines() == [
        "FROM tiny:latest",
        "PARAMETER num_gpu 999",
        'PARAMETER stop "a"',
        'PARAMETER stop "b"',
        'SYSTEM """Be brief."""',
    ]
