# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Names of models: [host[:port]/][namespace/]model[:tag], digests, and the names of optimized models. Pure.

Defaults, letters and lengths are those of Ollama 0.32 (types/model/name.go: ParseNameBare, isValidPart). Ollama answers
"invalid model name" to the rest. Two parts are namespace and model, never host and model: `ns.x/m` and
`localhost:5000/m` are no names, as a namespace has no dot and no colon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Mapping, NoReturn, Optional

from .secrets import shown_address, without_credentials

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
#: Goes to the end of the tag of an optimized model, unless the user names another suffix.
DEFAULT_SUFFIX = "-optimized"
#: Characters of namespace, model and tag at most.
LONGEST_PART = 80

# A part never begins with "." or "-", so "..", "-x" and absolute paths cannot come through.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}\Z")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}\Z")
_TAG = _MODEL
_SUFFIX = re.compile(r"[A-Za-z0-9_.-]+\Z")
_DIGEST = re.compile(r"(?:sha256[:-])?([0-9a-fA-F]{64})\Z")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)


class InvalidName(ValueError):
    """A model name, suffix, registry or digest that Ollama would refuse, or that would leave the store.

    The text is one sentence without its full stop.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


@dataclass(frozen=True, order=True)
class Name(object):
    """A complete name.

    str() is the short form that /api/tags shows: host and namespace left out where they are the defaults, the tag
    always given.
    """

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        text = "%s:%s" % (self.model, self.tag)
        if self.namespace != DEFAULT_NAMESPACE or self.host != DEFAULT_HOST:
            text = "%s/%s" % (self.namespace, text)
        if self.host != DEFAULT_HOST:
            text = "%s/%s" % (self.host, text)
        return text

    def manifest_path(self) -> str:
        """Return the path of the manifest below a store: manifests/<host>/<namespace>/<model>/<tag>."""
        return "/".join(("manifests", self.host, self.namespace, self.model, self.tag))

    def key(self) -> str:
        """Return what two names of one model have in common: Ollama matches them without case (getExistingName)."""
        return self.manifest_path().lower()

    def same(self, other: Name) -> bool:
        """Return whether `other` names the same model."""
        return self.key() == other.key()


def parse(text: Any) -> Name:
    """Return the complete name of a text.

    Raises:
        InvalidName: an empty, hostile or malformed name (also `../x`, `a:{{7*7}}`, names with white space).
    """
    if not isinstance(text, str) or not text:
        _refuse(text, "is empty")
    if "@" in text:
        _refuse(text, "pins a digest with @; use the option digest instead")
    path, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:  # the colon belongs to host:port, or there is none
        path, tag = text, DEFAULT_TAG
    parts = path.rsplit("/", 2)
    if len(parts) == 3:
        parts[0] = _SCHEME.sub("", parts[0], count=1)
        if "/" in parts[0]:
            _refuse(text, "has too many parts")
    host = parts[0] if len(parts) == 3 else DEFAULT_HOST
    namespace = parts[-2] if len(parts) >= 2 else DEFAULT_NAMESPACE
    for what, part, pattern in (
        ("host", host, _HOST),
        ("namespace", namespace, _NAMESPACE),
        ("model", parts[-1], _MODEL),
        ("tag", tag, _TAG),
    ):
        if not pattern.match(part):
            longest = "; it has %d characters at most" % LONGEST_PART if len(part) > LONGEST_PART else ""
            _refuse(text, "has an invalid %s %r%s" % (what, part, longest))
    return Name(host, namespace, parts[-1], tag)


def _refuse(text: Any, reason: str) -> NoReturn:
    raise InvalidName(
        "model name %r %s; a name looks like llama3.1:8b, or [host/][namespace/]model[:tag]" % (text, reason)
    )


def full_name(text: str) -> str:
    """Return a name as /api/tags shows it: "llama3" is "llama3:latest".

    Raises:
        InvalidName: see `parse`.
    """
    return str(parse(text))


def key_of(text: str) -> str:
    """Return what two texts that name one model have in common, see `Name.key`; a text that is no name as it is."""
    try:
        return parse(text).key()
    except InvalidName:
        return text


def optimized_name(text: str, suffix: Any = DEFAULT_SUFFIX) -> str:
    """Return the name of an optimized model: "llama3" and "-optimized" make "llama3:latest-optimized".

    Raises:
        InvalidName: not a name, or a suffix that cannot be the end of its tag.
    """
    name = parse(text)
    if not isinstance(suffix, str) or not _SUFFIX.match(suffix):
        raise InvalidName(
            "suffix %r of an optimized model cannot be part of a tag; use letters, digits, '_', '.' and '-', for "
            "example '%s'" % (suffix, DEFAULT_SUFFIX)
        )
    if not _TAG.match(name.tag + suffix):
        raise InvalidName(
            "tag %r with the suffix %r is longer than the %d characters that Ollama takes; give a shorter "
            "optimized.suffix" % (name.tag, suffix, LONGEST_PART)
        )
    return str(replace(name, tag=name.tag + suffix))


def served_name(model: Mapping[str, Any]) -> str:
    """Return the name that an instance serves a model of the plan under, as /api/tags shows it.

    Args:
        model: an entry of `models` of an instance of the plan. A name that is none is returned as it is.
    """
    text = model.get("create_as") or model["name"]
    try:
        return full_name(text)
    except InvalidName:
        return text


def draft_name(model: Mapping[str, Any]) -> Optional[str]:
    """Return the name of the model whose file is the draft model of a model of the plan, None where none was named.

    Args:
        model: an entry of `models` of an instance of the plan.
    """
    return (model.get("draft") or {}).get("name")


def further_names(model: Mapping[str, Any]) -> list[str]:
    """Return the other names that clients may use for a model of an instance of the plan, as /api/tags shows them.

    They are its plain name, its aliases and the name of its draft model, which an instance has to serve: it answers
    under each of them with the optimized model, because another one would take its place on the GPUs.

    Args:
        model: an entry of `models` of an instance of the plan. A name that is none is left out.
    """
    served, found = key_of(served_name(model)), []
    for text in filter(None, (model["name"], *(model.get("aliases") or ()), draft_name(model))):
        try:
            name = full_name(text)
        except InvalidName:
            continue
        if key_of(name) != served and name not in found:
            found.append(name)
    return found


def with_registry(text: str, registry: Optional[str]) -> str:
    """Return the name under which a mirror has a model; a name that gives another host already stays as it is.

    Args:
        text: a name.
        registry: host[:port] or URL of the mirror; None or "" = there is none.

    Raises:
        InvalidName: not a name, or not a registry.
    """
    name = parse(text)
    if not registry or name.host != DEFAULT_HOST:
        return str(name)
    return str(replace(name, host=registry_host(registry)))


def registry_host(registry: Any) -> str:
    """Return host[:port] of a registry, which may be given as a URL.

    Raises:
        InvalidName: neither of them, or a port that does not exist.
    """
    host = _SCHEME.sub("", str(registry), count=1).rstrip("/")
    if not _HOST.match(host):
        raise InvalidName("registry %r is no host or host:port" % shown_address(str(registry)))
    port = host.rpartition(":")[2] if ":" in host else "443"
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidName("registry %r has a port that is not between 1 and 65535" % (registry,))
    return host


def normalise_digest(text: Any) -> str:
    """Return "sha256:<64 lower-case digits>" of a digest with or without its prefix (/api/tags leaves it out).

    Raises:
        InvalidName: not a digest.
    """
    match = _DIGEST.match(text) if isinstance(text, str) else None
    if not match:
        raise InvalidName("digest %r must be sha256: followed by 64 hexadecimal digits" % (text,))
    return "sha256:" + match.group(1).lower()
