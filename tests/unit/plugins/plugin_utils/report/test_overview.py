# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The end of a run."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import gpu_memory
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.overview import HostOutcome, overview_lines
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, columns_of, drawn

from tests.unit.plugins.plugin_utils.report.made_plans import planned

STAGES = ("plan", "install", "switch", "verify")


def lines(*hosts, **style):
    style = Style(**style)
    return drawn(style, overview_lines(hosts, STAGES, style))


def host(name, **more):
    gpus = gpu_memory(planned({"name": "gemma3:27b", "context_length": 8192}))
    served = [("http://127.0.0.1:11434", ["gemma3:27b-optimized"])]
    return HostOutcome(name, **dict({"state": "proven", "gpus": gpus, "served": served}, **more))


def test_three_hosts_on_one_screen():
    found = lines(
        host(
            "a", observed={"GPU-00000001-1111-2222-3333-444444444444": 18 * 2**30}, seconds={"plan": 2.0, "verify": 1}
        ),
        host("b", changed=3, seconds={"plan": 2.5, "switch": 30.25}),
        HostOutcome("c", "UNREACHABLE", "No route to host."),
    )
    assert found[0] == "Overview: 3 hosts, 2 proven, 1 UNREACHABLE"
    assert found[2] == "a: proven, nothing changed"
    assert found[3].startswith("  GPU 0 GPU of 49140 MiB  █") and found[3].endswith(
        "predicted 17.5 GiB, observed 18.0 GiB"
    )
    assert "b: proven, 3 tasks changed something" in found and "  No route to host." in found
    assert found[-4:] == [
        "seconds  plan  switch  verify   all",
        "a         2.0     0.0     1.0   3.0",
        "b         2.5    30.2     0.0  32.8",
        "c         0.0     0.0     0.0   0.0",
    ]
    assert len(found) < 20 and max(map(columns_of, found)) <= 80


def test_many_hosts_are_one_screen():
    found = lines(
        *[host("h%03d" % number, seconds={"plan": number}) for number in range(200)], host("x", state="FAILED")
    )
    assert found[:2] == ["Overview: 201 hosts, 200 proven, 1 FAILED", "x: FAILED, nothing changed"]
    assert found[2] == "and 200 more hosts (-v lists all)" and len(found) == 9
    assert found[4].startswith("h199")


def test_many_gpus_are_no_bars():
    found = lines(*[host("h%d" % number) for number in range(12)])
    assert len(found) == 13 and not [line for line in found if "█" in line]


def test_names_of_hosts_are_text():
    found = lines(host("a\x1b[2J", text="x\x07"))
    assert found[2].startswith("a\\x1b[2J: ") and found[3] == "  x\\x07"
