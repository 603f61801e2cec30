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
from ..evidence.gpu_memory import plausible
from ..ollama.client import CANNOT_GENERATE, OllamaClient, OllamaError
from .shapes import Answer, Server

_TOKENS = 32
_SECONDS = 300.0
#: That of a server which is told none.
_CACHE_TYPE = "f16"
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
    answer, loaded_with = Answer(server.name, name, _content(server, entry)), _loaded_with(entry)
    asked = {**options(_TOKENS), **loaded_with}
    try:
        found = client.generate(name, PROMPT, asked, keep, _SECONDS, top_logprobs=LIKELIEST)
    except OllamaError as error:
        if CANNOT_GENERATE in error.message:
            return vector_of(answer, client, keep, _SECONDS, load_options=loaded_with)
        return dataclasses.replace(answer, error=error.message)
    return answer_of(answer, found)


def _content(server: Server, entry: dict[str, Any]) -> str:
    """What replicas have in common, "" where that is not known: other releases and caches answer otherwise."""
    digest = entry.get("digest")
    if not digest or not server.version or server.process is None:
        return ""
    cache = (server.process.get("OLLAMA_KV_CACHE_TYPE") or _CACHE_TYPE).strip().lower()
    return "%s %s %s" % (digest, server.version, cache)


def _loaded_with(entry: dict[str, Any]) -> dict[str, Any]:
    """The context that a client may have asked for: a request with another one would load the model again."""
    context = plausible(entry.get("context_length"))
    return {"num_ctx": context} if context else {}


def _keep_alive(entry: dict[str, Any]) -> int:
    """The seconds for which the model would have stayed loaded: a request sets them anew."""
    text = _FRACTION.sub("", str(entry.get("expires_at") or "")).replace("Z", "+00:00")
    try:
        left = datetime.datetime.fromisoformat(text) - datetime.datetime.now(datetime.timezone.utc)
    except (ValueError, TypeError):
        return -1
    seconds = int(left.total_seconds())
    return -1 if seconds > _FOR_EVER_SECONDS else max(seconds, 1)
