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
