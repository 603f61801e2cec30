# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Modelfiles: what is asked for, what a model contains, and the difference. Pure.

A *request* is what the user writes: {from, parameters, template, system, adapters, license, messages}. What is None in
it is inherited from the base. A *content* is what a model has in the end: {from: [digest], adapters: [digest],
parameters: {}, template, system, license, messages: [{role, content}]}. Ollama merges a request over its base: a new
value wins, and an inherited parameter cannot be removed (server/create.go).
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Iterable

from . import manifest as media
from .parameters import check, comparable, of_layers, of_modelfile, of_show

DEFAULT_TEMPLATE = "{{ .Prompt }}"  # /api/show returns it for a model without a template
_COMMANDS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE")
_ROLES = ("system", "user", "assistant")
_FROM_BLOB = re.compile(r"^FROM \S*sha256-([0-9a-f]{64})$", re.MULTILINE)
_ADAPTER_BLOB = re.compile(r"^ADAPTER \S*sha256-([0-9a-f]{64})$", re.MULTILINE)


class ModelfileError(ValueError):
    """The Modelfile cannot be understood. The text is one sentence."""


def empty_request() -> dict[str, Any]:
    """Return a request that changes nothing."""
    return {
        "from": None,
        "parameters": {},
        "template": None,
        "system": None,
        "adapters": [],
        "license": None,
        "messages": None,
    }


def parse(text: str) -> dict[str, Any]:
    """Return the request of a Modelfile.

    As in Ollama (parser/parser.go), commands may be in any case, and values in quotes or triple quotes may span lines.

    Raises:
        ModelfileError: a line cannot be understood.
        InvalidParameter: a parameter is wrong.
    """
    request = empty_request()
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number].strip()
        start = number + 1
        number += 1
        if not line or line.startswith("#"):
            continue
        command, _space, rest = line.partition(" ")
        command = command.upper()
        if command not in _COMMANDS:
            raise ModelfileError(
                "line %d of the Modelfile begins with %r, which is not one of %s"
                % (start, command, ", ".join(_COMMANDS))
            )
        name: str | None = None
        if command in ("PARAMETER", "MESSAGE"):
            name, _space, rest = rest.strip().partition(" ")
        value, number = _value(rest.strip(), lines, number, start)
        _add(request, command, name, value, start)
    if not request["from"]:
        raise ModelfileError("the Modelfile has no FROM line, so the model has no base")
    request["parameters"] = check(request["parameters"])
    return request


def _value(rest: str, lines: list[str], number: int, start: int) -> tuple[str, int]:
    """Return (value, number of the next line) of a value that begins with `rest`."""
    for quote in ('"""', '"'):
        if not rest.startswith(quote):
            continue
        body = rest[len(quote) :]
        while not body.rstrip().endswith(quote) and number < len(lines):
            body += "\n" + lines[number]
            number += 1
        if not body.rstrip().endswith(quote):
            raise ModelfileError(
                "the value that begins in line %d of the Modelfile is not closed with %s" % (start, quote)
            )
        return body.rstrip()[: -len(quote)], number
    return rest, number


def _add(request: dict[str, Any], command: str, name: str | None, value: str, start: int) -> None:
    """Add a command to a request; `start` is the number of its line."""
    if command == "PARAMETER":
        if not name or value == "":
            raise ModelfileError("line %d of the Modelfile needs a name and a value after PARAMETER" % start)
        if name == "stop":
            request["parameters"].setdefault("stop", []).append(value)
        else:
            request["parameters"][name] = of_modelfile(name, value)
    elif command == "MESSAGE":
        if name not in _ROLES:
            raise ModelfileError(
                "line %d of the Modelfile has a message of %r, which is not one of %s"
                % (start, name, ", ".join(_ROLES))
            )
        request["messages"] = (request["messages"] or []) + [{"role": name, "content": value}]
    elif command == "ADAPTER":
        request["adapters"].append(value)
    elif command == "LICENSE":
        request["license"] = value if request["license"] is None else request["license"] + "\n" + value
    else:
        request[command.lower()] = value


def is_file(base: str) -> bool:
    """Return whether a FROM names a file and not a model.

    This collection imports no files: Ollama rewrites an imported file, so that no digest stays the same.
    """
    return base.startswith(("/", "./", "../", "~")) or base.lower().endswith((".gguf", ".safetensors"))


# -- what a model contains ---------------------------------------------------------------------------------------------


