# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A server with Ollama's API and no engine, for tests of what stands in front of Ollama.

    python -m tests.rig.ollama.light PORT NAME MODEL...

It holds hundreds of streams at once, and reads bodies as Ollama does (Go's encoding/json: keys in any case, the last
one wins, what comes after the first value is ignored). An answer has `num_predict` words, one each `rig_pause` seconds
after a silence of `rig_silence` seconds. Beside the API: GET /rig/seen lists the requests, PUT /rig/loaded sets the
loaded models.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from typing import Any, Optional

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_LOADING = ("/api/generate", "/api/chat", "/v1/chat/completions", "/v1/completions")
_EMBEDDING = ("/api/embed", "/api/embeddings", "/v1/embeddings")


@dataclasses.dataclass
class Light:
    """The state of one server."""

    name: str
    models: list[str]
    loaded: list[str]
    seen: list[dict[str, Any]]
    active: int = 0
    most: int = 0


def go_members(text: bytes) -> dict[str, Any]:
    """Members of the first JSON value as a Go struct gets them: names in lower case, the last one wins."""
    value, unused_end = json.JSONDecoder(object_pairs_hook=_folded).raw_decode(
        text.decode("utf-8", "replace").lstrip(" \t\r\n")
    )
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if value is not None:
            found[name.lower()] = value
    return found


def full_name(text: str) -> str:
    """A name as the store has it."""
    name = text.lower()
    for start in ("registry.ollama.ai/", "library/"):
        name = name[len(start) :] if name.startswith(start) else name
    return name if ":" in name else name + ":latest"


async def _head(reader: asyncio.StreamReader) -> Optional[tuple[str, str, list[tuple[str, str]]]]:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = raw.decode("latin-1").split("\r\n")[:-2]
    method, path, unused_version = lines[0].split(" ")
    headers = [(line.split(":", 1)[0].lower(), line.split(":", 1)[1].strip()) for line in lines[1:]]
    return method, path, headers


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        parts = []
        while True:
            size = int(await reader.readline(), 16)
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
            if size == 0:
                return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", "0")))


def _write(writer: asyncio.StreamWriter, status: int, value: Any) -> None:
    text = json.dumps(value, separators=(",", ":")).encode()
    head = "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write((head % (status, _REASONS[status], len(text))).encode() + text)


def _entry(name: str) -> dict[str, Any]:
    return {"name": name, "model": name, "size": 1, "digest": "0" * 64, "size_vram": 1, "context_length": 8192}


async def _connection(light: Light, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            request = await _head(reader)
            if request is None:
                break
            method, path, headers = request
            body = await _body(reader, dict(headers))
            await _answer(light, writer, (method, path, headers, body))
            await writer.drain()
            if dict(headers).get("connection") == "close":
                break
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        pass
    finally:
        writer.close()


async def _answer(light: Light, writer: asyncio.StreamWriter, request: tuple[str, str, Any, bytes]) -> None:
    method, path, headers, body = request
    if path == "/rig/seen":
        return _write(writer, 200, {"seen": light.seen, "most": light.most, "active": light.active})
    if path == "/rig/loaded":
        light.loaded = json.loads(body)
        return _write(writer, 200, {})
    if path == "/api/ps":
        return _write(writer, 200, {"models": [_entry(name) for name in light.loaded]})
    if path == "/api/tags":
        return _write(writer, 200, {"models": [_entry(name) for name in light.models]})
    light.seen.append({"method": method, "path": path, "headers": headers, "bytes": len(body)})
    if path not in (*_LOADING, *_EMBEDDING, "/api/show"):
        return _write(writer, 404, {"error": "404 page not found"})
    try:
        asked = go_members(body)
    except ValueError as error:
        return _write(writer, 400, {"error": str(error)})
    light.seen[-1]["model"] = model = asked.get("model") or (asked.get("name") if path == "/api/show" else None) or ""
    if full_name(model) not in light.models:
        return _write(writer, 404, {"error": "model '%s' not found" % model})
    if path in _EMBEDDING:
        return _write(writer, 200, _embeddings(path, model, asked))
    if path == "/api/show":
        return _write(writer, 200, {"capabilities": ["completion"], "model_info": {}, "details": {}})
    light.active += 1
    light.most = max(light.most, light.active)
    try:
        await _generate(light, writer, path, (model, asked))
    finally:
        light.active -= 1


def _embeddings(path: str, model: str, asked: dict[str, Any]) -> dict[str, Any]:
    if path == "/api/embeddings":
        return {"embedding": [0.5, 0.25]}
    texts = asked.get("input") if isinstance(asked.get("input"), list) else [asked.get("input")]
    if path == "/api/embed":
        return {"model": model, "embeddings": [[0.5, 0.25] for unused in texts]}
    data = [{"object": "embedding", "index": place, "embedding": [0.5, 0.25]} for place in range(len(texts))]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _piece(path: str, name: str, model: str, word: str, last: bool) -> dict[str, Any]:
    if path.startswith("/v1/"):
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if last else None}
        choice["delta"] = {"role": "assistant", "content": word}
        return {"id": name, "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
    part = {"message": {"role": "assistant", "content": word}} if path == "/api/chat" else {"response": word}
    return {"model": model, "created_at": "2026-11-29T00:00:00Z", **part, "done": last}


async def _generate(light: Light, writer: asyncio.StreamWriter, path: str, asked: tuple[str, dict[str, Any]]) -> None:
    """Answer with the server's own name, once for each word."""
    model, request = asked
    options = request.get("options") or {}
    words = int(options.get("num_predict") or request.get("max_tokens") or 3)
    pause = float(options.get("rig_pause") or request.get("rig_pause") or 0)
    await asyncio.sleep(float(options.get("rig_silence") or request.get("rig_silence") or 0))
    openai = path.startswith("/v1/")
    if not request.get("stream", not openai):
        await asyncio.sleep(words * pause)
        text = " ".join([light.name] * words)
        value = _piece(path, light.name, model, text, True)
        if openai:
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            value.update(object="chat.completion", choices=[choice])
        return _write(writer, 200, value)
    kind = "text/event-stream" if openai else "application/x-ndjson"
    writer.write(("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % kind).encode())
    for number in range(words):
        line = json.dumps(_piece(path, light.name, model, light.name + " ", number == words - 1))
        text = "data: %s\n\n" % line if openai else line + "\n"
        if openai and number == words - 1:
            text += "data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(text), text.encode()))
        await writer.drain()
        if pause:
            await asyncio.sleep(pause)
    writer.write(b"0\r\n\r\n")


async def serve(port: int, name: str, models: list[str]) -> None:
    """Answer until the process ends."""
    light = Light(name, models, list(models), [])

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _connection(light, reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=1 << 26, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
