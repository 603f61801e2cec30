# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Bytes of a load in the engine stand-in: recorded rows, loads without a row, the split, the fitting."""

from __future__ import annotations

import re

import pytest

from tests.rig.engine import adapters, devices, fit, header, journal, options, sizes
from tests.rig.gpus import state
from tests.rig.models import store
from tests.unit.rig.adapter_files import write_adapter

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


# --- experts on the host -------------------------------------------------------------------------

EXPERTS = ["-c", "32768", "-b", "1024", "-ub", "1024", "-ngl", "999"]


@pytest.mark.parametrize(
    "arguments, environment, layers",
    [
        (["--cpu-moe"], {}, 48),
        (["-ncmoe", "24"], {}, 24),
        ([], {"LLAMA_ARG_CPU_MOE": "1"}, 48),
        ([], {"LLAMA_ARG_N_CPU_MOE": "24"}, 24),
        (["--n-cpu-moe", "99"], {"LLAMA_ARG_CPU_MOE": "0"}, 48),
    ],
)
def test_experts_on_the_host_take_the_recorded_row(models, arguments, environment, layers):
    load, _lines = plan(models["llama4:16x17b"], state.preset("rtx-a6000-x2"), EXPERTS + arguments, environment)
    whole, _lines = plan(models["llama4:16x17b"], state.preset("rtx-a6000-x2"), EXPERTS)
    row = next(
        row
        for row in sizes._data("further-rows.json")["rows"]
        if (row["model"], row["n_ctx"], row["n_ubatch"], row["cache_type"], row["n_cpu_moe"], row["tensor_split"])
        == ("llama4-scout", 32768, 1024, "f16", layers, [1, 1])
    )
    assert mib(load) == [row["mib"]["RPC0"], row["mib"]["RPC1"]] and load.host.model / MIB == row["mib"]["Host"][0]
    # The engine moves exactly the expert tensors, of one layer each into a range of its own.
    experts = sizes.expert_bytes(header.read_header(models["llama4:16x17b"]), layers)
    assert load.host.model - whole.host.model == pytest.approx(sum(experts), abs=2 * MIB)
    assert load.ranges[1:] == experts and sum(load.ranges) == load.host.model
    assert load.layers == load.of == 49


def test_experts_on_the_host_without_a_row_name_the_command_that_records_it(models):
    with pytest.raises(sizes.NotRecorded, match=re.escape("-ncmoe 7', which")) as refused:
        plan(models["llama4:16x17b"], state.preset("rtx-a6000-x2"), [*EXPERTS, "-ncmoe", "7"])
    assert "python -m tests.oracle.record rig" in str(refused.value)


def test_a_model_without_experts_keeps_none_on_the_host(models):
    content = state.preset("rtx-a6000-x2")
    arguments = ["-c", "8192", "-ub", "1024", "-ngl", "999"]
    loads = [plan(models["llama3.1:8b"], content, arguments + more)[0] for more in ([], ["--cpu-moe"])]
    assert mib(loads[0]) == mib(loads[1]) and loads[1].ranges == [loads[1].host.model]


def test_the_fit_moves_nothing_where_experts_are_on_the_host(models):
    content = dict(state.preset("rtx-a6000-x2"), **{"gpu1.memory.base": str(46 * GIB)})
    _load, lines = plan(models["llama4:16x17b"], content, [*EXPERTS[:-2], "-ncmoe", "24", "-ts", "1,1"])
    assert lines[-1].endswith("model_params::tensor_split already set by user, abort")
    content = dict(state.preset("rtx-a6000-x2"), **{"gpu%d.memory.base" % number: str(46 * GIB) for number in (0, 1)})
    _load, lines = plan(models["llama4:16x17b"], content, [*EXPERTS[:-2], "-ncmoe", "24"])
    assert lines[-1].endswith("model_params::tensor_buft_overrides already set by user, abort")


@pytest.mark.parametrize("mode, name", [("mmap", "CPU_Mapped"), ("none", "CPU ")])
def test_each_range_of_experts_is_a_line_of_the_log_where_the_file_is_mapped(models, mode, name):
    arguments = [*EXPERTS, "--cpu-moe", "--load-mode", mode]
    content = state.preset("rtx-a6000-x2")
    load, _lines = plan(models["llama4:16x17b"], content, arguments)
    parsed = options.parse(arguments, {})
    lines = journal.tensors(parsed, devices.visible(content, {})[0], load, False)
    sizes_shown = [float(line.split()[-2]) for line in lines if "%s model buffer size" % name.strip() in line]
    assert len(sizes_shown) == (49 if mode == "mmap" else 1)
    assert sum(sizes_shown) == pytest.approx((load.host.model - (0 if mode == "mmap" else load.ranges[0])) / MIB, abs=1)
    assert any("tensor overrides to CPU" in line for line in lines) is (mode == "mmap")


# --- adapters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "devices_count, layers, rank, parts, wanted",
    [
        (1, 999, 64, ("attn_q.", "ffn_down."), [[4.25], 0]),
        (2, 999, 64, ("attn_q.", "ffn_down."), [[2.66, 1.59], 0]),
        (2, 999, 16, ("attn_v.",), [[0.16, 0.09], 0]),
        (1, 5, 64, ("attn_q.", "ffn_down."), [[2.12], 2.12]),
    ],
)
def test_an_adapter_takes_what_llama_server_takes_for_it(models, tmp_path, devices_count, layers, rank, parts, wanted):
    # Recorded by llama-server of build 11669 with the rig's own model `small`.
    small = header.read_header(models["small:latest"])
    load = sizes.computed(small, options.parse(["-c", "4096"], {}), devices_count, layers, [1] * devices_count)
    path = write_adapter(tmp_path / "lora", "small:latest", rank, parts)
    adapter = adapters.Adapter(path, small, load)
    assert [size / MIB for size in adapter.devices] == pytest.approx(wanted[0], abs=0.01)
    assert adapter.host / MIB == pytest.approx(wanted[1], abs=0.01)


@pytest.mark.parametrize(
    "made, words",
    [
        (("tiny:latest", {}), "tensor 'blk.0.attn_v.weight' has incorrect shape (hint: maybe wrong base model?)"),
        (("small:latest", {"general.type": "model"}), "expect general.type to be 'adapter', but got: model"),
        (("qwen3:8b", {}), "(hint: maybe wrong base model?)"),
        (None, "No such file or directory"),
    ],
)
def test_an_adapter_that_does_not_go_with_the_model_is_refused_in_the_engine_s_words(models, tmp_path, made, words):
    small = header.read_header(models["small:latest"])
    load = sizes.computed(small, options.parse(["-c", "4096"], {}), 1, 999, [1])
    path = str(tmp_path / "lora")
    if made:
        write_adapter(path, made[0], 16, ("attn_v.",), **made[1])
    with pytest.raises(adapters.AdapterError, match=re.escape(words)) as refused:
        adapters.Adapter(path, small, load)
    assert refused.value.lines[-1] == "cmn  common_init_: failed to load lora adapter '%s'" % path
