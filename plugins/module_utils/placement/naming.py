# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Names: of models, of optimized models, of instances."""

from __future__ import annotations

import ipaddress
import re
from typing import Sequence

from .errors import PlacementError
from .shapes import Gpu

DEFAULT_SUFFIX = "-optimized"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_MODEL_NAME = re.compile(r"^(?:%s(?::\d+)?/)?(?:%s/)?%s(?::%s)?$" % (_PART, _PART, _PART, _PART))
_SUFFIX = re.compile(r"^[A-Za-z0-9_.-]+$")
# A host name; one that ends in a number is an IP address or a mistake.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(r"^(?=.{1,253}\Z)(?:%s\.)*(?=[0-9-]*[A-Za-z])%s\Z" % (_LABEL, _LABEL))
# Characters of host, namespace, model and tag at most (types/model/name.go).
LONGEST_HOST = 350
LONGEST_PART = 80


def check_model_name(name):
    """Raise PlacementError unless the text is a model name ([host/][namespace/]model[:tag])."""
    if not isinstance(name, str) or not _MODEL_NAME.match(name) or "\n" in name or ".." in name:
        raise PlacementError(
            "Model name %r is not a name that Ollama takes; use [host/][namespace/]model[:tag] with letters, digits, '.', '_' and '-'."
            % (name,)
        )
    *before, last = name.split("/")
    parts = last.split(":") + before[-1:]
    if max(len(part) for part in parts) > LONGEST_PART or len(name) > LONGEST_HOST:
        raise PlacementError(
            "Model name '%s' is longer than Ollama takes; give namespace, model and tag at most %d characters each."
            % (name, LONGEST_PART)
        )
    return name


def same_name(name):
    """What two names of one model have in common: Ollama's own registry and its namespace may be left out, case does not count."""
    parts = name.lower().split("/")
    if parts[0] == "registry.ollama.ai" and len(parts) == 3:
        parts = parts[1:]
    return "/".join(parts[1:] if parts[0] == "library" and len(parts) == 2 else parts)


def full_name(name):
    """The name with its tag: "llama3" is "llama3:latest"."""
    return name if ":" in name.rsplit("/", 1)[-1] else name + ":latest"


def optimized_name(name, suffix=DEFAULT_SUFFIX):
    """Name of the optimized model: the suffix goes to the end of the tag.

    Raises:
        PlacementError: a suffix that cannot be part of a tag.
    """
    if not isinstance(suffix, str) or not _SUFFIX.match(suffix) or "\n" in suffix:
        raise PlacementError(
            "optimized.suffix %r cannot be part of a tag; use letters, digits, '.', '_' and '-', for example '%s'."
            % (suffix, DEFAULT_SUFFIX)
        )
    optimized = full_name(name) + suffix
    if len(optimized.rsplit(":", 1)[-1]) > LONGEST_PART:
        raise PlacementError(
            "The tag of '%s' is longer than the %d characters that Ollama takes; give a shorter optimized.suffix."
            % (optimized, LONGEST_PART)
        )
    return optimized


def instance_name(gpus: Sequence[Gpu]) -> str:
    """Name of the instance on these GPUs, from their numbers: "gpu0", "gpu0-1"; "cpu" without GPUs.

    MIG slices of one GPU share its number and get the start of their UUID added.
    """
    if not gpus:
        return "cpu"
    if len(gpus) == 1 and gpus[0].is_slice:
        return "gpu%dm%s" % (gpus[0].number, re.sub(r"[^0-9a-f]", "", gpus[0].uuid[4:].lower())[:8])
    return "gpu" + "-".join(str(gpu.number) for gpu in gpus)


def names_on(name):
    """Names of the instances that can be on the same GPUs: "gpu0", "gpu0b", "gpu0c" and so on."""
    return [name] + [name + letter for letter in "bcdefghijklmnopqrstuvwxyz"]


def free_name(name, taken):
    """The first of `names_on` that is not taken."""
    for candidate in names_on(name):
        if candidate not in taken:
            return candidate
    raise PlacementError(
        "More than 26 instances on the GPUs of %s; give the models the same settings so that they can share one." % name
    )


def ip_address(text):
    """An IP address as a plan writes it, without the brackets that IPv6 has in addresses; None where the text is none, or is one that means
    something on one interface only (%) and cannot be given to clients."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text
    if "%" in bare:
        return None
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


def check_address(address):
    """The listen address as a plan writes it: an IP address, without the brackets that IPv6 has in addresses, or a host name.

    Raises:
        PlacementError: neither of them.
    """
    text = address.strip() if isinstance(address, str) else ""
    found = ip_address(text)
    if found:
        return found
    if not _HOST_NAME.match(text):
        raise PlacementError(
            "Listen address %r is neither an IP address nor a host name; use for example 127.0.0.1, 0.0.0.0 or ::, and base_port for the port."
            % (address,)
        )
    return text


def host_and_port(address, port):
    """The text for OLLAMA_HOST; IPv6 addresses get brackets."""
    return "%s:%d" % ("[%s]" % address if ":" in address else address, port)


def url(address, port):
    """The address clients on the host use; a wildcard becomes the loopback address."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return "http://" + host_and_port(local, port)
