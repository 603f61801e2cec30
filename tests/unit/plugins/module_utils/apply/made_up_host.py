# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host in a directory: files and stores are real, systemd and what the instances prove are made up."""

from __future__ import annotations

import json
import os

from ansible_collections.gpufleet.ollama.plugins.module_utils.apply import going_back, kept, steps, switch
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.proof import Proof
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import systemd, units
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import Files, WantedFile

PASS = {"verdict": "pass", "instances": [], "diagnosis": []}


def plan(version, *names, **more):
    """A plan of instances with one model each."""
    instances = [
        {"name": name, "unit": paths.unit(name), "url": "http://127.0.0.1:1", "models": [{"name": "tiny"}]}
        for name in names
    ]
    return dict({"ollama_version": version, "feasible": True, "instances": instances}, **more)


class MadeUpHost:
    """A host whose units run as they are told.

    `rates` are the tokens/s of the model in the proof by release; `told` is what systemd and the proof were told, in
    order; `ends` are the links' targets with which an instance does not answer, and `fails` those with which it is not
    as planned.
    """

    def __init__(self, root, monkeypatch):
        self.root, self.told, self.rates = str(root), [], {}
        self.active, self.enabled, self.ends, self.fails = set(), set(), set(), set()
        for name in ("ENVIRONMENT_DIRECTORY", "RELEASES", "INSTANCE_RELEASES", "BEFORE", "PLAN", "TEMPLATE_UNIT_FILE"):
            place = paths.below(self.root, getattr(paths, name))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            monkeypatch.setattr(paths, name, place)
        for name in ("ENVIRONMENT_DIRECTORY", "RELEASES", "INSTANCE_RELEASES"):
            os.makedirs(getattr(paths, name), exist_ok=True)
        monkeypatch.setattr(paths, "USER", None)  # the stores belong to whoever runs the tests
        for verb in ("stop", "start", "enable", "disable"):
            monkeypatch.setattr(units, verb, lambda given, verb=verb: self._tell(verb, given))
        monkeypatch.setattr(units, "reload", lambda: self.told.append(("reload",)))
        monkeypatch.setattr(systemd, "show", self._show)
        monkeypatch.setattr(systemd, "enabled_instances", lambda: set(self.enabled))
        monkeypatch.setattr(steps, "wait_for", self._wait)
        for room in (switch, going_back):
            monkeypatch.setattr(room, "prove", self._prove)
        self.files = Files(False, lambda path: path, lambda path: False)

    def release(self, version):
        """Install a release."""
        os.makedirs("%s/%s/bin" % (paths.RELEASES, version), exist_ok=True)
        with open("%s/%s/bin/ollama" % (paths.RELEASES, version), "w", encoding="utf-8"):
            pass

    def instance(self, name, version, environment="A=1\n"):
        """Let an instance serve."""
        self.release(version)
        for file in self.wanted(name, version, environment):
            self.files.put(file)
        self.active.add(name)
        self.enabled.add(name)

    def wanted(self, name, version, environment="A=1\n"):
        """The files of an instance."""
        return (
            WantedFile(paths.instance_release(name), "link", target="../releases/" + version, force=True),
            WantedFile(paths.environment_file(name), content=environment.encode()),
        )

    def apply(self, applied):
        """Write the plan that was applied."""
        with open(paths.PLAN, "w", encoding="utf-8") as stream:
            json.dump(applied, stream)

    def of(self, name):
        """(version, environment) of an instance as it is, None where it has none."""
        if not os.path.lexists(paths.instance_release(name)):
            return None
        with open(paths.environment_file(name), encoding="utf-8") as stream:
            return os.path.basename(os.readlink(paths.instance_release(name))), stream.read()

    def kept(self):
        return kept.load()

    def _tell(self, verb, given):
        if not given:
            return
        self.told.append((verb, *given))
        names = {paths.instance_of(unit) or unit for unit in given}
        where = self.active if verb in ("stop", "start") else self.enabled
        (where.update if verb in ("start", "enable") else where.difference_update)(names)

    def _show(self, given):
        return {
            unit: {"Id": unit, "ActiveState": "active" if paths.instance_of(unit) in self.active else "inactive"}
            for unit in given
        }

    def _version(self, name):
        return os.path.basename(os.readlink(paths.instance_release(name)))

    def _wait(self, instances, _timeout):
        names = [paths.instance_of(one["unit"]) for one in instances]
        ended = {name for name in names if self._version(name) in self.ends}
        return [
            dict(one, version=None, problem="%s ended." % one["unit"] if name in ended else None)
            for one, name in zip(instances, names, strict=True)
        ]

    def _models(self, name):
        rate = self.rates.get(self._version(name))
        model = {"name": "tiny:latest", "verdict": "pass", "tokens_per_second": rate, "notes": []}
        return [model] if rate else []

    def _prove(self, wanted, names, accept_unproven=False):
        self.told.append(("prove", wanted["ollama_version"], *names))
        failed = [name for name in names if self._version(name) in self.fails]
        entries = [{"name": name, "models": self._models(name)} for name in names]
        verdict = "fail" if failed else "pass"
        return Proof(dict(PASS, verdict=verdict, instances=entries), "%s is slow." % failed[0] if failed else "")
