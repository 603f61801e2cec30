# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The samples of README.md are what the collection draws today for a recorded run of make demo."""

from __future__ import annotations

import json
import pathlib
import re

import yaml
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.shown import shown as draw
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, drawn

from tests import shown
from tests.oracle import hosts as hosts_of_the_oracle
from tests.unit.plugins.plugin_utils.report.made_plans import planned

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
RECORDED = json.loads((CHECKOUT / "tests" / "fixtures" / "report" / "demo-b.json").read_text(encoding="utf-8"))


def sample(**options):
    return "\n".join(drawn(Style(), draw(options, Style(), "b").lines))


def test_the_samples_are_what_is_drawn():
    plan, evidence = sample(plan=RECORDED["plan"]), sample(evidence=RECORDED["evidence"], plan=RECORDED["plan"])
    assert shown.block("README.md", "", 0) == plan + "\n", "\n" + plan
    assert shown.block("README.md", "", 1) == evidence + "\n", "\n" + evidence


def test_the_drawing_names_modules_and_stages():
    words = re.findall(r"[a-z_]+", shown.block("README.md", "text").split("└─")[0])
    modules = {path.stem for path in (CHECKOUT / "plugins" / "modules").glob("*.py")}
    stages = {path.name for path in (CHECKOUT / "roles" / "ollama_multigpu" / "tasks").iterdir() if path.is_dir()}
    assert len(words) == 10 and set(words) <= modules | stages | {"plan", "evidence"}


def test_the_inventory_is_planned_as_its_comments_say():
    """The first host needs both GPUs for its model; the second one has a copy on each, on two ports."""
    hosts = yaml.safe_load(shown.block("README.md", "yaml"))["all"]["hosts"]
    first, second = (variables["ollama_multigpu_models"] for variables in hosts.values())
    (instance,) = planned(*first, name="NVIDIA RTX A6000")["instances"]
    (model,) = instance["models"]
    assert len(instance["gpu_uuids"]) == 2 and model["create_as"] == "llama4:16x17b-optimized"
    assert model["parameters"]["temperature"] == 0.3 and model["parameters"]["num_ctx"] == 32768
    instances = planned(*second, gpus=(hosts_of_the_oracle.RTX4090,) * 2)["instances"]
    assert [one["port"] for one in instances] == [11434, 11435]
