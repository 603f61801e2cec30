# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bytes of a load in the engine stand-in: recorded rows, loads without a row, the split, the fitting."""

from __future__ import annotations

import re

import pytest

from tests.rig.engine import devices, fit, header, journal, options, sizes
from tests.rig.gpus import state
from tests.rig.models import store

MIB = 1024 * 1024
GIB = 1024 * MIB
LLAMA4 = ("-c", "32768", "-np", "1", "-b", "1024", "-ub", "1024", "--flash-attn", "auto")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    names = ("llama4:16x17b", "llama3.1:8b", "small:latest", "tiny:latest")
    for name in names:
        store.write_model(name, directory / name.replace(":", "-"))
    return {name: str(directory / name.replace(":", "-")) for name in names}


def plan(model, content, arguments, environment=None):
    """Compute (Load, log lines) in this process."""
    parsed = options.parse(["--model", model, *arguments], environment or {})
    return fit.fit(header.read_header(model), parsed, devices.visible(content, environment or {})[0], 64 * GIB)


def mib(load):
    return [[part.model / MIB, part.kv / MIB, part.compute / MIB] for part in load.parts]


@pytest.mark.parametrize(
    "ub, wanted",
    [("512", [[31659, 1414, 380], [30105, 1346, 330]]), ("1024", [[31659, 1452, 764], [30105, 1380, 664]])],
)
def test_llama4_over_two_gpus_takes_the_recorded_row(models, ub, wanted):
    load, lines = plan(models["llama4:16x17b"], state.preset("rtx-a6000-x2"), ["-c", "32768", "-b", ub, "-ub", ub])
    assert mib(load) == wanted
    assert load.host.model / MIB == 554
    assert load.layers == load.of == 49
    assert lines[-1] == "common_fit_params: successfully fit params to free device memory"


def test_a_little_less_free_memory_on_one_gpu_is_the_same_row(models):
    content = dict(state.preset("rtx-a6000-x2"), **{"gpu0.memory.base": str(300 * MIB)})
    assert mib(plan(models["llama4:16x17b"], content, LLAMA4)[0]) == [[31659, 1452, 764], [30105, 1380, 664]]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["-c", "10000", "-ub", "512"], "llama-server -lv 4 -m MODEL.gguf -c 10000 -ngl 999"),
        (["-c", "32768", "-ub", "512", "-fa", "off"], "-fa off"),
        (["-c", "32768", "-ub", "512", "-ts", "3,1"], "-ts 3,1"),
        (["-c", "32768", "-ub", "512", "-np", "2"], "-np 2"),
        (["-c", "32768", "-ub", "512", "-ngl", "20"], "whole models only"),
        (["-c", "32768", "-ub", "512", "-ctk", "q4_0", "-ctv", "q4_0"], "-ctk q4_0"),
    ],
)
def test_a_load_without_a_row_names_the_command_that_records_it(models, arguments, words):
    with pytest.raises(sizes.NotRecorded, match=re.escape(words)):
        plan(models["llama4:16x17b"], state.preset("rtx-a6000-x2"), arguments)


def test_another_quantization_is_another_model(models):
    llama = header.read_header(models["llama3.1:8b"])
    llama.tensors = [(name, kind, shape, size * 2) for name, kind, shape, size in llama.tensors]
    with pytest.raises(sizes.NotRecorded):
        sizes.recorded(llama, options.parse(["-c", "8192", "-ub", "1024"], {}), 1, [1])


@pytest.mark.parametrize(
    "arguments, devices, layers, wanted",
    [
        (["-c", "2048", "-ub", "512"], 1, 999, [20.01]),
        (["-c", "8192", "-ub", "2048"], 1, 999, [104.05]),
        (["-c", "2048", "-ub", "512"], 2, 999, [44.05, 30.54]),
        (["-c", "8192", "-ub", "1024"], 4, 999, [136.11, 109.08, 109.08, 85.08]),
        (["-c", "8192", "-ub", "512", "-np", "2"], 2, 999, [52.05, 38.54]),
        (["-c", "8192", "-ub", "2048", "--embedding"], 2, 999, [272.22, 218.22]),
        (["-c", "2048", "-ub", "512"], 2, 6, [26.0, 17.01]),
        (["-c", "2048", "-ub", "512"], 2, 2, [26.0, 0.06]),
    ],
)
def test_a_small_model_takes_what_llama_server_takes_for_it(models, arguments, devices, layers, wanted):
    # Recorded by llama-server of build 11669 with the rig's own model `small`.
    parsed = options.parse(arguments, {})
    load = sizes.computed(header.read_header(models["small:latest"]), parsed, devices, layers, [1] * devices)
    assert [part.compute / MIB for part in load.parts] == pytest.approx(wanted, abs=0.3)


def test_the_log_says_how_many_rows_of_logits_there_are(models):
    small = header.read_header(models["small:latest"])
    for arguments, rows in ((["-np", "3"], 3), (["-b", "1024"], 1), (["-b", "1024", "--embedding"], 1024)):
        lines = journal.context(
            small,
            options.parse(arguments, {}),
            [],
            sizes.computed(small, options.parse(arguments, {}), 0, 0, []),
            False,
        )
        assert "llama_context: n_outputs_max         = %d" % rows in lines


def test_the_split_counts_layers():
    assert sizes.assign(9, [1, 1]) == [0] * 5 + [1] * 4
    assert sizes.assign(8, [1, 1]) == [0] * 4 + [1] * 4  # half way is the second device's
    assert sizes.assign(9, [3, 1]) == [0] * 7 + [1] * 2
    assert sizes.assign(49, [1, 1]).count(0) == 25


def test_a_split_by_unequal_free_memory(models):
    content = dict(state.preset("rtx-a6000-x2"), **{"gpu0.memory.base": str(32 * GIB)})
    load, _lines = plan(models["tiny:latest"], content, ["-c", "2048"])
    assert [part.layers for part in load.parts] == [3, 6]


def test_fitting_moves_layers_of_a_small_model_to_the_cpu(models):
    content = state.preset("rtx-a6000-x2")
    for number in (0, 1):
        content["gpu%d.memory.base" % number] = str((48600 - 300 - 1024 - 70 - number) * MIB)
    load, lines = plan(models["tiny:latest"], content, ["-c", "131072", "-ub", "64"])
    assert 0 < load.layers < 9
    assert any("filling dense layers back-to-front" in line for line in lines)
    assert any("need to use" in line for line in lines)
    assert all(part.total <= 72 * MIB for part in load.parts)


def test_999_layers_switch_the_fitting_off(models):
    content = dict(
        state.preset("rtx-a6000-x2"), **{"gpu%d.memory.base" % n: str((48600 - 300 - 1000) * MIB) for n in (0, 1)}
    )
    load, lines = plan(models["tiny:latest"], content, ["-c", "2048", "-ngl", "999"])
    assert (
        lines[-1]
        == "common_fit_params: failed to fit params to free device memory: n_gpu_layers already set by user to 999, "
        "abort"
    )
    assert load.layers == 9


def test_margins_per_device():
    assert options.parse(["--fit-target", "512,2048"], {}).targets(2) == [512, 2048]
    assert options.parse([], {"LLAMA_ARG_FIT_TARGET": "2691"}).targets(2) == [2691, 2691]
    assert options.parse(["-ngl", "3"], {"LLAMA_ARG_N_GPU_LAYERS": "5"}).gpu_layers == 3
