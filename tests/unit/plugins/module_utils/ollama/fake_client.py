# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A client of a server that exists in memory only, for tests of what is decided above the API."""

from __future__ import annotations

import hashlib

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError, OllamaUnreachable


def digest_of(text):
    """A digest that depends on `text`."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class FakeClient:
    """models: {name: parameters as /api/show prints them}; `called` has each call that changes something."""

    url, timeout = "http://127.0.0.1:11434", 30.0

    def __init__(self, models=(), running=True):
        self.models = {str(parse(name)): text for name, text in dict(models).items()}
        self.running = running
        self.loaded = {}
        self.called, self.asked = [], 0
        self.dies_when_loaded = False
        self.release = "0.32.15"

    def _entry(self, name):
        return {"name": name, "digest": digest_of(name + self.models[name])[7:], "size": 5}

    def version(self):
        return self.release

    def tags(self):
        self.asked += 1
        if not self.running:
            raise OllamaUnreachable(self.url, "connection refused")
        return [self._entry(name) for name in self.models]

    def ps(self):
        return list(self.loaded.values())

    def show(self, name, **unused):
        if str(parse(name)) not in self.models:
            raise OllamaError(404, "model '%s' not found" % name)
        base = "FROM /store/blobs/sha256-%s" % digest_of("tiny")[7:]
        return {
            "parameters": self.models[str(parse(name))],
            "modelfile": base,
            "template": "",
            "model_info": {"general.architecture": "llama", "llama.context_length": 4096},
        }

    def load(self, name, keep_alive=-1, **unused):
        self.called.append(("load", name, keep_alive))
        context = self.models[name].split()
        if not self.dies_when_loaded:
            self.loaded[name] = dict(
                self._entry(name),
                context_length=int(context[1]) if context else 4096,
                expires_at="2319-01-01T00:00:00Z" if str(keep_alive).startswith("-") else "2026-01-01T00:00:00Z",
            )

    def unload(self, name):
        self.called.append(("unload", name))
        if name not in self.models:
            raise OllamaError(404, "model '%s' not found" % name)
        self.loaded.pop(name, None)

    def delete(self, name):
        self.called.append(("delete", name))
        del self.models[name]

    def create(self, payload):
        self.called.append(("create", payload["model"]))
        parameters = payload.get("parameters") or {}
        self.models[payload["model"]] = "\n".join("%s %s" % pair for pair in sorted(parameters.items()))

    def has_blob(self, digest):
        return False