def content_of_show(show: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a model from the answer of /api/show."""
    modelfile = show.get("modelfile") or ""
    return {
        "from": sorted("sha256:" + digest for digest in set(_FROM_BLOB.findall(modelfile))),
        "adapters": sorted("sha256:" + digest for digest in set(_ADAPTER_BLOB.findall(modelfile))),
        "parameters": comparable(of_show(show.get("parameters"))),
        "template": show.get("template") or DEFAULT_TEMPLATE,
        "system": show.get("system") or "",
        "license": show.get("license") or "",
        "messages": [{"role": item.get("role"), "content": item.get("content")} for item in show.get("messages") or []],
    }


def content_of_manifest(manifest: media.Manifest, read: Callable[[media.Layer], bytes]) -> dict[str, Any]:
    """Return the content of a model from its manifest.

    Args:
        manifest: of the model.
        read: returns the bytes of a small blob.

    Raises:
        ModelfileError: a blob is not JSON.
    """

    def texts(*media_types: str) -> list[str]:
        return [read(layer).decode("utf-8", "replace") for layer in manifest.of_type(*media_types)]

    def parsed(media_type: str, empty: Any) -> Any:
        blobs = texts(media_type)
        try:
            return json.loads(blobs[-1]) if blobs else empty
        except ValueError:
            raise ModelfileError("a layer %s of the model is not JSON; pull the model again" % media_type)

    try:
        own_parameters = of_layers(read(layer) for layer in manifest.of_type(media.PARAMETERS))
    except ValueError as error:
        raise ModelfileError("a layer %s of the model %s; pull the model again" % (media.PARAMETERS, error))
    templates, systems = texts(media.TEMPLATE, media.PROMPT), texts(media.SYSTEM)
    messages = parsed(media.MESSAGES, [])
    return {
        "from": sorted(set(layer.digest for layer in manifest.of_type(media.MODEL, media.PROJECTOR))),
        "adapters": sorted(set(layer.digest for layer in manifest.of_type(media.ADAPTER))),
        "parameters": comparable(own_parameters),
        "template": templates[-1] if templates else DEFAULT_TEMPLATE,
        "system": systems[-1] if systems else "",
        "license": "\n".join(texts(media.LICENSE)),
        "messages": [{"role": item.get("role"), "content": item.get("content")} for item in messages],
    }


def desired(base: dict[str, Any], request: dict[str, Any], adapters: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content of the model that a request makes.

    Args:
        base: content of the base.
        request: of the user.
        adapters: digests of the adapter files of the request.
    """
    content = dict(base)
    content["parameters"] = comparable(dict(base["parameters"], **request["parameters"]))
    content["adapters"] = sorted(set(base["adapters"]) | set(adapters))
    for key in ("template", "system", "license", "messages"):
        if request[key] is not None:
            content[key] = request[key]
    content["template"] = content["template"] or DEFAULT_TEMPLATE
    return content


def without_base(existing: dict[str, Any], request: dict[str, Any], adapters: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content as `desired` does where the base is not available: the rest is that of the existing model."""
    return desired(existing, request, adapters)


def announced(base: str, request: dict[str, Any], adapters: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content to show before the base is available: its name, and what the request adds.

    Args:
        base: name of the base.
        request: of the user.
        adapters: digests of the adapter files of the request.
    """
    content: dict[str, Any] = {
        key: request[key] or empty
        for key, empty in (("template", ""), ("system", ""), ("license", ""), ("messages", []))
    }
    return dict(
        content, **{"from": [base], "adapters": sorted(set(adapters)), "parameters": comparable(request["parameters"])}
    )


def render(content: dict[str, Any]) -> str:
    """Return a content as the text of a Modelfile, sorted, for a diff."""
    lines = ["FROM " + digest for digest in content["from"]] + ["ADAPTER " + digest for digest in content["adapters"]]
    for name in sorted(content["parameters"]):
        value = content["parameters"][name]
        for item in value if isinstance(value, list) else [value]:
            lines.append("PARAMETER %s %s" % (name, json.dumps(item, ensure_ascii=False)))
    for key in ("template", "system", "license"):
        if content[key]:
            lines.append('%s """%s"""' % (key.upper(), content[key]))
    lines += [
        "MESSAGE %s %s" % (item["role"], json.dumps(item["content"], ensure_ascii=False))
        for item in content["messages"]
    ]
    return "\n".join(lines) + "\n"


def create_payload(name: str, request: dict[str, Any], adapters: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the body of /api/create, without what the request leaves out.

    Args:
        name: of the new model.
        request: of the user.
        adapters: {file name: digest} of blobs that the server has.
    """
    payload = {"model": name, "from": request["from"]}
    if request["parameters"]:
        payload["parameters"] = request["parameters"]
    for key in ("template", "system", "license", "messages"):
        if request[key] is not None:
            payload[key] = request[key]
    if adapters:
        payload["adapters"] = adapters
    return payload
