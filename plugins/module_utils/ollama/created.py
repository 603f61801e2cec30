# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make a model present that is built on another one: link or copy it from another store, or create it on its base.

It is created again only where its effective content differs from what is asked for (modelfile.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Any

from ..common.names import Name, parse
from ..common.regular import open_regular
from . import modelfile
from .client import OllamaError, OllamaUnreachable
from .present import Pull, ensure_pulled, from_another_store, has, take
from .store import Store, StoreError
from .target import ModelError, Outcome, Target, content_in

# A request and a content as modelfile.py has them.
_Request = dict[str, Any]
_Content = dict[str, Any]


def ensure_created(
    target: Target, name: Name, request: _Request, pull: Pull, pin: str | None = None, check_mode: bool = False
) -> Outcome:
    """Make a model present that is built on another one.

    Args:
        target: The instance.
        name: The model.
        request: What to build (modelfile.py). Its base is pulled where it is missing.
        pull: How the base, or the model, gets here.
        pin: Manifest digest that the base must have; None for any.
        check_mode: Whether nothing may be changed.

    Raises:
        ModelError: The model is to be built on itself, an adapter cannot be read, or the server cannot create it.
        OllamaError, RegistryError, StoreError: From the server, the registry, the store.
    """
    base = parse(request["from"])
    if base.same(name):
        raise ModelError(
            "%s cannot be built on itself: an inherited parameter could never be taken away again; give another name"
            % name
        )
    adapters = _adapter_digests(request["adapters"])
    existing = target.content(name)
    before = modelfile.render(existing) if existing else ""
    known = _base_content(target, base, pull, pin)
    want = _wanted(known, existing, request, adapters)
    if existing is not None and want == existing:
        return Outcome(digest=target.digest(name))
    warnings: list[str] = []
    found = from_another_store(target, name, pull, lambda store: _fits(store, name, request, adapters, known), warnings)
    if found is not None:
        other, action = found
        digest, want = other.digest(name), _content_in(other, name)
        if not check_mode:
            action = take(target, other, name, digest)
        return Outcome(action, digest, 0, before, modelfile.render(want), warnings=warnings)
    based = ensure_pulled(target, base, pull, pin, check_mode)
    if check_mode:
        return Outcome(
            "create",
            None,
            based.pulled_bytes,
            before,
            modelfile.render(want or modelfile.announced(str(base), request, adapters.values())),
            warnings=warnings + based.warnings,
        )
    target.require_server()
    want = modelfile.desired(_content(target, base), request, adapters.values())
    _create(target, name, request, adapters)
    target.forget()
    outcome = Outcome("create", target.digest(name), based.pulled_bytes, before, modelfile.render(want))
    outcome.warnings += warnings + based.warnings
    if target.content(name) != want:
        outcome.warnings.append(
            "Ollama made %s with another content than asked for, so the next run will create it again; "
            "compare ollama show --modelfile %s" % (name, name)
        )
    return outcome


def _content(target: Target, name: Name) -> dict[str, Any]:
    """Return the content of a model that the instance had a moment ago. Raises ModelError if it has been deleted."""
    content = target.content(name)
    if content is None:
        raise ModelError("%s was deleted during this run; run again" % name)
    return content


def _content_in(store: Store, name: Name) -> dict[str, Any]:
    """Return the content of a model that a store had a moment ago. Raises ModelError if it has been removed."""
    content = content_in(store, name)
    if content is None:
        raise ModelError("%s was removed from the store %s during this run; run again" % (name, store.path))
    return content


def _base_content(target: Target, base: Name, pull: Pull, pin: str | None) -> _Content | None:
    """Return the content of the base in the instance, otherwise in a store of link_from.

    None where it is nowhere in the pinned form.
    """
    if pin in (None, target.digest(base)):
        content = target.content(base)
        if content is not None:
            return content
    for store in pull.link_from:
        with contextlib.suppress(StoreError):  # from_another_store warns of it
            if has(store, base, pin):
                return content_in(store, base)
    return None


def _wanted(
    known: _Content | None, existing: _Content | None, request: _Request, adapters: dict[str, str]
) -> _Content | None:
    """Return the content that the model should have.

    Args:
        known: Content of the base. Where it is not at hand (None), what the request does not name is taken from
            `existing`.
        existing: Content of the model as it is; None where there is none.
        request: What to build.
        adapters: Digests of the adapters by path.
    """
    if known is not None:
        return modelfile.desired(known, request, adapters.values())
    return modelfile.without_base(existing, request, adapters.values()) if existing is not None else None


def _fits(store: Store, name: Name, request: _Request, adapters: dict[str, str], known: _Content | None) -> bool:
    """Return whether a store has the model with the content that it should have."""
    content = content_in(store, name)
    return content is not None and content == _wanted(known, content, request, adapters)


def _create(target: Target, name: Name, request: _Request, adapters: dict[str, str]) -> None:
    """Let the server create the model."""
    try:
        for path, digest in adapters.items():
            target.client.put_blob(digest, path)
        target.client.create(
            modelfile.create_payload(
                str(name), request, dict((os.path.basename(path), digest) for path, digest in adapters.items())
            )
        )
    except OllamaUnreachable as error:
        raise ModelError("the creation of %s was given up: %s; run again" % (name, error))
    except OllamaError as error:
        raise ModelError("the server at %s cannot create %s: %s" % (target.client.url, name, error.message))


def _adapter_digests(paths: list[str]) -> dict[str, str]:
    """Return the digests of adapter files on this host by path."""
    digests = {}
    for path in paths:
        sha256 = hashlib.sha256()
        try:
            with open_regular(path) as stream:
                for chunk in iter(lambda: stream.read(1048576), b""):
                    sha256.update(chunk)
        except OSError as error:
            raise ModelError("cannot read the adapter %s: %s" % (path, error.strerror or error))
        digests[path] = "sha256:" + sha256.hexdigest()
    return digests
