# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host with two simulated GPUs, one server and one model, that is checked against its plan while the rig lies.

Run as a program: ``lying_host.py DIRECTORY MODEL CONTEXT STRATEGY``, with the rig's libnvidia-ml.so.1 in
LD_LIBRARY_PATH. Reads lines of JSON [lie, factor] and answers each with a line of JSON, the evidence of the check. The
server is a process of this user and not a systemd unit: what systemd says is said here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
import unittest.mock

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.service_variables import is_of_the_server
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import collect as collecting
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import concurrency, observer
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.checks import check_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import nvml
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import proc, systemd

from tests.rig.gpus import state
from tests.rig.models import store
from tests.rig.ollama import running
from tests.unit.plugins.modules.run_module import run_module


def make_plan(models, name, context_length, strategy, port):
    """The plan for this host, of the product."""
    header = run_module("model_info", {"name": name, "source": "store", "store": str(models)})["model"]
    wanted = {"name": name, "model": header, "context_length": context_length, "strategy": strategy, "optimized": {}}
    answer = run_module(
        "placement_info",
        {"gpu_inventory": nvml.read_inventory()[0], "models": [wanted], "ollama_version": "0.32.15", "base_port": port},
    )
    return answer["placement"]


class Host:
    """The server of the plan's instance, and what systemd would say of it."""

    def __init__(self, directory, name, context_length, strategy):
        self.models = directory / "models"
        store.write_into_store(name, self.models)
        self.gpu_state = running.gpus(pathlib.Path(os.environ["GPU_RIG_STATE"]), "rtx-a6000-x2")
        self.program = running.install(directory / "ollama")
        plan = make_plan(self.models, name, context_length, strategy, running.free_port())
        (self.instance,) = plan["instances"][:1]
        environment = {name: str(text) for name, text in self.instance["environment"].items()}
        environment.pop("OLLAMA_HOST"), environment.pop("OLLAMA_MODELS")
        self.server = running.Server(self.program, directory, self.models, self.gpu_state, environment).wait()
        self.instance["url"] = "http://127.0.0.1:%d" % self.server.port
        # The server has an address and a store of its own: the plan is one for them.
        self.variables = {name: text for name, text in self.server.environment.items() if is_of_the_server(name)}
        self.instance["environment"] = self.variables
        self.plan = dict(plan, instances=[self.instance])
        (self.model,) = self.instance["models"]
        self.create()

    def create(self):
        body = {
            "model": self.model["create_as"],
            "from": self.model["name"],
            "parameters": self.model["parameters"],
            "stream": False,
        }
        status, _kind, answer = self.server.request("POST", "/api/create", body)
        assert status == 200, answer

    def unit_of(self, pid, root="/proc"):
        """The instance's unit for its server and for whatever that has started; None for all others."""
        mine = self.server.environment["OLLAMA_HOST"]
        own = (proc.environment(pid) or {}).get("OLLAMA_HOST") == mine
        return self.instance["unit"] if own else None

    def check(self, lie, factor=None):
        """The evidence while the rig tells a lie, as a dictionary."""
        state.set_lie(str(self.gpu_state), "off")
        self.server.request("POST", "/api/generate", {"model": self.model["create_as"], "keep_alive": 0})
        state.set_lie(str(self.gpu_state), lie, factor)
        properties = {"ActiveState": "active", "MainPID": str(self.server.process.pid), "FragmentPath": "/unit"}
        start = "{ path=%s ; argv[]=%s serve ; }" % (self.program, self.program)
        properties.update(NeedDaemonReload="no", ExecStart=start)
        properties["Environment"] = " ".join('"%s=%s"' % variable for variable in self.variables.items())
        with (
            unittest.mock.patch.object(proc, "unit_of", self.unit_of),
            unittest.mock.patch.object(systemd, "show", lambda units: {self.instance["unit"]: properties}),
            unittest.mock.patch.object(systemd, "journal", lambda unit, since: (self.server.log(), None)),
        ):
            return dataclasses.asdict(check_plan(self.plan, collecting.collect(self.plan, timeout=60)))


#: The engine of the rig dies 0.7 seconds after it has loaded, where it does.
SETTLE_SECONDS = 0.9


def main(directory, name, context_length, strategy):
    observer.SETTLE_SECONDS, concurrency.POLL_SECONDS = SETTLE_SECONDS, 0.05
    paths.LOAD_PROGRESS = os.path.join(directory, "load.json")
    host = Host(pathlib.Path(directory), name, int(context_length), strategy)
    try:
        for line in sys.stdin:
            print(json.dumps(host.check(*json.loads(line))), flush=True)
    finally:
        state.set_lie(str(host.gpu_state), "off")
        host.server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
