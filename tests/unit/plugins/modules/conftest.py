# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The rig of a file of tests, started once and cleaned before each of them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import attempts
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import client as client_room
from ansible_collections.gpufleet.ollama.plugins.modules import instance_models

from tests.rig.models import store as rig_models
from tests.rig.registry.server import Registry, serve
from tests.unit.plugins.modules.ollama_rig import Rig


@pytest.fixture(scope="module")
def started_rig(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rig")
    rig_models.write_into_store("tiny", directory / "content", registry="")
    registry = Registry(directory / "content", ["127.0.0.1"])
    listening = serve(registry, ["127.0.0.1"])
    found = Rig(directory, registry, "127.0.0.1:%d" % listening[0].server_address[1])
    yield found
    for number in list(found.servers):
        found.stop(number)
    for server in listening:
        server.shutdown()
        server.server_close()


@pytest.fixture
def rig(started_rig, monkeypatch):
    monkeypatch.setattr(attempts, "PAUSE", 0)
    monkeypatch.setattr(client_room, "PULL_PAUSE", 0)
    monkeypatch.setattr(instance_models, "STORE_USER", None)  # the rig's stores belong to whoever runs the tests
    started_rig.clean()
    yield started_rig
