# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Parameters of a model: their types, and the texts of /api/show."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import parameters

from tests.unit.plugins.scripted_server import recorded

RECORDED = recorded()


def test_the_text_of_show_is_read_whatever_its_order():
    text = RECORDED["show-chain"]["response"]["body"]["parameters"]
    expected = {"num_gpu": 999, "stop": ["</s>", "<|end|>"], "temperature": 0.1, "num_ctx": 1024}
    assert parameters.of_show(text) == expected
    assert parameters.comparable(parameters.of_show("\n".join(reversed(text.splitlines())))) == parameters.comparable(
        expected
    )


def test_a_number_that_was_given_as_text_stays_text():
    assert parameters.of_show(RECORDED["show-bad-type"]["response"]["body"]["parameters"])["num_gpu"] == "999"


def test_quoting_of_go_is_undone():
    text = (
        'stop                           "a \\"b\\" \\n \\u00e9"\n'
        "use_mmap                       false\n"
        "top_p                          1e-05"
    )
    assert parameters.of_show(text) == {"stop": ['a "b" \n \u00e9'], "use_mmap": False, "top_p": 1e-05}


def test_good_parameters_pass():
    assert parameters.check({"num_gpu": 999, "temperature": 1, "stop": "x", "use_mmap": True}) == {
        "num_gpu": 999,
        "temperature": 1,
        "stop": ["x"],
        "use_mmap": True,
    }
    assert parameters.check(None) == {}


def test_a_null_passes_because_it_takes_away_what_the_base_has():
    assert parameters.check({"main_gpu": None, "num_ctx": 5}) == {"main_gpu": None, "num_ctx": 5}


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"num_gpu": "999"}, "num_gpu must be an integer, but is '999'"),
        ({"num_ctx": 8192.5}, "must be an integer"),
        ({"num_gpu": True}, "must be an integer"),
        ({"temperature": "warm"}, "must be a number"),
        ({"use_mmap": "yes"}, "must be true or false"),
        ({"stop": [1]}, "a text or a list of texts"),
        ({"nun_gpu": 2}, "did you mean num_gpu"),
        ({"zzz": 2}, "the known ones are"),
    ],
)
def test_wrong_parameters_are_refused(wrong, words):
    with pytest.raises(parameters.InvalidParameter, match=words):
        parameters.check(wrong)


def test_a_parameter_that_is_null_is_shown_as_go_prints_it():
    assert parameters.of_show("main_gpu                       <nil>\nnum_gpu   2") == {"main_gpu": None, "num_gpu": 2}


@pytest.mark.parametrize(
    "blobs, expected",
    [
        ([], {}),
        ([b'{"num_ctx":4096,"stop":["a"]}\n'], {"num_ctx": 4096, "stop": ["a"]}),
        ([b'{"a":1,"b":2}', b'{"b":3}'], {"a": 1, "b": 3}),
        ([b'{"a":1}', b"null", b'{"b":3}'], {"b": 3}),
        ([b'  {"a":1} trailing bytes that Go does not read'], {"a": 1}),
        ([b'{"a":1,"a":2}'], {"a": 2}),
        (
            [b'{"num_gpu":null,"num_batch":1e3,"use_mmap":false}'],
            {"num_gpu": None, "num_batch": 1e3, "use_mmap": False},
        ),
        ([b'{"stop":["\\ud800"],"\\udc00":"\xff"}'], {"stop": ["?"], "?": "\ufffd"}),
        ([b'{"a":{"b":[1]},"c":[[1],2,{"d":1}]}'], {"a": {}, "c": [[], 2, {}]}),
    ],
)
def test_parameter_layers_are_read_as_ollama_reads_them(blobs, expected):
    assert parameters.of_layers(blobs) == expected


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"[]",
        b"1",
        b'"x"',
        b"{",
        b"{'a':1}",
        b'{"a":Infinity}',
        b'{"a":1e400}',
        b'{"a":' + b"9" * 400 + b"}",
        b'{"a":' * 50000,
    ],
)
def test_a_parameter_layer_that_go_does_not_read_is_none(blob):
    with pytest.raises(ValueError, match="is not (JSON|a JSON object)"):
        parameters.of_layers([b"{}", blob])
