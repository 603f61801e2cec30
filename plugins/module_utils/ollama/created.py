# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make a model present that is built on another one: link or copy it from another store, or create it on its base.

It is created again only where its effective content differs from what is asked for (model_content.py).
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from dataclasses import dataclass
from typing import Any, Callable

from ..common.names import Name, parse
from ..common.regular import open_regular, sha256_of
from . import manifest as media
from . import model_content, modelfile, own_blob, replaced
from .client import OllamaError, OllamaUnreachable
from .manifest import Layer
from .other_stores import from_another_store, has, take
from .own_file import OwnFile
from .present import NotHere, Pull, ensure_pulled
from .store import Store, StoreError
from .target import ModelError, Outcome, Target, content_in

# A request as modelfile.py and a content as model_content.py has them.
_Request = dict[str, Any]
_Content = dict[str, Any]


@dataclass(frozen=True)
class _Uploads:
    """Files that a request gives to the new model, as {path: digest}.

    Attributes:
        adapters: The LoRA adapters, files of this host.
        draft: The draft model, one at most.
        there: Whether the server has the draft model already: it is the file of another model.
        own: The LoRA adapters that are brought into the store and not sent to the server.
    """

    adapters: dict[str, str]
    draft: dict[str, str]
    there: bool = False
    own: tuple[OwnFile, ...] = ()

    def digests(self) -> tuple[list[str], str]:
        """Return the digests of the adapters, and that of the draft model or ""."""
        return [*self.adapters.values(), *(one.digest for one in self.own)], "".join(self.draft.values())

    def named_adapters(self) -> dict[str, str]:
        """Return {file name: digest} of the adapters. The manifest keeps the name (manifest/layer.go of Ollama)."""
        named = {os.path.basename(path): digest for path, digest in self.adapters.items()}
        return {**named, **{"%s.gguf" % one.sha256[:12]: one.digest for one in self.own}}


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
        ModelError: The model is to be built on itself, a file cannot be read, or the server cannot create it.
        OllamaError, RegistryError, StoreError: From the server, the registry, the store.
    """
    base = _base(name, request)
    _check_release(target, request)
    uploads = _uploads(target, request, pull)
    existing = target.content(name)
    before = model_content.render(existing) if existing else ""
    known = _base_content(target, base, pull, pin)
    want = _wanted(known, existing, request, uploads)
    if existing is not None and want is not None and not model_content.differences(existing, want):
        return Outcome(digest=target.digest(name))
    warnings: list[str] = []

    def fits(store: Store, held: Name) -> bool:
        return _fits(store, held, request, uploads, known)

    found = _in_another_store(target, name, pull, fits, warnings)
    if found is not None:
        other, action, held = found
        digest, want = other.digest(held), _content_in(other, held)
        if not check_mode:
            action = take(target, other, name, digest, held_as=held)
        return Outcome(action, digest, 0, before, model_content.render(want), warnings=warnings)
    if pull.only_here:
        raise NotHere("no store on this host has %s; it is created when the server runs" % name)
    _bring(target, name, uploads, pull, check_mode)
    based = ensure_pulled(target, base, pull, pin, check_mode)
    if check_mode:
        return Outcome(
            "create",
            None,
            based.pulled_bytes,
            before,
            model_content.render(want or model_content.announced(str(base), request, *uploads.digests())),
            warnings=warnings + based.warnings,
        )
    _require_draft(target, name, request)
    _offer_base(target, base)
    want = model_content.desired(_content(target, base), request, *uploads.digests())
    replaced.keep(target.store, name)
    _create(target, name, request, uploads)
    target.forget()
    outcome = Outcome("create", target.digest(name), based.pulled_bytes, before, model_content.render(want))
    outcome.warnings += warnings + based.warnings + _made_otherwise(target, name, want)
    return outcome


def _bring(target: Target, name: Name, uploads: _Uploads, pull: Pull, check_mode: bool) -> None:
    """Bring the adapters that are not sent to the server into its store.

    Raises:
        ModelError: The store is not known.
        StoreError: One cannot be read or written, or has other bytes than its SHA-256 says.
    """
    for own in uploads.own:
        if target.store is None:
            raise ModelError("the adapter of %s is brought into the store on this host; give store" % name)
        if not check_mode:
            _take_adapter(target.store, own, pull)
            own_blob.bring(target.store, own, pull.timeout)


def _take_adapter(store: Store, own: OwnFile, pull: Pull) -> None:
    """Take an adapter from a store of link_from that has it, of an earlier model; what cannot be taken is brought."""
    layer = Layer(media.ADAPTER, own.digest, own.size_bytes)
    for other in pull.link_from:
        with contextlib.suppress(StoreError):
            if other.path != store.path and own_blob.bytes_there(store, own) < own.size_bytes:
                store.take_blobs(other, [layer])


def _base(name: Name, request: _Request) -> Name:
    """Return the model that another one is built on. Raises ModelError where that is the model itself."""
    base = parse(request["from"])
    if base.same(name):
        raise ModelError(
            "%s cannot be built on itself: an inherited parameter could never be taken away again; give another name"
            % name
        )
    return base


def _in_another_store(
    target: Target, name: Name, pull: Pull, fits: Callable[[Store, Name], bool], warnings: list[str]
) -> tuple[Store, str, Name] | None:
    """Return what from_another_store returns, with the name that the model has in that store."""
    for held in filter(None, (name, pull.staged)):
        found = from_another_store(target, held, pull.link_from, functools.partial(_fits_as, fits, held), warnings)
        if found is not None:
            return (*found, held)
    return None


def _fits_as(fits: Callable[[Store, Name], bool], held: Name, store: Store) -> bool:
    return fits(store, held)


def _made_otherwise(target: Target, name: Name, want: _Content) -> list[str]:
    """Return a warning where the server made another model than the one that was asked for."""
    made = target.content(name)
    if made is not None and not model_content.differences(made, want):
        return []
    return [
        "Ollama made %s with another content than asked for, so the next run will create it again; "
        "compare ollama show --modelfile %s" % (name, name)
    ]


def _require_draft(target: Target, name: Name, request: _Request) -> None:
    """Check that the instance has the model whose file becomes the draft model. Raises ModelError if it has not."""
    draft = request["draft_model"]
    if draft and target.pulled_digest(parse(draft)) is None:
        raise ModelError(
            "the instance has no model %s, which is to be the draft model of %s; bring it with state: present first"
            % (draft, name)
        )


def _offer_base(target: Target, base: Name) -> None:
    """Let the server have the base under its own name, which may have been given to the model that was made from it.

    Raises:
        OllamaError, StoreError: From the server, the store.
    """
    target.require_server()
    if target.store is not None:
        target.store.restore(base)
        target.forget()


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
    if pin in (None, target.pulled_digest(base)):
        content = target.pulled_content(base)
        if content is not None:
            return content
    for store in pull.link_from:
        with contextlib.suppress(StoreError):  # from_another_store warns of it
            if has(store, base, pin):
                return content_in(store, base, pulled=True)
    return None


def _wanted(known: _Content | None, existing: _Content | None, request: _Request, uploads: _Uploads) -> _Content | None:
    """Return the content that the model should have.

    Args:
        known: Content of the base. Where it is not at hand (None), what the request does not name is taken from
            `existing`.
        existing: Content of the model as it is; None where there is none.
        request: What to build.
        uploads: The files that it gives to the server.
    """
    if known is not None:
        return model_content.desired(known, request, *uploads.digests())
    return model_content.without_base(existing, request, *uploads.digests()) if existing is not None else None


def _fits(store: Store, name: Name, request: _Request, uploads: _Uploads, known: _Content | None) -> bool:
    """Return whether a store has the model with the content that it should have."""
    content = content_in(store, name)
    wanted = _wanted(known, content, request, uploads)
    return content is not None and wanted is not None and not model_content.differences(content, wanted)


def _create(target: Target, name: Name, request: _Request, uploads: _Uploads) -> None:
    """Let the server create the model."""
    draft = {os.path.basename(path): digest for path, digest in uploads.draft.items()}
    try:
        sent = list(uploads.adapters.items()) + ([] if uploads.there else list(uploads.draft.items()))
        for path, digest in sent:
            target.client.put_blob(digest, path)
        target.client.create(modelfile.create_payload(str(name), request, uploads.named_adapters(), draft))
    except OllamaUnreachable as error:
        raise ModelError("the creation of %s was given up: %s; run again" % (name, error))
    except OllamaError as error:
        raise ModelError(
            "the server at %s cannot create %s: %s%s" % (target.client.url, name, error.message, _remedy(error.message))
        )


def _remedy(message: str) -> str:
    """Return what to do about an error of the server, as the end of a sentence; "" where it says it itself.

    The server sets the time of every file that the new model keeps (manifest/layer.go), which only its owner may.
    """
    if "chtimes" in message and "not permitted" in message:
        return "; the file belongs to another user than the server runs as, so give it to that user with chown"
    return ""


def _check_release(target: Target, request: _Request) -> None:
    """Check that the server knows all that a request has.

    Raises:
        ModelError: It would leave something out and say nothing.
    """
    newest = modelfile.newest_needed(request)
    if newest is None or not target.reachable():
        return
    version = target.client.version()
    numbers = re.match(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", version)
    if numbers is None or version == "0.0.0":  # a build that has no release's number
        return
    what, first = newest
    if tuple(int(number) for number in numbers.groups()) < first:
        raise ModelError(
            "Ollama %s, which runs at %s, has no %s; it came with %d.%d.%d: install that release or leave it out"
            % ((version, target.client.url, what) + first)
        )


def _uploads(target: Target, request: _Request, pull: Pull) -> _Uploads:
    """Return the adapters of a request, which are files on this host, and the draft model, which is one as well or that
    of another model."""
    draft = request["draft"]
    if draft and draft.lower().endswith(".safetensors"):
        raise ModelError(
            "the draft model %s is not a GGUF file; Ollama would convert it, so that it could not be compared "
            "afterwards: convert it to GGUF" % draft
        )
    adapters = {path: _digest_of("adapter", path) for path in map(os.path.expanduser, request["adapters"])}
    own = tuple(request["adapter_files"])
    if request["draft_model"]:
        return _Uploads(adapters, _draft_of(target, parse(request["draft_model"]), pull), True, own)
    drafts = {path: _digest_of("draft model", path) for path in map(os.path.expanduser, [draft] if draft else [])}
    return _Uploads(adapters, drafts, False, own)


def _draft_of(target: Target, draft: Name, pull: Pull) -> dict[str, str]:
    """Return the file of the model that becomes the draft model, as {file name: digest}.

    Where no store has the model yet, its name is in place of the digest, which is that of no file.

    Raises:
        ModelError: The model has several files.
    """
    content = _base_content(target, draft, pull, None)
    digest = model_content.only_file(content) if content else str(draft)
    if not digest:
        raise ModelError(
            "%s cannot be a draft model, because it has %d files; name a draft model with one file"
            % (draft, len(content["from"] if content else ()))
        )
    return {"draft.gguf": digest}


def _digest_of(what: str, path: str) -> str:
    """Return the digest of a file; `what` names it in messages."""
    try:
        with open_regular(path) as stream:
            return "sha256:" + sha256_of(stream)
    except OSError as error:
        raise ModelError("cannot read the %s %s: %s" % (what, path, error.strerror or error))
