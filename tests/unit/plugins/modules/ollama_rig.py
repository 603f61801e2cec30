# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The rig for the modules model and instance_models: doubles of Ollama 0.32.15 with a store each, and a registry."""

from __future__ import annotations

from tests.rig.models import store as rig_models
from tests.rig.ollama import running
from tests.unit.plugins.modules.run_module import run_module

TINY_DIGEST = "sha256:" + rig_models.manifest_digest("tiny")
TINY_BYTES = sum(blob.size for blob in rig_models.blobs("tiny"))


class Rig:
    """registry: Registry; host: its "host:port"; server(n): a double with a store of its own, started on demand."""

    def __init__(self, directory, registry, host):
        self.directory, self.registry, self.host = directory, registry, host
        self._program = running.install(directory / "release")
        self._gpus = running.gpus(directory / "gpus", "rtx-4090-x2")
        self.servers = {}
        self.environment = {}

    def store(self, number=0):
        return self.directory / "instances" / ("gpu%d" % number)

    def server(self, number=0):
        if number not in self.servers:
            self.servers[number] = running.Server(
                self._program,
                self.directory,
                self.store(number),
                self._gpus,
                {"OLLAMA_CONTEXT_LENGTH": "4096", **self.environment},
            ).wait()
        return self.servers[number]

    def url(self, number=0):
        return "http://127.0.0.1:%d" % self.server(number).port

    def model(self, name="tiny", number=0, check=False, **args):
        args.setdefault("url", self.url(number))
        if args.get("state", "present") == "present":
            args = dict({"registry": self.host, "insecure": True, "timeout": 5}, **args)
        return run_module("model", dict(args, name=name), check)

    def names(self, number=0):
        return sorted(item["name"] for item in self.server(number).request("GET", "/api/tags")[2]["models"])

    def loaded(self, number=0):
        return [item["name"] for item in self.server(number).request("GET", "/api/ps")[2]["models"]]

    def clean(self):
        self.registry.faults.clear()
        for number in list(self.servers):
            self.server(number).unload_all()
            for name in self.names(number):
                assert self.server(number).request("DELETE", "/api/delete", {"model": name})[0] == 200

    def stop(self, number):
        self.servers.pop(number).stop()
