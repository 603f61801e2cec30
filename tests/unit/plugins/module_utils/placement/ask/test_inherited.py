# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The parameters that a model brings along."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.ask import inherited
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.errors import PlacementError

from tests.unit.plugins.module_utils.placement import builders


def planned(own, inventory=builders.TWO_4090, name="llama3.1-8b", version="0.32.15", **settings):
    """(the plan of a model with these parameters of its own, parameters of the optimized model or None)."""
    entry = builders.wanted(name, **settings)
    entry["model"] = dict(entry["model"], parameters=own)
    result = builders.plan(inventory, entry, ollama_version=version)
    models = [model for instance in result["instances"] for model in instance["models"]]
    return result, models[0]["parameters"] if models else None


def default_of(result):
    return result["models"][0]["default_behaviour"]


def words(result, text):
    return [warning for warning in result["warnings"] if text in warning]


# -- what would undo the plan is replaced ------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["spread", "single", "replicate"])
@pytest.mark.parametrize("value", [0, 1, 7, "1"])
def test_a_main_gpu_is_taken_away(strategy, value):
    result, parameters = planned({"main_gpu": value}, strategy=strategy)
    assert parameters["main_gpu"] is None
    assert words(result, "main_gpu %r of its own; it would put the whole model on one GPU" % value)
    assert "main_gpu" not in [setting["name"] for setting in default_of(result)["settings"]]


@pytest.mark.parametrize("own", [None, {}, {"main_gpu": None}, {"num_gpu": -1}, {"num_gpu": None}, {"temperature": 1}])
def test_what_does_not_matter_is_not_replaced(own):
    result, parameters = planned(own, strategy="single", allow_cpu_offload=True)
    assert set(parameters) == {"num_ctx"} and not words(result, "of its own")


@pytest.mark.parametrize("value", [0, 5, 33, 999, "999", 5.0])
def test_a_num_gpu_is_the_plans(value):
    result, parameters = planned({"num_gpu": value})
    assert parameters["num_gpu"] == 999 and words(result, "num_gpu %r of its own; the plan decides" % value)
    result, parameters = planned({"num_gpu": value}, allow_cpu_offload=True)
    assert parameters["num_gpu"] == -1
    entry = planned({"num_gpu": value}, allow_cpu_offload=True, optimized={"parameters": {"num_gpu": 20}})
    assert entry[1]["num_gpu"] == 20 and not words(entry[0], "of its own")


def test_a_num_gpu_does_not_force_layers_where_the_plan_does_not():
    """Before 0.30 a forced num_gpu takes all GPUs."""
    assert planned({"num_gpu": 999}, version="0.12.3")[1]["num_gpu"] == -1
    tight = builders.sized("m", 22.0, headroom_bytes=0)
    tight["model"] = dict(tight["model"], parameters={"num_gpu": 999})
    result = builders.plan(builders.hosts.inventory(builders.hosts.RTX4090), tight)
    assert result["instances"][0]["models"][0]["parameters"]["num_gpu"] == -1


# -- what is planned ---------------------------------------------------------------------------------------------------


def test_a_batch_of_its_own_is_planned():
    result, parameters = planned({"num_batch": 2048}, strategy="single")
    assert parameters["num_batch"] == 2048
    predicted = result["instances"][0]["models"][0]["predicted"]
    assert predicted == planned(None, strategy="single", ubatch=2048)[0]["instances"][0]["models"][0]["predicted"]
    assert words(result, "num_batch 2048 of its own, which is planned; set ubatch for another value")


@pytest.mark.parametrize("settings", [{"ubatch": 512}, {"optimized": {"parameters": {"num_batch": 512}}}])
def test_the_users_batch_wins(settings):
    result, parameters = planned({"num_batch": 8192}, **settings)
    assert parameters["num_batch"] == 512 and not words(result, "of its own")


@pytest.mark.parametrize(
    "value, expected, said",
    [
        (None, 512, "null of its own, for which Ollama takes 512, and that is planned"),
        (0, 512, "0 of its own, for which Ollama takes 512, and that is planned"),
        (-1, 512, "-1 of its own, for which Ollama takes 512, and that is planned"),
        (1024.0, 1024, "1024 of its own, which is planned"),
        (700.9, 700, "700.9 of its own, for which Ollama takes 700, and that is planned"),
    ],
)
def test_a_batch_is_read_as_ollama_reads_it(value, expected, said):
    result, parameters = planned({"num_batch": value})
    assert parameters["num_batch"] == expected and words(result, "num_batch %s; set ubatch" % said)


def test_a_batch_of_its_own_that_does_not_fit_is_named_with_what_would():
    devices = [
        planned({"num_batch": 8192}, builders.ONE_A6000, **settings)[0]["instances"][0]["models"][0]["predicted"][
            "devices"
        ]
        for settings in ({}, {"ubatch": 512})
    ]
    taken = [device[0]["total_bytes"] for device in devices]
    room = devices[0][0]["room_bytes"] - (taken[0] + taken[1]) // 2  # what is left with a batch between the two
    result, parameters = planned({"num_batch": 8192}, builders.ONE_A6000, headroom_bytes=room)
    assert not result["feasible"] and parameters is None
    assert planned({"num_batch": 8192}, builders.ONE_A6000, headroom_bytes=room, ubatch=512)[0]["feasible"]
    assert any(remedy.startswith("ubatch: 512 fits, instead of 8192") for remedy in result["models"][0]["remedies"])


