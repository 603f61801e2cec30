# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The module placement_info: options in, plan out, nothing changed."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.doc_fragments import gpu_options, planned_models
from ansible_collections.gpufleet.ollama.plugins.modules import placement_info

from tests.oracle import hosts, models
from tests.unit.plugins.modules.run_module import run_module

ARGUMENTS = {
    "gpu_inventory": hosts.inventory(hosts.A6000, hosts.A6000),
    "ollama_version": "0.32.15",
    "models": [{"name": "llama4:16x17b", "model": models.model("llama4-scout"), "context_length": 32768}],
}


def test_a_plan_in_check_mode_and_without():
    result = run_module("placement_info", ARGUMENTS, check=True)
    assert result["changed"] is False and result["placement"]["feasible"]
    model = result["placement"]["instances"][0]["models"][0]
    assert [device["layers"] for device in model["predicted"]["devices"]] == [25, 24] and model["keep_alive"] == -1
    assert run_module("placement_info", ARGUMENTS) == result


def test_wrong_input_fails_with_a_sentence():
    wrong = dict(ARGUMENTS, models=[dict(ARGUMENTS["models"][0], parameters={"num_gpu": 2})])
    result = run_module("placement_info", wrong)
    assert result["failed"] and "number of layers, not of GPUs" in result["msg"]


@pytest.mark.parametrize(
    "models, sentence",
    [
        (["llama4:16x17b"], "Model 1 is 'llama4:16x17b': write {name: 'llama4:16x17b'}."),
        ([{"nmae": "m"}], "Model 1 has the unknown key nmae: did you mean name?"),
        ([{"name": "m", "replicas": "two"}], "replicas of model m is 'two': give a whole number, or leave it out."),
        (
            [{"name": "m", "optimized": {"paramters": {}}}, {"name": "n", "strategy": "spilt"}],
            "optimized of model m has the unknown key paramters: did you mean parameters? strategy of model n is "
            "'spilt': did you mean split?",
        ),
    ],
)
def test_a_wrong_structure_is_said_in_our_words(models, sentence):
    assert run_module("placement_info", dict(ARGUMENTS, models=models))["msg"] == sentence


@pytest.mark.parametrize("wrong", [True, 0, 1.5, [5], [None]])
def test_what_has_no_keys_is_said_in_our_words(wrong):
    """ansible-core looks for keys in it: TypeError, argument of type 'bool' is not iterable."""
    model = dict(ARGUMENTS["models"][0], name="m")
    shown = "a list" if isinstance(wrong, list) else str(wrong).lower()
    for options, start in (
        ({"models": [dict(model, optimized=wrong)]}, "optimized of model m is %s: give a mapping with suffix," % shown),
        ({"models": [dict(model, speculative=wrong)]}, "speculative of model m is %s: give a mapping with" % shown),
        ({"measure": wrong}, "measure is %s: give a mapping with engine, stores, timeout" % shown),
    ):
        result = run_module("placement_info", dict(ARGUMENTS, **options))
        assert result["failed"] and result["msg"].startswith(start), result


def test_the_end_of_a_cordon_is_compared_with_the_clock(monkeypatch):
    first = ARGUMENTS["gpu_inventory"]["gpus"][0]["uuid"]
    small = dict(ARGUMENTS, models=[{"name": "llama3.1:8b", "model": models.model("llama3.1-8b"), "replicas": 1}])
    ends = {"2000-01-01": False, "2999-01-01": True}
    for until, cordoned in ends.items():
        placement = run_module("placement_info", dict(small, cordon=[{"gpu": 0, "until": until}]))["placement"]
        assert (placement["left_out"] != []) == cordoned == (placement["instances"][0]["gpu_uuids"] != [first])
    later = dict(small, cordon=[{"gpu": 0, "until": "2999-01-01"}], now="2999-01-02T00:00:00Z")
    assert run_module("placement_info", later)["placement"]["left_out"] == []
    assert placement_info.time_here()[10] == "T" and placement_info.time_here()[19] in "+-"


def test_a_wrong_cordon_is_said_in_our_words():
    def said(cordon):
        return run_module("placement_info", dict(ARGUMENTS, cordon=cordon))["msg"]

    assert said([{"gpu": 0, "until": "tomorrow"}]).startswith("until of entry 1 of cordon is 'tomorrow'")
    assert "gpu" in said([{"gpus": 0}])


def test_another_option_that_is_wrong_has_ansibles_words():
    assert "base_port" in run_module("placement_info", dict(ARGUMENTS, base_port="many"))["msg"]


def test_more_replicas_than_gpus():
    wanted = [{"name": "llama3.1:8b", "model": models.model("llama3.1-8b"), "replicas": 5}]
    placement = run_module("placement_info", dict(ARGUMENTS, models=wanted))["placement"]
    assert len(placement["instances"]) == 2
    (warning,) = placement["warnings"]
    assert warning.startswith(
        "llama3.1:8b gets 2 of the 5 replicas asked for: each takes a GPU of its own, and there are only 2; did you "
        "mean replicas: 2"
    )


def test_an_infeasible_plan_is_an_answer_and_not_a_failure():
    small = dict(ARGUMENTS, gpu_inventory=hosts.inventory(hosts.RTX4090))
    result = run_module("placement_info", small)
    assert not result.get("failed") and not result["placement"]["feasible"]
    assert result["placement"]["models"][0]["shortfall_bytes"] > 0


def test_documentation_and_options_agree():
    documented = yaml.safe_load(placement_info.DOCUMENTATION)["options"]
    for fragment in (gpu_options, planned_models):
        documented.update(yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"])
    spec = placement_info.argument_spec()
    assert set(documented) == set(spec)
    assert set(documented["models"]["suboptions"]) == set(spec["models"]["options"])
    assert set(documented["models"]["suboptions"]["optimized"]["suboptions"]) == set(
        spec["models"]["options"]["optimized"]["options"]
    )
