# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What no model answers, and replicas that cannot both be well; answers of models are no fault."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import answers
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import Answer

WORDS = "The sea is wide and it keeps its own time .".split()


def answer(tokens=None, server="one.service", **changes):
    """An answer with a log-probability for each token."""
    words = [(" " + word, -0.5, ((" " + word, -0.5), (" x", -2.5))) for word in WORDS] if tokens is None else tokens
    text = "".join(word for word, _value, _others in words)
    return Answer(
        **dict({"server": server, "model": "llama3", "content": "d", "text": text, "tokens": tuple(words)}, **changes)
    )


def begins(likeliest, server="two.service", **changes):
    """An answer whose first token has these likeliest ones: {text: log-probability}."""
    first = next(iter(likeliest))
    return answer([(first, likeliest[first], tuple(likeliest.items()))], server, **changes)


def vector(numbers, server="one.service", **changes):
    return answer([], server, **dict({"vector": tuple(numbers), "width": 4}, **changes))


OTHER = begins({" Once": -0.1, " In": -2.9})


def kinds(one):
    return [fault.finding for fault in answers.faults(one)]


def odd(*replicas):
    """The servers of the replicas that disagree."""
    return [one.answer.server for one in answers.compared(replicas) if one.fault]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf"), 0.5, "x", True])
def test_log_probabilities_that_are_none(value):
    assert kinds(answer([(" a", -0.1, ()), (" b", value, ())])) == ["answer_no_number"]


def test_a_probability_of_one_is_rounded():
    assert kinds(answer([(" a", 1e-6, ()), (" b", 0, ((" b", 0), (" c", -18.5)))])) == []


def test_zeros_are_what_ollama_writes_for_no_number():
    assert kinds(answer([("!", 0, (("!", 0), ("?", 0)))])) == ["answer_no_number"]


def test_tokens_of_a_draft_come_with_the_logarithm_zero_and_say_nothing():
    assert (
        kinds(answer([(" a", -0.2, ((" a", -0.2), (" b", -2))), *[(" %d" % number, 0, ()) for number in range(9)]]))
        == []
    )


def test_an_error_of_json_about_no_number():
    assert kinds(answer([], error="json: unsupported value: NaN")) == ["answer_no_number"]
    assert kinds(answer([], error="embedding contains NaN or Inf values")) == ["answer_no_number"]
    assert kinds(answer([], error="model not found in Nanterre")) == []


def test_answers_without_log_probabilities_are_judged_by_their_text():
    assert kinds(answer([], text="!!!!!!!!!!!!")) == ["answer_one_token"]
    assert kinds(answer([], text="Das Meer ist weit. 海は広い。 Море — это 🌊…")) == []
    assert kinds(answer([], text="".join(chr(0xE000 + n) for n in range(9)))) == ["answer_unprintable"]


def test_a_short_answer_and_a_cut_letter_are_well():
    assert kinds(answer([("!", -0.1, ())] * 7)) == []
    assert kinds(answer([("!", -0.1, ())] * 8)) == ["answer_one_token"]
    assert kinds(answer([], text="A sentence about the sea \ufffd")) == []


@pytest.mark.parametrize(
    "numbers", [[], [0, 0, 0, 0], [1, 2, 3, float("nan")], [1, 2, 3, None], [1, 2, 3, "x"], [1, 2, 3], [True] * 4]
)
def test_vectors_that_are_none(numbers):
    assert kinds(vector(numbers)) == ["vector_wrong"]
    assert kinds(vector([0.5, 0.5, 0.5, -0.5])) == []


def test_two_replicas_that_disagree_are_both_told():
    assert odd(answer(), OTHER) == ["one.service", "two.service"]


def test_replicas_that_begin_alike_are_well():
    assert odd(answer(), answer(server="two.service")) == []
    assert odd(answer(), begins({" The": -0.9, " x": -1.0})) == []


@pytest.mark.parametrize("gap, told", [(0.99, False), (1.01, True)])
def test_what_is_about_as_likely_may_be_turned_by_rounding(gap, told):
    one = begins({" The": -0.3, " Once": -0.3 - gap}, "one.service")
    two = begins({" Once": -0.6, " The": -0.7})
    assert bool(odd(one, two)) is told
    assert bool(odd(two, one)) is told, "it is enough that one of the two is clear"