@pytest.mark.parametrize(
    "own, settings, expected",
    [
        (None, {}, 8192),
        ({"num_ctx": 32768}, {}, 32768),
        ({"num_ctx": 32768.0}, {}, 32768),
        ({"num_ctx": None}, {}, 8192),
        ({"num_ctx": 0}, {}, 4),
        ({"num_ctx": 10**7}, {}, 131072),
        ({"num_ctx": 32768}, {"context_length": 4096}, 4096),
        ({"num_ctx": 32768}, {"optimized": {"parameters": {"num_ctx": 2048}}}, 2048),
        ({"num_ctx": "32768"}, {}, 8192),
    ],
)
def test_a_context_of_its_own_is_that_of_the_plan_unless_the_user_says_another(own, settings, expected):
    result, parameters = planned(own, **settings)
    assert parameters["num_ctx"] == expected
    mine = not settings and isinstance((own or {}).get("num_ctx"), (int, float))
    assert bool(words(result, "planned; set context_length for another value")) == mine


def test_a_context_of_its_own_beats_the_environment_as_in_ollama():
    result, parameters = planned({"num_ctx": 16384})
    entry = builders.wanted("llama3.1-8b")
    entry["model"] = dict(entry["model"], parameters={"num_ctx": 16384})
    result = builders.plan(builders.TWO_4090, entry, environment={"OLLAMA_CONTEXT_LENGTH": "4096"})
    assert result["instances"][0]["models"][0]["parameters"]["num_ctx"] == 16384 == parameters["num_ctx"]


# -- what Ollama cannot load -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own, words_",
    [
        (
            {"num_batch": "512"},
            "num_batch '512' of its own, and Ollama cannot load it: it must be an integer of 32 bits",
        ),
        ({"num_thread": True}, "num_thread True of its own"),
        ({"temperature": "hot"}, "temperature 'hot' of its own, and Ollama cannot load it: it must be a number"),
        ({"stop": "x"}, "stop 'x' of its own, and Ollama cannot load it: it must be an array of texts"),
        ({"stop": [1]}, "must be an array of texts"),
        ({"use_mmap": 1}, "it must be true or false; set use_mmap in optimized.parameters"),
        ({"num_batch": 2**31}, "num_batch 2147483648 of its own"),
        ({"num_thread": float("nan")}, "num_thread nan of its own"),
        ({"top_p": float("inf")}, "top_p inf of its own"),
        ({"draft_num_predict": "4"}, "draft_num_predict '4' of its own"),
    ],
)
def test_a_parameter_of_a_wrong_type_is_refused(own, words_):
    with pytest.raises(PlacementError) as caught:
        planned(own)
    assert words_ in str(caught.value)


def test_a_parameter_of_a_wrong_type_that_is_replaced_does_not_matter():
    assert planned({"num_gpu": "999", "num_ctx": "1", "main_gpu": True})[1]["num_gpu"] == 999
    assert planned({"num_batch": "512"}, ubatch=1024)[1]["num_batch"] == 1024
    assert planned({"num_thread": "8"}, optimized={"parameters": {"num_thread": 8}})[1]["num_thread"] == 8


@pytest.mark.parametrize("own", [{"mirostat": "x"}, {"made_up": {}}, {"num_gpu": None, "stop": None}])
def test_what_ollama_ignores_is_no_fault(own):
    assert inherited.fault(own) is None and planned(own)[0]["feasible"]


# -- the untouched model -----------------------------------------------------------------------------------------------


def test_the_untouched_model_is_predicted_with_its_own_parameters():
    plain = default_of(planned(None)[0])
    assert (plain["outcome"], plain["error"]) == ("split", None)  # the tier's context of 131072
    own = default_of(planned({"num_ctx": 4096, "num_batch": 256})[0])
    assert (own["outcome"], own["context_length"], own["batch"]) == ("single", 4096, 256)
    pinned = default_of(planned({"main_gpu": 1})[0])
    gpus = planned(None)[0]["gpus"]
    assert pinned["outcome"] in ("single", "partial") and pinned["gpu_uuids"] == [gpus[1]["uuid"]]
    layers = default_of(planned({"num_gpu": 10, "num_ctx": 4096})[0])
    assert (layers["outcome"], sum(layers["layers"])) == ("partial", 10)
    assert default_of(planned({"num_gpu": 0})[0])["outcome"] == "cpu"


@pytest.mark.parametrize(
    "own, error",
    [
        ({"main_gpu": 2}, "main_gpu 2 does not exist: the engine ends with an error"),
        ({"num_gpu": "999"}, 'option "num_gpu" must be an integer of 32 bits'),
    ],
)
def test_an_untouched_model_that_does_not_load_says_so(own, error):
    result = planned(own)[0]
    behaviour = default_of(result)
    assert (behaviour["outcome"], behaviour["error"]) == (None, error)
    assert "it would not load: " + error in result["models"][0]["reason"] and result["feasible"]


def test_a_negative_main_gpu_is_no_gpu():
    assert default_of(planned({"main_gpu": -1})[0])["outcome"] == "cpu"


@pytest.mark.parametrize("name", ["num_ctx", "num_batch", "num_gpu", "main_gpu", "temperature", "stop", "use_mmap"])
@pytest.mark.parametrize("value", [10**400, 2.0**80, float("nan"), -(2**31), "", [], {}, [{}], True, "\ud800", b"x"])
def test_any_value_gives_a_plan_or_a_sentence(name, value):
    try:
        result = planned({name: value}, strategy="single")[0]
    except PlacementError as error:
        assert name in str(error) and "set %s in optimized.parameters" % name in str(error)
    else:
        assert result["feasible"]
