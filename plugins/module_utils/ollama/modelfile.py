# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Modelfiles, and the requests that they make. Pure.

A *request* is what the user writes: {from, parameters, template, system, adapters, license, messages, renderer, parser,
requires, draft, ignored}. What is None in it is inherited from the base, `adapters` and `draft` are paths on the host,
`adapter_files` are adapters that become blobs of the store (own_file.py), and `ignored` are parameters that Ollama
drops. model_content.py says what a model has in the end.
"""

from __future__ import annotations

import re
from typing import Any

from .modelfile_parser import FIRST_RELEASES as FIRST_COMMANDS
from .modelfile_parser import Command, ModelfileError, commands
from .parameters import DEPRECATED, check, of_modelfile
from .parameters import FIRST_RELEASES as FIRST_PARAMETERS

#: Texts of a request that go to the server as they are.
_TEXTS = ("template", "system", "messages", "renderer", "parser", "requires", "license")
_IDENTIFIER = "(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
# golang.org/x/mod/semver, IsValid; minor and patch may be left out.
_SEMVER = re.compile(
    r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)"
    r"(?:-{0}(?:\.{0})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?\Z".format(_IDENTIFIER)
)


def empty_request() -> dict[str, Any]:
    """Return a request that changes nothing."""
    return {
        "from": None,
        "parameters": {},
        "template": None,
        "system": None,
        "adapters": [],
        "adapter_files": [],
        "license": None,
        "messages": None,
        "renderer": None,
        "parser": None,
        "requires": None,
        "draft": None,
        "draft_model": None,
        "ignored": [],
    }


def parse(text: str) -> dict[str, Any]:
    """Return the request of a Modelfile, as ollama create makes it (parser/parser.go, CreateRequest).

    Of a command that is given several times the last one counts; MESSAGE, LICENSE and the parameter `stop` add up. An
    empty text is the same as none: it is inherited from the base.

    Raises:
        ModelfileError: a line cannot be understood.
        InvalidParameter: a parameter is wrong.
    """
    request = empty_request()
    for command in commands(text):
        _add(request, command)
    request["parameters"] = check(request["parameters"])
    return request


def _add(request: dict[str, Any], command: Command) -> None:
    """Add a command to a request."""
    name, value = command.name, command.value
    if name == "model":
        if not value:
            raise ModelfileError("line %d of the Modelfile has a FROM without a model" % command.line)
        if not is_file(request["from"] or ""):  # a file is kept, to be refused
            request["from"] = value
    elif name == "adapter":
        request["adapters"] = [_path(command)]
    elif name == "draft":
        if request["draft"] is not None:
            raise ModelfileError(
                "line %d of the Modelfile is a second DRAFT; Ollama uses one draft model, so leave one" % command.line
            )
        request["draft"] = _path(command)
    elif name in ("template", "system", "renderer", "parser"):
        request[name] = value or None
    elif name == "license":
        request["license"] = (request["license"] or []) + [value]
    elif name == "requires":
        version = value[1:] if value.startswith("v") else value
        if not _SEMVER.match(version):
            raise ModelfileError(
                "line %d of the Modelfile requires %s, which is no version such as 0.14.0"
                % (command.line, ascii(value[:60]))
            )
        request["requires"] = version
    elif name == "message":
        role, _colon, content = value.partition(": ")
        request["messages"] = (request["messages"] or []) + [{"role": role, "content": content}]
    elif name in DEPRECATED:
        request["ignored"].append(name)
    elif name == "stop":
        request["parameters"].setdefault("stop", []).append(of_modelfile(name, value))
    else:
        request["parameters"][name] = of_modelfile(name, value)


def _path(command: Command) -> str:
    """Return the path of an adapter or draft.

    Raises:
        ModelfileError: it is relative, and a Modelfile that is given as text is in no directory.
    """
    if not command.value.startswith(("/", "~")):
        raise ModelfileError(
            "line %d of the Modelfile names the file %s; give the whole path on the host, because the Modelfile "
            "is given as a text" % (command.line, ascii(command.value[:200]))
        )
    return command.value


def is_file(base: str) -> bool:
    """Return whether a FROM names a file and not a model.

    This collection imports no files: Ollama rewrites an imported file, so that no digest stays the same.
    """
    return (
        base in (".", "..")
        or base.startswith(("/", "\\", "./", "../", "~"))
        or base.lower().endswith((".gguf", ".safetensors"))
    )


def create_payload(
    name: str, request: dict[str, Any], adapters: dict[str, str] | None = None, draft: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the body of /api/create, without what the request leaves out.

    Args:
        name: of the new model.
        request: of the user.
        adapters: {file name: digest} of blobs that the server has.
        draft: the same for the draft model.
    """
    payload = {"model": name, "from": request["from"]}
    if request["parameters"]:
        payload["parameters"] = request["parameters"]
    for key in _TEXTS:
        if request[key] is not None:
            payload[key] = request[key]
    if adapters:
        payload["adapters"] = adapters
    if draft:
        payload["draft_files"] = draft
    return payload


def newest_needed(request: dict[str, Any]) -> tuple[str, tuple[int, int, int]] | None:
    """Return (what of a request is newest, the first release of Ollama that has it); None where all releases have all.

    A server that does not know it would create the model without it, and say nothing.
    """
    needed = {key.upper(): first for key, first in FIRST_COMMANDS.items() if request[key] is not None}
    if request["draft_model"] is not None:
        needed["DRAFT"] = FIRST_COMMANDS["draft"]
    needed.update(
        ("PARAMETER " + name, first) for name, first in FIRST_PARAMETERS.items() if name in request["parameters"]
    )
    return max(needed.items(), key=lambda item: item[1]) if needed else None