def test_later_tokens_do_not_count():
    words = answer().tokens
    assert odd(answer(), answer(words[:1] + OTHER.tokens * 9, "two.service")) == []


def test_the_likeliest_token_counts_whatever_was_generated():
    """A penalty of the model's parameters may have taken another one."""
    taken = answer([(" x", -2.5, ((" x", -2.5), (" The", -0.5)))], "two.service")
    assert odd(answer(), taken) == []


def test_the_odd_one_of_three_is_told():
    replicas = [answer(server="%s.service" % name) for name in ("one", "three")]
    assert odd(replicas[0], OTHER, replicas[1]) == ["two.service"]


def test_other_models_and_unknown_ones_are_not_compared():
    assert odd(answer(), begins({" Once": -0.1, " In": -3}, content="other")) == []
    assert odd(answer(content=""), begins({" Once": -0.1, " In": -3}, content="")) == []
    assert list(answers.compared([answer()])) == []


@pytest.mark.parametrize(
    "ending, told",
    [(["G"] * 16, True), (["G"] * 15, False), (["\n"] * 40, False), (["."] * 20 + ["!"], False)],
    ids=["one token to the end", "too few", "white space", "another one at the end"],
)
def test_an_answer_that_ends_with_one_token_for_ever(ending, told):
    found = kinds(answer([(" The", -0.5, ()), *[(one, -0.5, ()) for one in ending]]))
    assert found == (["answer_one_token"] if told else [])


@pytest.mark.parametrize("count", [8, 16, 40])
def test_parts_of_letters_whose_bytes_are_not_known_are_not_one_token(count):
    """A letter of some scripts is several tokens, each of which reads U+FFFD: the text has the letters."""
    parts = [("\ufffd", -0.1 * (number % 7), ()) for number in range(count)]
    assert kinds(answer(parts, text="海" * (count // 3))) == []
    assert kinds(answer([(" The", -0.5, ()), *parts], text="The " + "海" * (count // 3))) == []
    assert kinds(answer([], text="The " + "海は広い" * 9)) == []


def test_one_part_of_a_letter_for_ever_is_told_by_its_bytes_or_by_the_text():
    assert kinds(answer([("\\xe6", -0.1, ())] * 16, text="x")) == ["answer_one_token"]
    assert kinds(answer([("\\xe6", -0.1, ()), ("\\xb5", -0.1, ())] * 16, text="x")) == []
    assert kinds(answer([("\ufffd", -0.1, ())] * 16)) == ["answer_unprintable"]
    assert kinds(answer([], text="\ufffd" * 16)) == ["answer_unprintable"]


def test_a_line_below_an_answer_is_no_token_for_ever():
    assert kinds(answer([], text="The sea\n" + "-" * 40)) == []


def test_an_answer_that_is_wrong_by_itself_is_not_held_against_others():
    garbage = answer([("!", -0.1, (("!", -0.1), ("?", -3.0)))] * 9, "two.service")
    assert kinds(garbage) == ["answer_one_token"] and odd(answer(), garbage) == []


def test_what_cannot_be_compared_is_not_known():
    beside = list(answers.compared([answer(), answer([], "two.service", text="x")]))
    assert [(one.is_known, one.fault) for one in beside] == [(False, None)] * 2
    beside = list(answers.compared([answer(), begins({" Once": -0.1})]))
    assert [one.is_known for one in beside] == [False, False], "one token alone has nothing beside it"


def test_vectors_of_replicas():
    one = [0.5, -0.5, 0.5, 0.5]
    assert odd(vector(one), vector([0.5001, -0.5, 0.4999, 0.5], "two.service")) == []
    assert odd(vector(one), vector([0.5, 0.5, -0.5, 0.5], "two.service")) == ["one.service", "two.service"]


def test_vectors_of_unequal_lengths_disagree_where_the_right_one_is_not_known():
    replicas = [vector([0.5] * length, "%d.service" % length, width=None) for length in (3, 4)]
    assert odd(*replicas) == ["3.service", "4.service"]
    assert "a vector of 3 numbers, and 4.service one of 4" in answers.disagreement(*replicas)


def test_a_vector_and_a_text_cannot_be_compared():
    assert [one.is_known for one in answers.compared([answer(), vector([0.5] * 4, "two.service")])] == [False, False]
