# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Tasks of the role whose order counts."""

from __future__ import annotations

import pathlib

import yaml

TASKS = pathlib.Path(__file__).parents[2] / "roles" / "ollama_multigpu" / "tasks"


def stopped(tasks):
    """{unit: place of the task that stops it} of a list of tasks."""
    units = {}
    for number, task in enumerate(tasks):
        options = task.get("ansible.builtin.systemd_service") or {}
        if options.get("state") == "stopped":
            for name in task["loop"] if options["name"] == "{{ item }}" else [options["name"]]:
                units[name] = number
    return units


def test_no_check_that_heals_starts_an_instance_that_is_removed():
    """The timer starts no check any more, the one that is running ends, and only then the instances stop."""
    place = stopped(yaml.safe_load((TASKS / "remove.yml").read_text(encoding="utf-8")))
    instances = place["ollama@{{ item.name }}.service"]
    assert place["ollama-check.timer"] < place["ollama-check.service"] < instances < place["ollama-gpus.service"]
