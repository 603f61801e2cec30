# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the models of a plan contain on a running server, so that it can be compared without asking the server again."""

from __future__ import annotations

from typing import Any

from ..common.names import full_name
from ..ollama import model_content
from ..ollama.client import OllamaClient, OllamaError
from ..ollama.fingerprint import fingerprint
from ..ollama.staleness import trained_context


def read_contents(client: OllamaClient, instance: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ask a server what the models that an instance should have contain.

    Args:
        client: of the instance's server.
        instance: of the plan.

    Returns:
        {name with its tag: content}: the fingerprint (ollama/fingerprint.py), `trained_context` and `num_ctx`.
        Models that the server does not have, or does not describe, are left out.
    """
    found = {}
    for name in _names(instance):
        try:
            show = client.show(name)
        except OllamaError:
            continue
        content = model_content.content_of_show(show)
        found[full_name(name)] = {
            "content": fingerprint(content),
            "num_ctx": content["parameters"].get("num_ctx"),
            "trained_context": trained_context(show),
        }
    return found


def _names(instance: dict[str, Any]) -> list[str]:
    """Every model that an instance needs, once: those that are made, and those that they are made from."""
    names = [
        name
        for model in instance.get("models") or []
        for name in (model["name"], model.get("from"), model.get("create_as"))
        if name
    ]
    return list(dict.fromkeys(names))
