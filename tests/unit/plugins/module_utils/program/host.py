# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host for the program: places in a directory of the test, and observations that a test gives."""

from __future__ import annotations

import io
import json
import os
import pathlib
import time
from dataclasses import dataclass

from ansible_collections.gpufleet.ollama.plugins.module_utils.program import main as program
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import observing
from ansible_collections.gpufleet.ollama.plugins.module_utils.program.shapes import Places

from tests.unit.plugins.module_utils.evidence.builders import observations, plan


@dataclass(frozen=True)
class Below(Places):
    """The places of a host below a directory."""

    @property
    def plan_file(self):
        return pathlib.Path(self.plan)


class Host:
    """A host with the plan of the builders; all is as planned until a test says otherwise."""

    def __init__(self, directory, monkeypatch):
        names = "plan.json instances state/verdict.json state/healing.json run/lock metrics.json root".split()
        names.append("run/benchmark.lock")
        self.places = Below(*(str(directory / name) for name in names))
        (directory / "instances").mkdir()
        (directory / "state").mkdir()
        self.places.plan_file.write_text(json.dumps(plan()), encoding="utf-8")
        self.seen = observations()
        self.collected = []
        monkeypatch.setattr(observing, "collect", self._collect)
        for name in ("remember", "recall"):
            monkeypatch.setattr(observing.seen_computing, name, lambda found: None)
        real = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: real)
        if real:  # the program asks for root, and the places of the test belong to this user
            monkeypatch.setattr(program, "_is_root", lambda: True)

    def instance_file(self, name):
        """A file in the directory of the instances' configuration."""
        return pathlib.Path(self.places.instances) / name

    def write_instance(self, wanted, environment=None):
        """Write the plan of the instance and its environment file, as a run does before it starts the instance."""
        (instance,) = wanted["instances"]
        environment = instance["environment"] if environment is None else environment
        self.instance_file(instance["name"] + ".json").write_text(json.dumps(wanted), encoding="utf-8")
        lines = ["%s=%s" % pair for pair in environment.items()]
        self.instance_file(instance["name"] + ".env").write_text("\n".join(lines), encoding="utf-8")

    def age(self, name, seconds):
        """Let the plan of an instance be written some seconds ago."""
        then = time.time() - seconds
        os.utime(self.instance_file(name + ".json"), (then, then))

    def shows(self, seen):
        self.seen = seen

    def _collect(self, wanted, **options):
        self.collected.append(options)
        return self.seen

    def run(self, *arguments, stream=None, environment=None):
        """Run a command; return its exit code and what it prints."""
        out = stream or io.StringIO()
        code = program.main(list(arguments), self.places, out, environment or {})
        return code, out.getvalue() if isinstance(out, io.StringIO) else ""
