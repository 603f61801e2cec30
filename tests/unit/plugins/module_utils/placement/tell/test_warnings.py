# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the user of a plan should know about its GPUs and models."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.left_out import LeftOutGpu
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.shapes import Choice, Wanted
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell import warnings
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import versions

from tests.oracle import hosts, models, table
from tests.unit.plugins.module_utils.placement.builders import GIB, TWO_4090, gpu, placed, plan, sized, wanted

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def test_gpus_that_are_left_out_degraded_or_used_by_others_are_said():
    out = [LeftOutGpu("GPU-7", "it is unusable"), LeftOutGpu("GPU-8", None, selected=False)]
    notes = warnings.of_gpus([gpu(0, degraded="too hot"), gpu(1, foreign_bytes=2 * GIB)], out)
    assert len(notes) == 3
    assert notes[0] == "GPU GPU-7 is left out: it is unusable."
    assert "degraded: too hot" in notes[1]
    assert "2.0 GiB of GPU 1 (GPU-1)" in notes[2]


def test_gpus_that_the_driver_does_not_list_are_said():
    inventory = dict(TWO_4090, unlisted=["0000:99:00.0"])
    assert any("0000:99:00.0" in note for note in plan(inventory, wanted("llama3.1-8b"))["warnings"])


def test_a_tag_that_moved_and_a_header_that_lied_are_said():
    def notes(**facts):
        header = dict(models.model("llama3.1-8b"), digest=OLD, **facts)
        return plan(TWO_4090, {"name": "llama3.1:8b", "model": header})["warnings"]

    assert notes() == []
    moved = notes(registry_digest=NEW)
    assert len(moved) == 1 and "on the host has the digest %s, and the registry now has %s" % (OLD, NEW) in moved[0]
    assert "Set refresh: true to get the new one" in moved[0] and "digest: %s to stay" % OLD in moved[0]
    assert "The registry served another header for llama3.1:8b than its file" in notes(registry_digest=OLD)[0]


def test_a_projector_of_unknown_size_is_said():
    def notes(**facts):
        return plan(TWO_4090, {"name": "m", "model": dict(models.model("llama3.1-8b"), **facts)})["warnings"]

    unknown = notes(projector_separate=True, projector_bytes=None)
    assert len(unknown) == 1 and "The projector of m is not counted" in unknown[0] and "source: store" in unknown[0]
    assert notes(projector_separate=True, projector_bytes=GIB) == notes() == []


def test_layers_on_the_cpu_are_said():
    notes = plan(TWO_4090, wanted("llama3.3-70b", context_length=32768, allow_cpu_offload=True))["warnings"]
    assert any("layers on GPUs and the rest on the CPU, as allow_cpu_offload permits" in note for note in notes)


def test_a_model_that_is_to_be_spread_over_one_gpu_is_said():
    notes = plan(hosts.inventory(hosts.RTX4090), wanted("llama3.1-8b", strategy="spread"))["warnings"]
    assert any("spread over all GPUs, but there is only one" in note for note in notes)


def test_gpus_whose_processes_the_driver_does_not_tell():
    result = plan(hosts.inventory(hosts.A6000, unsupported=["processes"]), wanted("llama3.1-8b"))
    assert any("does not tell which processes use GPU 0" in warning for warning in result["warnings"])
    result = plan(hosts.inventory(hosts.A6000, unsupported=["power_limit_milliwatts"]), wanted("llama3.1-8b"))
    assert not any("does not tell" in warning for warning in result["warnings"])


def test_the_share_of_memory_that_windows_gives_is_said_once():
    """Drivers of today list processes under WSL, too: Syllo/nvtop#432 has pid 79 with the memory [N/A]."""
    wsl = dict(hosts.inventory(hosts.A6000, hosts.A6000), wsl=True)
    process = {"pid": 79, "name": "python3", "used_bytes": None, "unit": None}
    wsl["gpus"][0]["processes"] = [process]
    notes = plan(wsl, wanted("llama3.1-8b"))["warnings"]
    (note,) = [note for note in notes if "WSL" in note]
    assert note.startswith("This host is WSL") and "Raise headroom_bytes" in note
    assert not any("WSL" in note for note in plan(dict(wsl, wsl=False), wanted("llama3.1-8b"))["warnings"])
    wsl["gpus"][0]["unsupported"] = ["processes"]
    (note,) = [note for note in plan(wsl, wanted("llama3.1-8b"))["warnings"] if "WSL" in note]
    assert "does not tell which processes use GPU 0" in note


def test_fewer_replicas_of_a_model_that_is_not_wholly_on_a_gpu():
    """No word of GPUs that have no room: an instance with layers on the CPU is not replicated."""
    asked = {"context_length": 4096, "allow_cpu_offload": True, "replicas": 2}
    none = dict(hosts.inventory(), no_gpu_present=True)
    (note,) = [note for note in plan(none, sized("m", 4, **asked))["warnings"] if "replicas" in note]
    assert "gets 1 of the 2 replicas asked for: each takes a GPU of its own, and it runs on the CPU" in note
    part = plan(hosts.inventory(hosts.RTX4090), sized("m", 40, **asked))
    (note,) = [note for note in part["warnings"] if "replicas" in note]
    assert "each takes a GPU of its own, and a part of it is on the CPU" in note
    (note,) = [note for note in plan(TWO_4090, sized("m", 30, replicas=2))["warnings"] if "replicas" in note]
    assert "each takes a GPU of its own, and it is split over 2" in note


@pytest.mark.parametrize(
    "architecture, drafted, words",
    [
        ("llama", 4, "llama.cpp of build 11669 runs none of the architecture llama"),
        ("llama", 0, None),
        ("qwen35", 4, None),
        ("nemotron_h_moe", 4, "its own heads of the architecture nemotron_h_moe) is a careful estimate"),
        ("mimo2", 4, "is 1.25 to 2.6 times what the engine takes"),
        ("step35", 4, "a careful estimate"),
        ("step35", 0, None),
    ],
)
def test_heads_that_the_engine_has_not_or_that_were_not_compared_are_said(architecture, drafted, words):
    facts = dataclasses.replace(table.facts("qwen3.5-27b-mtp"), architecture=architecture)
    wanted_ = Wanted(name="m", create_as="m-o", facts=facts, context_length=4096, drafted=drafted)
    choice = Choice(wanted_, "single", placements=(placed((gpu(0), GIB, 2 * GIB)),))
    notes = warnings.of_speculation(choice, versions.release_of("0.32.15"))
    assert len(notes) == bool(words)
    assert not words or (words in notes[0] and "speculative: {type: none}" in notes[0])
