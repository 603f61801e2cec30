# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Modelfiles: what one asks for, what a model effectively contains, and the difference. Pure.

A *request* is what the user writes: {from, parameters, template, system, adapters, license, messages}; what it leaves out (None) is inherited.
A *content* is what a model has in the end: {from: [digest], adapters: [digest], parameters: {}, template, system, license, messages: [{role, content}]}.
Ollama merges a request over its base: a new value wins, an inherited parameter cannot be taken away (server/create.go).
"""

from __future__ import annotations

import json
import re

from . import manifest as media
from .parameters import check, comparable, of_modelfile, of_show

DEFAULT_TEMPLATE = "{{ .Prompt }}"  # what /api/show gives for a model without one
_COMMANDS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE")
_ROLES = ("system", "user", "assistant")
_FROM_BLOB = re.compile(r"^FROM \S*sha256-([0-9a-f]{64})$", re.MULTILINE)
_ADAPTER_BLOB = re.compile(r"^ADAPTER \S*sha256-([0-9a-f]{64})$", re.MULTILINE)


class ModelfileError(ValueError):
    """The Modelfile cannot be understood. The text is one sentence."""


def empty_request():
    """A request that changes nothing yet."""
    return {
        "from": None,
        "parameters": {},
        "template": None,
        "system": None,
        "adapters": [],
        "license": None,
        "messages": None,
    }


def parse(text):
    """Request of a Modelfile's `text` (parser/parser.go: commands in any case, values in "..." or triple quotes may span lines). Raises ModelfileError."""
    request = empty_request()
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number].strip()
        start = number + 1
        number += 1
        if not line or line.startswith("#"):
            continue
        command, unused, rest = line.partition(" ")
        command = command.upper()
        if command not in _COMMANDS:
            raise ModelfileError(
                "line %d of the Modelfile begins with %r, which is none of %s" % (start, command, ", ".join(_COMMANDS))
            )
        name = None
        if command in ("PARAMETER", "MESSAGE"):
            name, unused, rest = rest.strip().partition(" ")
        value, number = _value(rest.strip(), lines, number, start)
        _add(request, command, name, value, start)
    if not request["from"]:
        raise ModelfileError("the Modelfile has no FROM line, so there is nothing to build on")
    request["parameters"] = check(request["parameters"])
    return request


def _value(rest, lines, number, start):
    """(text, next line number) of a value that begins with `rest`."""
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


def _add(request, command, name, value, start):
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
                "line %d of the Modelfile has a message of %r, which is none of %s" % (start, name, ", ".join(_ROLES))
            )
        request["messages"] = (request["messages"] or []) + [{"role": name, "content": value}]
    elif command == "ADAPTER":
        request["adapters"].append(value)
    elif command == "LICENSE":
        request["license"] = value if request["license"] is None else request["license"] + "\n" + value
    else:
        request[command.lower()] = value


def is_file(base):
    """Whether a FROM means a file and not a model: importing one is not what this collection does, because Ollama rewrites it and no digest stays the same."""
    return base.startswith(("/", "./", "../", "~")) or base.lower().endswith((".gguf", ".safetensors"))


# -- what a model contains -------------------------------------------------------------------------------------------------------


def content_of_show(show):
    """Content of a model by the answer of /api/show."""
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


def content_of_manifest(manifest, read):
    """Content of a model by its Manifest; read(layer) gives the bytes of a small blob. Raises ModelfileError."""

    def texts(*media_types):
        return [read(layer).decode("utf-8", "replace") for layer in manifest.of_type(*media_types)]

    def parsed(media_type, empty):
        blobs = texts(media_type)
        try:
            return json.loads(blobs[-1]) if blobs else empty
        except ValueError:
            raise ModelfileError("a layer %s of the model is not JSON; pull the model again" % media_type)

    templates, systems = texts(media.TEMPLATE, media.PROMPT), texts(media.SYSTEM)
    messages = parsed(media.MESSAGES, [])
    return {
        "from": sorted(set(layer.digest for layer in manifest.of_type(media.MODEL, media.PROJECTOR))),
        "adapters": sorted(set(layer.digest for layer in manifest.of_type(media.ADAPTER))),
        "parameters": comparable(parsed(media.PARAMETERS, {})),
        "template": templates[-1] if templates else DEFAULT_TEMPLATE,
        "system": systems[-1] if systems else "",
        "license": "\n".join(texts(media.LICENSE)),
        "messages": [{"role": item.get("role"), "content": item.get("content")} for item in messages],
    }


def desired(base, request, adapters=()):
    """Content of a model made by `request` over the content `base`; adapters: digests of the request's adapter files."""
    content = dict(base)
    content["parameters"] = comparable(dict(base["parameters"], **request["parameters"]))
    content["adapters"] = sorted(set(base["adapters"]) | set(adapters))
    for key in ("template", "system", "license", "messages"):
        if request[key] is not None:
            content[key] = request[key]
    content["template"] = content["template"] or DEFAULT_TEMPLATE
    return content


def without_base(existing, request, adapters=()):
    """Like `desired`, where the base is not at hand: what the request does not name is taken from the model as it is."""
    return desired(existing, request, adapters)


def announced(base, request, adapters=()):
    """Content to show before a base (its name) is at hand: the name, and what the request adds to whatever the base has."""
    content = {
        key: request[key] or empty
        for key, empty in (("template", ""), ("system", ""), ("license", ""), ("messages", []))
    }
    return dict(
        content, **{"from": [base], "adapters": sorted(set(adapters)), "parameters": comparable(request["parameters"])}
    )


def render(content):
    """Content as text for a diff, in the form of a Modelfile, sorted."""
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


def create_payload(name, request, adapters=None):
    """Body of /api/create; adapters: {file name: digest} of blobs that the server has. What the request leaves out is not sent."""
    payload = {"model": name, "from": request["from"]}
    if request["parameters"]:
        payload["parameters"] = request["parameters"]
    for key in ("template", "system", "license", "messages"):
        if request[key] is not None:
            payload[key] = request[key]
    if adapters:
        payload["adapters"] = adapters
    return payload
