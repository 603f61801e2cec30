# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A plan as a table: what stands in it on wide and narrow terminals, for few and many GPUs."""

from __future__ import annotations

import copy
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gains import Gains, gains_text
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_table import plan_table
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, columns_of, drawn

from tests.oracle import hosts
from tests.unit.plugins.plugin_utils.report.made_plans import planned

LLAMA = {"name": "llama4:16x17b", "context_length": 32768}
GEMMA = {"name": "gemma3:27b", "context_length": 8192}


def table(plan, host="gpu-a", **style):
    style = Style(**style)
    return drawn(style, plan_table(plan, style, host))


def test_a_split_plan():
    assert table(planned(LLAMA)) == [
        "Plan for Ollama 0.32.15 on gpu-a: feasible",
        "  GPU 0  GPU of 49140 MiB  ████████████████████▓▒╳········  33.4 GiB of 48.0 GiB",
        "  GPU 1  GPU of 49140 MiB  ███████████████████▓▒╳·········  31.7 GiB of 48.0 GiB",
        "  █ weights   ▓ KV cache   ▒ compute   ╳ others   · free",
        "  llama4:16x17b, split over GPU 0 and 1",
        "    served as  llama4:16x17b-optimized at http://127.0.0.1:11434",
        "    strategy   split: 65.1 GiB on 2 GPUs: no single GPU has room for it.",
        "    untouched  split over GPU 0 and 1, 25 + 24 layers, context 262144, 108.9 GiB",
        "               by its own estimate",
        "    planned    split over GPU 0 and 1, 25 + 24 layers, context 32768, KV cache",
        "               f16, 65.1 GiB predicted",
        "    gained     43.8 GiB of memory stay free, for 229376 tokens of context less",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("unicode", [True, False])
def test_lines_fit_the_terminal(width, unicode):
    lines = table(planned(LLAMA), width=width, unicode=unicode)
    assert max(map(columns_of, lines[1:])) <= width
    assert unicode or all(line.isascii() for line in lines)
    bars = [line for line in lines if line.startswith("  GPU ")]
    assert len(bars) == 2 and len({columns_of(line) for line in bars}) == 1


def test_a_wide_terminal_has_longer_bars():
    narrow, wide = (table(planned(LLAMA), width=width)[1].count("█") for width in (80, 120))
    assert wide > narrow


def test_without_unicode_the_bars_are_ascii():
    assert table(planned(LLAMA), unicode=False)[1:4:2] == [
        "  GPU 0  GPU of 49140 MiB  ####################=+x........  33.4 GiB of 48.0 GiB",
        "  # weights   = KV cache   + compute   x others   . free",
    ]


def test_colours_change_no_character():
    coloured = table(planned(LLAMA), colour=True)
    assert any("\x1b[" in line for line in coloured)
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == table(planned(LLAMA))


def test_replicas_say_what_is_gained():
    text = " ".join(" ".join(table(planned(GEMMA))).split())
    assert "gemma3:27b, 2 replicas on GPU 0 and 1" in text
    assert "at http://127.0.0.1:11434 and http://127.0.0.1:11435" in text
    assert "gained +1 replica, " in text and "GiB of memory stay free" in text


@pytest.mark.parametrize(
    "wanted, gpus, untouched, gained",
    [
        (
            {"name": "llama3.1:8b", "context_length": 65536},
            [hosts.RTX4090],
            "untouched  on GPU 0, 33 layers, context 32768, 8.6 GiB by its own estimate",
            "gained     +32768 tokens of context, for 4.7 GiB of memory more",
        ),
        (
            dict(GEMMA, strategy="single"),
            [hosts.A6000] * 2,
            "untouched  split over GPU 0 and 1, 32 + 31 layers, context 131072, 96.8 GiB by its own estimate",
            "gained     79.3 GiB of memory stay free, GPU 1 left to other models, for 122880 tokens of context less",
        ),
        (
            GEMMA,
            [(24564, 19500)],
            "untouched  partly on GPU 0, the rest on the CPU, 59 layers, context 32768, 35.7 GiB by its own estimate",
            "gained     +4 layers on GPUs, about 1001 MiB that the CPU would hold, for 24576 tokens of context less",
        ),
        (
            dict(GEMMA, allow_cpu_offload=True),
            [(12288, 12000)],
            "untouched  partly on GPU 0, the rest on the CPU, 38 layers, context 4096, 17.9 GiB by its own estimate",
            "gained     +4096 tokens of context, for 1 layer less on GPUs",
        ),
        (
            GEMMA,
            [(12288, 12000)] * 16,
            "untouched  Ollama 0.32.15 would not load it: the model goes to 16 GPUs, and one process can use at most "
            "15",
            "gained     it is loaded at all",
        ),
    ],
    ids=["context", "GPUs", "layers", "fewer layers", "loaded"],
)
def test_what_a_plan_gains(wanted, gpus, untouched, gained):
    lines = table(planned(wanted, gpus=gpus), width=160)
    assert [line[4:] for line in lines if line.startswith(("    untouched  ", "    gained  "))] == [untouched, gained]


@pytest.mark.parametrize(
    "found, told",
    [
        (
            Gains(context=-24576, bytes=-(2**30)),
            ("given up", "24576 tokens of context less and 1.0 GiB of memory more"),
        ),
        (Gains(layers=-1, layer_bytes=9), ("given up", "1 layer less on GPUs")),
        (Gains(layers=1, layer_bytes=2**30), ("gained", "+1 layer on GPUs, about 1.0 GiB that the CPU would hold")),
        (Gains(context=-8, replicas=1), ("gained", "+1 replica, for 8 tokens of context less")),
        (Gains(), ("gained", "nothing: Ollama would do the same by itself; the plan keeps it so")),
    ],
)
def test_where_nothing_is_gained_it_is_not_called_so(found, told):
    assert gains_text(found) == told


def test_a_model_spread_over_eight_gpus():
    lines = table(planned(dict(GEMMA, strategy="spread"), gpus=[hosts.RTX4090] * 8))
    assert [line.split()[1] for line in lines if line.startswith("  GPU ")] == list("01234567")
    assert "  gemma3:27b, spread over GPU 0 to 7" in lines


def test_layers_on_the_cpu_are_said():
    text = " ".join(" ".join(table(planned(dict(GEMMA, allow_cpu_offload=True), gpus=[(12288, 12000)]))).split())
    assert "of 63 layers" in text and "GiB in the host's memory" in text and "Warning: gemma3:27b runs with" in text


def test_a_plan_for_the_cpu_has_no_bar():
    plan = planned(LLAMA)
    plan["gpus"] = []
    (instance,) = plan["instances"]
    instance["gpu_uuids"] = []
    (model,) = instance["models"]
    model["predicted"].update(devices=[], gpu_layers=0)
    lines = table(plan)
    assert not [line for line in lines if "█" in line] and "  llama4:16x17b, on the CPU" in lines


def test_mig_devices_have_their_numbers():
    plan = planned(GEMMA, gpus=[hosts.A6000])
    text = copy.deepcopy(plan)
    text["gpus"][0].update(uuid="MIG-1", number=7, name="NVIDIA H100 80GB HBM3 MIG 3g.40gb")
    text["instances"][0]["gpu_uuids"] = ["MIG-1"]
    for device in text["instances"][0]["models"][0]["predicted"]["devices"]:
        device["uuid"] = "MIG-1"
    lines = table(text)
    assert lines[1].startswith("  GPU 7  H100 80GB HBM3 MIG 3g.4…  █") and "  gemma3:27b, on GPU 7" in lines


def test_a_plan_that_is_not_feasible_says_what_would_help():
    lines = table(planned(LLAMA, gpus=[hosts.RTX4090]))
    assert lines[0].endswith("NOT FEASIBLE") and "  llama4:16x17b has no place (single)" in lines
    labels = [line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "]
    assert labels[:2] == ["why", "short"] and labels.count("remedy") >= 3


def test_memory_of_others_is_said():
    plan = planned(GEMMA)
    plan["gpus"][1]["foreign_bytes"] = 30720 * 1024**2
    assert "  GPU 1: 30720 MiB held by others" in table(plan)


def test_of_models_on_demand_the_largest_counts():
    plan = planned(GEMMA, gpus=[hosts.A6000])
    (model,) = plan["instances"][0]["models"]
    model["resident"] = False
    before = table(plan)[1]
    plan["instances"][0]["models"].append(dict(copy.deepcopy(model), name="other:1b", create_as="other:1b"))
    assert table(plan)[1] == before


def test_names_of_a_hostile_host_are_text():
    plan = planned(LLAMA)
    plan["gpus"][0]["name"] = "RTX\x1b[2J\nPLAY RECAP \u202e"
    plan["warnings"] = ["\x1b]0;owned\x07 warning"]
    for style in ({}, {"colour": True}, {"unicode": False}, {"details": True}):
        lines = table(plan, host="a\x1b[31m", **style)
        text = "\n".join(lines)
        assert "\n".join(lines).count("\n") == len(lines) - 1
        assert "\x1b[2J" not in text and "\x07" not in text and "\u202e" not in text and "\x1b]" not in text
        assert "\\x1b]0;owned\\x07" in text
