# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import modelfile, parameters

from tests.unit.plugins.scripted_server import recorded

RECORDED = recorded()
CASES = pathlib.Path(__file__).resolve().parents[4] / "fixtures" / "cases"


def request(**values):
    return dict(modelfile.empty_request(), **values)


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
        "adapter_files": [],
        "adapters": [],
        "license": ["MIT"],
        "messages": [{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Hi"}],
        "renderer": None,
        "parser": None,
        "requires": None,
        "draft": None,
        "draft_model": None,
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


def of_case(name):
    """The request that an input of tests/fixtures/cases makes."""
    args = json.loads((CASES / (name + ".json")).read_text(encoding="utf-8"))["args"]
    return modelfile.parse(args["modelfile"])


def test_a_truth_value_may_be_written_as_a_number():
    assert of_case("modelfile-bool-1")["parameters"] == {"use_mmap": True}


def test_tabs_separate_as_blanks_do():
    request = of_case("modelfile-tab")
    assert (request["from"], request["parameters"]) == ("llama3", {"num_ctx": 4096})


def test_renderer_and_parser_are_sent():
    sent = modelfile.create_payload("x", of_case("modelfile-renderer"))
    assert sent == {
        "model": "x",
        "from": "qwen3-coder:30b",
        "renderer": "qwen3-coder",
        "parser": "qwen3-coder",
        "parameters": {"num_ctx": 32000},
    }


def test_of_a_repeated_command_the_last_one_counts_and_some_add_up():
    request = modelfile.parse(
        "FROM x\nADAPTER /a\nADAPTER /b\nREQUIRES v0.14\nPARAMETER top_k 1\nPARAMETER top_k 2\nPARAMETER stop\t\n"
        "PARAMETER stop a\nLICENSE one\nLICENSE two\nDRAFT /d.gguf\nFROM y\nSYSTEM s\nSYSTEM \n"
    )
    assert request == dict(
        modelfile.empty_request(),
        adapters=["/b"],
        requires="0.14",
        parameters={"top_k": 2, "stop": ["", "a"]},
        license=["one", "two"],
        draft="/d.gguf",
        **{"from": "y"},
    )


def test_what_ollama_drops_is_dropped_whatever_its_value():
    request = modelfile.parse("FROM x\nPARAMETER mirostat abc\nPARAMETER num_ctx 1")
    assert (request["parameters"], request["ignored"]) == ({"num_ctx": 1}, ["mirostat"])
    with pytest.raises(parameters.InvalidParameter, match="'numa' is unknown to Ollama"):
        modelfile.parse("FROM x\nPARAMETER numa true")


@pytest.mark.parametrize(
    "text, words",
    [
        ("FROM x\nREQUIRES latest", "line 2 of the Modelfile requires 'latest', which is no version such as"),
        ("FROM x\nADAPTER ./a.gguf", "line 2 of the Modelfile names the file './a.gguf'; give the whole path"),
        ("FROM x\nDRAFT a.gguf", "give the whole path"),
        ("FROM x\nDRAFT /a\nDRAFT /b", "line 3 of the Modelfile is a second DRAFT"),
        ("FROM ", "has a FROM without a model"),
    ],
)
def test_what_cannot_be_made_here_is_refused(text, words):
    with pytest.raises(modelfile.ModelfileError, match=words):
        modelfile.parse(text)


def test_a_file_is_not_hidden_by_another_from():
    assert modelfile.is_file(modelfile.parse("FROM ./x.gguf\nFROM y")["from"])


@pytest.mark.parametrize(
    "text, newest",
    [
        ("SYSTEM s", None),
        ("RENDERER r", ("RENDERER", (0, 12, 0))),
        ("PARSER p\nREQUIRES 1", ("REQUIRES", (0, 14, 0))),
        ("REQUIRES 1\nDRAFT /d", ("DRAFT", (0, 30, 0))),
        ("PARAMETER draft_num_predict 2", ("PARAMETER draft_num_predict", (0, 30, 0))),
    ],
)
def test_what_is_newest_in_a_request_is_known(text, newest):
    assert modelfile.newest_needed(modelfile.parse("FROM x\n" + text)) == newest


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
