# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What is kept of a module's answer."""

from __future__ import annotations

import ast
import json
import pathlib

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.plugin_utils import host_answer
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.host_answer import AnswerError, cleaned, harmless

PLUGINS = pathlib.Path(host_answer.__file__).resolve().parents[1]
TYPES = {"float": float, "bool": bool, "dict": dict, "list": list, "str": str, "int": int}


def _documented(module):
    """The results of a module by its documentation."""
    for node in ast.parse((PLUGINS / "modules" / (module + ".py")).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "RETURN":
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(module)


def test_the_results_are_those_of_the_documentation():
    modules = {path.stem for path in (PLUGINS / "modules").glob("*.py")} - {"__init__"}
    # Those run on the controller only.
    on_host = modules - {"changes_info", "report", "show"}
    on_host -= {"benchmark_file", "endpoints_file", "evidence_file", "plan_file"}
    assert set(host_answer.RESULTS) == on_host
    for module, results in host_answer.RESULTS.items():
        documented = _documented(module)
        assert results == {
            key: (TYPES[result["type"]], result["returned"] in ("always", "success"))
            for key, result in documented.items()
        }, module
    for module, facts in host_answer.FACTS.items():
        assert set(facts) == set(_documented(module)["ansible_facts"]["contains"])


def test_every_module_that_runs_on_a_host_has_an_action_plugin():
    """Without one, Ansible acts on everything that the host answers."""
    assert set(host_answer.RESULTS) <= {path.stem for path in (PLUGINS / "action").glob("*.py")}


def test_only_documented_results_are_kept():
    lie = {
        "host": {"architecture": "x86_64"},
        "changed": False,
        "ansible_facts": {"ollama_multigpu_registry": "evil"},
        "add_host": {"host_name": "evil", "host_vars": {"ansible_connection": "local"}},
        "add_group": "secrets",
        "ansible_stats": {"data": {"x": 1}},
        "_ansible_no_log": True,
        "_ansible_suppress_tmpdir_delete": True,
        "exception": "Traceback",
        "skipped": True,
        "unreachable": True,
        "results": [],
        "stdout": "x",
    }
    assert cleaned("gpufleet.ollama.host_info", lie) == {"host": lie["host"], "changed": False, "failed": False}


def test_of_facts_only_the_inventory_of_gpus_is_kept():
    facts = {"gpu_inventory": {"state": "ok"}, "ollama_multigpu_models": [], "inventory_hostname": "../x"}
    assert cleaned("gpu_facts", {"ansible_facts": facts})["ansible_facts"] == {"gpu_inventory": {"state": "ok"}}
    with pytest.raises(AnswerError, match="lacks gpu_inventory"):
        cleaned("gpu_facts", {"ansible_facts": {"inventory_hostname": "../x"}})


@pytest.mark.parametrize(
    "answer, told",
    [
        ({}, "lacks host"),
        ({"host": []}, "has host as list, which is a dict"),
        ({"host": "x"}, "has host as str"),
        ({"host": {"x": float("inf")}}, "a number beyond all sizes"),
        ({"host": {"x": 10**30}}, "a number beyond all sizes"),
        ({"host": {"x": [0] * 5001}}, "a list of 5001 entries, and at most 5000"),
        ({"host": {"x": [[0] * 5000] * 51}}, "more than 250000 values"),
    ],
)
def test_what_no_module_answers_is_refused(answer, told):
    with pytest.raises(AnswerError, match=told):
        cleaned("host_info", answer)


def test_nesting_is_bounded():
    nested = inner = {}
    for _level in range(host_answer.MAX_DEPTH):
        inner["x"] = inner = {}
    with pytest.raises(AnswerError, match="nests more than 64 levels"):
        cleaned("host_info", {"host": nested})


def test_a_failure_needs_no_result_and_its_texts_are_short():
    kept = cleaned("host_info", {"failed": True, "msg": "x" * 10**6, "rc": 1, "module_stderr": ["x"]})
    assert kept["failed"] and len(kept["msg"]) == 64 * 1024 and kept["module_stderr"] == "['x']"


def test_a_long_answer_is_refused():
    assert harmless("x" * host_answer.MAX_BYTES)
    with pytest.raises(AnswerError, match="has 133000000 bytes, and at most 16777216 are taken"):
        harmless("x" * 133 * 10**6)


def test_what_a_terminal_obeys_is_taken_out():
    texts = {"title": "\x1b]0;x\x07", "erase": "\x1b[2J\b\f", "turn": "\u202e", "eight": "\x9b", "zero": "\x00"}
    for raw in (json.dumps(texts), json.dumps(texts, ensure_ascii=False)):
        shown = json.loads(harmless(raw), strict=False)
        assert set(shown) == set(texts)
        assert not set("".join(shown.values())) & set("\x1b\x07\b\f\x9b\x00"), raw
    assert "\\u202e" in harmless(json.dumps(texts))
    assert harmless("junk \x1b[31m{}\r\n") == "junk [31m{}\r\n"


def test_other_texts_stay_as_they_are():
    texts = ["{{ .Prompt }}\n\ttwo\r\n", "back\\slash \\u001b \\b", "\u00e9\u6f22\U0001f600", '"', "/"]
    for raw in (json.dumps(texts), json.dumps(texts, ensure_ascii=False)):
        assert json.loads(harmless(raw)) == texts


def test_the_answer_of_another_module_is_that_of_ansible():
    assert cleaned("ansible.legacy.stat", {"stat": {}, "x": 1}) == {"stat": {}, "x": 1}
