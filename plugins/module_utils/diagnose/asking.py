# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask each loaded model one question, without chance, so that its answer can be judged. Nothing is loaded for it."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable
from typing import Any

from ..evidence.asking import LIKELIEST, PROMPT, answer_of, options, vector_of
from ..ollama.client import CANNOT_GENERATE, OllamaClient, OllamaError
from .shapes import Answer, Server

_TOKENS = 32
_SECONDS = 300.0
_FRACTION = re.compile(r"\.\d+")
#: A time to keep a model that is longer is for ever.
_FOR_EVER_SECONDS = 365 * 86400


def ask(servers: Iterable[Server]) -> list[Answer]:
    """Return the answers of the models that are loaded on servers which answer."""
    return [
        _ask(server, OllamaClient(server.url, _SECONDS), entry)
        for server in servers
        if server.url
        for entry in server.loaded or []
    ]


def _ask(server: Server, client: OllamaClient, entry: dict[str, Any]) -> Answer:
    name, keep = entry["name"], _keep_alive(entry)
    answer = Answer(server.name, name, entry.get("digest") or "")
    try:
        found = client.generate(name, PROMPT, options(_TOKENS), keep, _SECONDS, top_logprobs=LIKELIEST)
    except OllamaError as error:
        if CANNOT_GENERATE in error.message:
            return vector_of(answer, client, keep, _SECONDS)
        return dataclasses.replace(answer, error=error.message)
    return answer_of(answer, found)


def _keep_alive(entry: dict[str, Any]) -> int:
    """The seconds for which the model would have stayed loaded: a request sets them anew."""
    text = _FRACTION.sub("", str(entry.get("expires_at") or "")).replace("Z", "+00:00")
    try:
        left = datetime.datetime.fromisoformat(text) - datetime.datetime.now(datetime.timezone.utc)
    except (ValueError, TypeError):
        return -1
    seconds = int(left.total_seconds())
    return -1 if seconds > _FOR_EVER_SECONDS else max(seconds, 1)
