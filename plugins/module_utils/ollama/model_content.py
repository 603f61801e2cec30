# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a model contains, what it should contain, and the difference. Pure.

A *content* is {from: [digest], adapters: [digest], draft: digest, parameters: {}, template, system, license, messages:
[{role, content}], renderer, parser, requires, architecture}. Ollama merges a request (modelfile.py) over the content of
its base: a new value wins, and an inherited parameter cannot be removed (server/create.go).
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, Callable, Iterable

from . import manifest as media
from .modelfile_parser import Command, ModelfileError, commands
from .parameters import comparable, of_layers, of_show

DEFAULT_TEMPLATE = "{{ .Prompt }}"  # /api/show returns it for a model without a template
# Parts of a content that a request replaces.
_TEXTS = ("template", "system", "messages", "renderer", "parser", "requires")
# Architectures for which Ollama fills in a missing renderer and parser (server/create.go, createModel).
_RENDERED = {
    "gemma4": "gemma4",
    "laguna": "laguna",
    "nemotron_h": "nemotron-3-nano",
    "nemotron_h_moe": "nemotron-3-nano",
    "nemotron_h_omni": "nemotron-3-nano",
}
_BLOB = re.compile(r"sha256-([0-9a-f]{64})\Z")


def content_of_show(show: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a model from the answer of /api/show.

    Its files, renderer and parser are only in the Modelfile that it shows.
    """
    shown = _shown_commands(show)
    return {
        "from": sorted(set(_digests(shown, "model"))),
        "adapters": sorted(set(_digests(shown, "adapter"))),
        "draft": "".join(_digests(shown, "draft")[-1:]),
        "parameters": comparable(of_show(show.get("parameters"))),
        "template": show.get("template") or DEFAULT_TEMPLATE,
        "system": show.get("system") or "",
        "license": show.get("license") or "",
        "messages": [{"role": item.get("role"), "content": item.get("content")} for item in show.get("messages") or []],
        "renderer": "".join([command.value for command in shown if command.name == "renderer"][-1:]),
        "parser": "".join([command.value for command in shown if command.name == "parser"][-1:]),
        "requires": show.get("requires") or "",
        "architecture": (show.get("model_info") or {}).get("general.architecture") or "",
    }


def _shown_commands(show: dict[str, Any]) -> list[Command]:
    """Return the commands of the Modelfile that /api/show prints, as far as they can be read again.

    Ollama does not quote a value of one line that begins with a quote (parser/parser.go, quote), so that the value and
    what comes after it cannot be read. Template and system message are known, and are taken out; of the others, which
    come last, none is needed.
    """
    text = show.get("modelfile") or ""
    for name in ("template", "system"):
        value = show.get(name) or ""
        for quoted in (value, '"%s"' % value, '"""%s"""' % value):
            text = text.replace("\n%s %s\n" % (name.upper(), quoted), "\n", 1)
    for unreadable in (r"\Z", r"^(?:PARAMETER|LICENSE|MESSAGE) ", r"^(?:TEMPLATE|SYSTEM) "):
        with contextlib.suppress(ModelfileError):
            return commands(re.split(unreadable, text, maxsplit=1, flags=re.MULTILINE)[0])
    return []


def _digests(shown: list[Command], name: str) -> list[str]:
    """Return the digests of the blobs that commands of a name have, in their order."""
    found = [_BLOB.search(command.value) for command in shown if command.name == name]
    return ["sha256:" + match.group(1) for match in found if match]


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

    def parsed(blobs: list[str], what: str, empty: Any) -> Any:
        try:
            found = json.loads(blobs[-1]) if blobs else empty
        except ValueError:
            found = None
        if not isinstance(found, type(empty)):
            raise ModelfileError("the %s of the model is not JSON; pull the model again" % what)
        return found

    try:
        own_parameters = of_layers(read(layer) for layer in manifest.of_type(media.PARAMETERS))
    except ValueError as error:
        raise ModelfileError("a layer %s of the model %s; pull the model again" % (media.PARAMETERS, error))
    templates, systems = texts(media.TEMPLATE, media.PROMPT), texts(media.SYSTEM)
    messages = parsed(texts(media.MESSAGES), "layer " + media.MESSAGES, [])
    config = [read(manifest.config).decode("utf-8", "replace")] if manifest.config else []
    settings = parsed(config, "configuration", {})
    return {
        "from": sorted(set(layer.digest for layer in manifest.of_type(media.MODEL, media.PROJECTOR))),
        "adapters": sorted(set(layer.digest for layer in manifest.of_type(media.ADAPTER))),
        "draft": "".join([layer.digest for layer in manifest.of_type(media.DRAFT)][-1:]),
        "parameters": comparable(own_parameters),
        "template": templates[-1] if templates else DEFAULT_TEMPLATE,
        "system": systems[-1] if systems else "",
        "license": "\n".join(texts(media.LICENSE)),
        "messages": [{"role": item.get("role"), "content": item.get("content")} for item in messages],
        "renderer": settings.get("renderer") or "",
        "parser": settings.get("parser") or "",
        "requires": settings.get("requires") or "",
        "architecture": settings.get("model_family") or "",
    }


def desired(
    base: dict[str, Any], request: dict[str, Any], adapters: Iterable[str] = (), draft: str = ""
) -> dict[str, Any]:
    """Return the content of the model that a request makes.

    Args:
        base: content of the base.
        request: of the user.
        adapters: digests of the adapter files of the request.
        draft: digest of the draft model of the request; "" where it has none.
    """
    content = dict(base)
    content["parameters"] = comparable(dict(base["parameters"], **request["parameters"]))
    content["adapters"] = sorted(set(base["adapters"]) | set(adapters))
    content["draft"] = draft or base["draft"]
    for key in _TEXTS:
        if request[key] is not None:
            content[key] = request[key]
    content["template"] = content["template"] or DEFAULT_TEMPLATE
    if request["license"] is not None:  # licences add up (server/create.go, setLicense)
        content["license"] = "\n".join(([base["license"]] if base["license"] else []) + _licenses(request))
    _fill_in(content, request)
    return content


def _fill_in(content: dict[str, Any], request: dict[str, Any]) -> None:
    """Add what Ollama adds for some architectures without a renderer or parser (0.30.0 to 0.32.15, createModel)."""
    if content["renderer"] and content["parser"]:
        return
    name = _RENDERED.get(content["architecture"])
    if name is None:
        return
    content["renderer"], content["parser"] = content["renderer"] or name, content["parser"] or name
    if name == "gemma4" and "stop" not in request["parameters"]:
        content["parameters"] = dict(content["parameters"], stop=["<turn|>"])


def _licenses(request: dict[str, Any]) -> list[str]:
    return [request["license"]] if isinstance(request["license"], str) else request["license"]


def only_file(content: dict[str, Any]) -> str:
    """Return the digest of the file of a model that becomes a draft model; "" where it has several or none."""
    files = content["from"]
    return files[0] if len(files) == 1 else ""


def differences(existing: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return the parts of a content that differ; the architecture only decides what Ollama adds to a request."""
    return sorted(key for key in wanted if key != "architecture" and wanted[key] != existing.get(key))


def without_base(
    existing: dict[str, Any], request: dict[str, Any], adapters: Iterable[str] = (), draft: str = ""
) -> dict[str, Any]:
    """Return the content as `desired` does where the base is not available: the rest is that of the existing model."""
    if request["license"] is not None and existing["license"].endswith("\n".join(_licenses(request))):
        request = dict(request, license=None)
    return desired(existing, request, adapters, draft)


def announced(base: str, request: dict[str, Any], adapters: Iterable[str] = (), draft: str = "") -> dict[str, Any]:
    """Return the content to show before the base is available: its name, and what the request adds.

    Args:
        base: name of the base.
        request: of the user.
        adapters: digests of the adapter files of the request.
        draft: digest of the draft model of the request; "" where it has none.
    """
    nothing = dict.fromkeys(("template", "system", "license", "renderer", "parser", "requires", "architecture"), "")
    empty = dict(nothing, parameters={}, adapters=[], draft="", messages=[], **{"from": [base]})
    content = desired(empty, request, adapters, draft)
    return dict(content, template=request["template"] or "")


def render(content: dict[str, Any]) -> str:
    """Return a content as the text of a Modelfile, sorted, for a diff."""
    lines = ["FROM " + digest for digest in content["from"]] + ["ADAPTER " + digest for digest in content["adapters"]]
    for key in ("draft", "renderer", "parser", "requires"):
        if content[key]:
            lines.append("%s %s" % (key.upper(), content[key]))
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
