# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The files beside haproxy.cfg: maps of calls, models and keys, and the list of models that Lua answers with. Pure.

A line of a map is a word and what it stands for. Model names, key names and backends have no white space in them.
"""

from __future__ import annotations

import json

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.backends import spellings
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import Backend, Gateway

#: What clients may ask for, by method and exact path (Ollama 0.32.15, server/routes.go GenerateRoutes). Nothing else
#: passes: a path that Ollama would clean, decode or fold first is not in this list.
#: "named" = the model may also be called "name" in the body.
CALLS = {
    "POST /api/generate": "model",
    "POST /api/chat": "model",
    "POST /api/embed": "model",
    "POST /api/embeddings": "model",
    "POST /api/show": "named",
    "POST /v1/chat/completions": "model",
    "POST /v1/completions": "model",
    "POST /v1/embeddings": "model",
    "POST /v1/responses": "model",
    "POST /v1/messages": "model",
    "GET /api/tags": "tags",
    "HEAD /api/tags": "tags",
    "GET /api/ps": "ps",
    "GET /v1/models": "models",
    "GET /api/version": "version",
    "HEAD /api/version": "version",
    "GET /": "root",
    "HEAD /": "root",
}
#: The programs that come with Ollama show the first digits of a digest, and end where there is none.
_NO_DIGEST = "0" * 64
_LONG_AGO = "1970-01-01T00:00:00Z"
_NEVER = "2318-01-01T00:00:00Z"


def calls_map() -> str:
    """Return the map of calls; spaces in them are underscores, as a map has one word on the left."""
    return _map({call.replace(" ", "_"): kind for call, kind in CALLS.items()})


def models_map(gateway: Gateway) -> str:
    """Return the map of what a client may write, in lower case, to the backend."""
    return _map(
        {text: backend.name for backend in gateway.backends for model in backend.models for text in spellings(model)}
    )


def keys_map(gateway: Gateway) -> str:
    """Return the map of the SHA-256 of a key to its name."""
    return _map({key.sha256: key.name for key in gateway.keys})


def rates_map(gateway: Gateway) -> str:
    """Return the map of the name of a key to its requests a minute; a key without a limit is not in it."""
    return _map({key.name: str(key.rate) for key in gateway.keys if key.rate is not None})


def priorities_map(gateway: Gateway) -> str:
    """Return the map of the name of a key to HAProxy's class, of which the lowest goes first."""
    return _map({key.name: str(-key.priority) for key in gateway.keys if key.priority})


def restricted_map(gateway: Gateway) -> str:
    """Return the map of the names of keys that may not use every model."""
    return _map({key.name: "1" for key in gateway.keys if key.backends is not None})


def allowed_map(gateway: Gateway) -> str:
    """Return the map of key/backend for keys that may not use every model."""
    return _map({"%s/%s" % (key.name, backend): "1" for key in gateway.keys for backend in key.backends or ()})


def listing(gateway: Gateway) -> str:
    """Return a line for each model, with tabs: backend, name, its entries of /api/tags, /v1/models and /api/ps, and
    what a client may write for the name, in lower case."""
    lines = [
        "\t".join((backend.name, model, *map(_json, _entries(backend, model)), " ".join(spellings(model))))
        for backend in gateway.backends
        for model in backend.models
    ]
    return "".join(line + "\n" for line in sorted(lines, key=lambda line: line.split("\t")[1]))


def _entries(backend: Backend, model: str) -> tuple[dict[str, object], ...]:
    example = backend.example
    details = {"format": "gguf", "family": "", "families": None, "parameter_size": "", "quantization_level": ""}
    tags = {
        "name": model,
        "model": model,
        "modified_at": _LONG_AGO,
        "size": (example and example.size_bytes) or 0,
        "digest": (example and example.digest) or _NO_DIGEST,
        "details": details,
    }
    if backend.capabilities is not None:
        tags["capabilities"] = list(backend.capabilities)
    openai = {"id": model, "object": "model", "created": 0, "owned_by": "library"}
    loaded = {
        "name": model,
        "model": model,
        "size": (example and example.memory_bytes) or 0,
        "digest": (example and example.digest) or _NO_DIGEST,
        "details": details,
        "expires_at": _NEVER,
        "size_vram": (example and example.vram_bytes) or 0,
        "context_length": backend.context_length or 0,
    }
    return tags, openai, loaded


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _map(pairs: dict[str, str]) -> str:
    return "".join("%s %s\n" % pair for pair in sorted(pairs.items()))
