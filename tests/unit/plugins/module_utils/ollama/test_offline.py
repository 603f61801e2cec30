# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A client of no server."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaUnreachable
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.offline import OfflineClient
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import Target


def test_it_never_connects(monkeypatch):
    client = OfflineClient()
    monkeypatch.setattr(client._session, "request", lambda *unused, **more: pytest.fail("it connects"))
    assert not Target(client).reachable()
    with pytest.raises(OllamaUnreachable, match="no server is asked"):
        client.pull("tiny", attempts=1)
