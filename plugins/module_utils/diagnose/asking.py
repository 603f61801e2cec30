# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Ask each loaded model one question, without chance, so that its answer can be judged. Nothing is loaded for it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any, Optional

from ..ollama.client import OllamaClient, OllamaError
from .shapes import Answer, Server

PROMPT = "Write one sentence about the sea."
_TOKENS, _LIKELIEST = 32, 5
_SECONDS = 300.0
#: Ollama answers so for a model that makes vectors only.
_CANNOT_GENERATE = "does not support"
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
    name, digest, keep = entry["name"], entry.get("digest") or "", _keep_alive(entry)
    options = {"temperature": 0, "num_predict": _TOKENS}
    try:
        found = client.generate(name, PROMPT, options, keep, _SECONDS, top_logprobs=_LIKELIEST)
    except OllamaError as error:
        if _CANNOT_GENERATE in error.message:
            return _embed(server, client, entry)
        return Answer(server.name, name, digest, error=error.message)
    return Answer(server.name, name, digest, text=str(found.get("response") or ""), tokens=_tokens(found))


def _tokens(found: dict[str, Any]) -> tuple[tuple[str, Optional[float], tuple[str, ...]], ...]:
    listed = found.get("logprobs")
    return tuple(
        (
            str(one.get("token")),
            one.get("logprob"),
            tuple(str(other.get("token")) for other in one.get("top_logprobs") or []),
        )
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    )


def _embed(server: Server, client: OllamaClient, entry: dict[str, Any]) -> Answer:
    name, digest = entry["name"], entry.get("digest") or ""
    try:
        vector = client.embed(name, PROMPT, _keep_alive(entry), _SECONDS)
        facts = client.show(name).get("model_info") or {}
    except OllamaError as error:
        return Answer(server.name, name, digest, error=error.message)
    width = facts.get("%s.embedding_length" % facts.get("general.architecture"))
    return Answer(server.name, name, digest, vector=tuple(vector), width=width if isinstance(width, int) else None)


def _keep_alive(entry: dict[str, Any]) -> int:
    """The seconds for which the model would have stayed loaded: a request sets them anew."""
    text = _FRACTION.sub("", str(entry.get("expires_at") or "")).replace("Z", "+00:00")
    try:
        left = datetime.datetime.fromisoformat(text) - datetime.datetime.now(datetime.timezone.utc)
    except (ValueError, TypeError):
        return -1
    seconds = int(left.total_seconds())
    return -1 if seconds > _FOR_EVER_SECONDS else max(seconds, 1)
