# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lists of models of several inventory groups as one."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.filter.merged_models import FilterModule
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.model_lists import (
    is_list_name,
    merge_problems,
    merged_models,
)

CHAT, CODE = "ollama_multigpu_models_chat", "ollama_multigpu_models_code"


def named(*names, **more):
    return [dict({"name": name}, **more) for name in names]


def test_which_variables_are_lists():
    assert is_list_name(CHAT) and is_list_name("ollama_multigpu_models_dri")
    for name in ("ollama_multigpu_models", "ollama_multigpu_models_", "ollama_multigpu_models_dir", "models_chat"):
        assert not is_list_name(name)


def test_models_of_all_lists_in_the_order_of_their_names():
    assert merged_models(named("z"), {CODE: named("c", "a"), CHAT: named("b")}) == named("z", "b", "c", "a")
    assert merged_models([], {CHAT: named("b")}) == named("b")
    assert merged_models(None, {CHAT: None, CODE: named("b")}) == named("b")
    assert FilterModule().filters()["merged_models"](named("z"), {}) == named("z")


def test_a_model_that_two_lists_name_has_the_keys_of_both():
    common = [{"name": "llama3.1:8b", "context_length": 8192, "optimized": {"parameters": {"temperature": 0}}}]
    chat = [{"name": "library/llama3.1:8b", "keep_alive": 5, "optimized": {"parameters": {"top_k": 3}, "system": "x"}}]
    assert merged_models(common, {CHAT: chat}) == [
        {
            "name": "llama3.1:8b",
            "context_length": 8192,
            "keep_alive": 5,
            "optimized": {"parameters": {"temperature": 0, "top_k": 3}, "system": "x"},
        }
    ]
    assert merge_problems(common, {CHAT: chat}) == []
    assert common[0]["optimized"] == {"parameters": {"temperature": 0}}, "what was given stays as it is"


def test_a_contradiction_names_both_lists():
    common, chat = named("a", context_length=8192, aliases=["x"]), named("a:latest", context_length=4096, aliases=["y"])
    (length, aliases) = merge_problems([], {CHAT: common, CODE: chat})
    assert length == (
        "ollama_multigpu_models_chat and ollama_multigpu_models_code say otherwise of a: context_length is 8192 in the "
        "first and 4096 in the second. Give it in one of them only, or the same in both."
    )
    assert aliases.startswith(
        "ollama_multigpu_models_chat and ollama_multigpu_models_code say otherwise of a: aliases "
    )
    assert merge_problems(common, {CHAT: common}) == []


def test_of_three_lists_the_one_that_said_it_is_named():
    lists = {CHAT: named("a", keep_alive=1), CODE: named("a", keep_alive=2)}
    (said,) = merge_problems(named("a"), lists)
    assert said.startswith("ollama_multigpu_models_chat and ollama_multigpu_models_code say otherwise")
    nested = {CHAT: named("a", optimized={"system": "x"}), CODE: named("a", optimized={"system": "y"})}
    (said,) = merge_problems(named("a"), nested)
    assert "_chat and ollama_multigpu_models_code say otherwise of a: optimized.system is 'x'" in said


def test_a_mapping_and_another_value_contradict_each_other():
    assert len(merge_problems(named("a", optimized=False), {CHAT: named("a", optimized={})})) == 1


def test_one_list_that_names_a_model_twice_stays_as_it_is():
    """The role refuses it with a message of its own."""
    twice = named("a", "a", keep_alive=1)
    assert merged_models([], {CHAT: twice}) == twice and merge_problems([], {CHAT: twice}) == []


@pytest.mark.parametrize("value, kind", [({"name": "a"}, "mapping"), ("/srv/models", "single value"), (3, "single")])
def test_what_is_no_list_is_told(value, kind):
    (said,) = merge_problems(named("a"), {CHAT: value})
    assert said.startswith("ollama_multigpu_models_chat is a %s" % kind) and "list of models" in said
    assert merged_models(named("a"), {CHAT: value}) == named("a")


def test_a_slip_of_the_pen_is_told():
    (said,) = merge_problems([], {"ollama_multigpu_models_dri": "/srv"})
    assert said.endswith("as in ollama_multigpu_models (or did you mean ollama_multigpu_models_dir?).")
    assert merge_problems([], {CHAT: "/srv"})[0].endswith("as in ollama_multigpu_models.")


@pytest.mark.parametrize("models", ["a", {"a": 1}, 3])
def test_another_first_value_stays_for_the_check_of_the_role(models):
    assert merged_models(models, {CHAT: named("a")}) == models and merge_problems(models, {CHAT: named("a")}) == []


@pytest.mark.parametrize("entry", ["a", None, {}, {"name": None}, {"name": 3}, ["a"], {"name": "not a name!"}])
def test_entries_that_are_no_models_stay_for_the_check_of_the_role(entry):
    assert merged_models([entry], {CHAT: [entry, {"name": "b"}]})[-1] == {"name": "b"}
    assert merge_problems([entry], {CHAT: [entry]}) == []
