# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Model names: [host[:port]/][namespace/]model[:tag], with the defaults and limits of Ollama 0.32 (types/model/name.go). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

# What each part may be made of (isValidPart). A part never begins with "." or "-", so "..", "-x" and absolute paths cannot come through.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}\Z")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}\Z")
_TAG = _MODEL
_DIGEST = re.compile(r"(?:sha256[:-])?([0-9a-fA-F]{64})\Z")
_SCHEMES = ("http://", "https://")


class InvalidName(ValueError):
    """A model name, suffix or digest that Ollama would refuse, or that would leave the store. The text is one sentence."""


@dataclass(frozen=True, order=True)
class Name(object):
    """A complete name. str() is the short form that /api/tags shows: host and namespace left out where they are the defaults, the tag always given."""

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self):
        text = "%s:%s" % (self.model, self.tag)
        if self.namespace != DEFAULT_NAMESPACE or self.host != DEFAULT_HOST:
            text = "%s/%s" % (self.namespace, text)
        if self.host != DEFAULT_HOST:
            text = "%s/%s" % (self.host, text)
        return text

    def manifest_path(self):
        """Path of the manifest below a store: manifests/<host>/<namespace>/<model>/<tag>."""
        return "/".join(("manifests", self.host, self.namespace, self.model, self.tag))

    def same(self, other):
        """Whether `other` is the same model: Ollama matches names without regard to case (getExistingName)."""
        return self.manifest_path().lower() == other.manifest_path().lower()


def _refuse(text, reason):
    raise InvalidName(
        "model name %r %s; a name looks like llama3.1:8b or host:port/namespace/model:tag" % (text, reason)
    )


def parse(text):
    """Name of `text`. Raises InvalidName for empty, hostile or malformed names (also `../x`, `a:{{7*7}}`, names with white space)."""
    if not isinstance(text, str) or not text:
        _refuse(text, "is empty")
    rest = text
    for scheme in _SCHEMES:
        if rest.lower().startswith(scheme):
            rest = rest[len(scheme) :]
    if "@" in rest:
        _refuse(text, "pins a digest with @; use the option digest instead")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # the colon belongs to host:port
        path, tag = rest, DEFAULT_TAG
    parts = path.split("/")
    if len(parts) > 3:
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
            _refuse(text, "has an invalid %s %r" % (what, part))
    return Name(host, namespace, parts[-1], tag)


def normalise(text):
    """`text` as /api/tags names that model: "llama3" -> "llama3:latest"."""
    return str(parse(text))


def with_suffix(text, suffix):
    """Name of the optimized model: the suffix goes to the end of the tag, "llama3" + "-optimized" -> "llama3:latest-optimized". Raises InvalidName."""
    name = parse(text)
    if not isinstance(suffix, str) or not re.match(r"[A-Za-z0-9_.-]+\Z", suffix):
        raise InvalidName(
            "suffix %r of an optimized model must be made of letters, digits, '_', '.' and '-'" % (suffix,)
        )
    if not _TAG.match(name.tag + suffix):
        raise InvalidName(
            "tag %r with the suffix %r is longer than the 80 characters that Ollama takes" % (name.tag, suffix)
        )
    return str(replace(name, tag=name.tag + suffix))


def with_registry(text, registry):
    """Name under which a mirror `registry` (host[:port]) has the model; a name that already gives another host is left alone."""
    name = parse(text)
    if not registry or name.host != DEFAULT_HOST:
        return str(name)
    return str(parse("%s/%s/%s:%s" % (registry_host(registry), name.namespace, name.model, name.tag)))


def registry_host(registry):
    """host[:port] of `registry`, which may be given as a URL. Raises InvalidName."""
    host = str(registry)
    for scheme in _SCHEMES:
        if host.lower().startswith(scheme):
            host = host[len(scheme) :]
    host = host.rstrip("/")
    if not _HOST.match(host):
        raise InvalidName("registry %r is no host or host:port" % (registry,))
    port = host.rpartition(":")[2] if ":" in host else "443"
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidName("registry %r has a port that is not between 1 and 65535" % (registry,))
    return host


def normalise_digest(text):
    """ "sha256:<64 lower-case hex>" of a digest given with or without its prefix (/api/tags leaves it out). Raises InvalidName."""
    match = _DIGEST.match(text) if isinstance(text, str) else None
    if not match:
        raise InvalidName("digest %r must be sha256: followed by 64 hexadecimal digits" % (text,))
    return "sha256:" + match.group(1).lower()
