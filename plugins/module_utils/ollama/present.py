# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A model that is there or not: linked from another store, pulled, created, deleted.

Order of the ways, cheapest first: it is there; another store on this host has it (hard links, no byte moves); the registry.
In check mode nothing is changed, but the registry is asked, so that an unknown tag or a wrong pin shows before the real run.
"""

from __future__ import annotations

import hashlib
import os

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse, with_registry
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import modelfile
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaError, OllamaUnreachable
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.loading import unload
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.registry import Registry, RegistryError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.target import ModelError, Outcome, content_in

# Part of the server's message about a failed pull -> what to do about it
_REMEDIES = (
    ("file does not exist", "the registry does not have it; check the name and the tag"),
    (
        "digest mismatch",
        "the registry sent something else than its manifest says, and Ollama has thrown it away; run again, "
        "and if it stays, tell the owner of the registry",
    ),
    ("tls: first record", "the registry speaks plain http; set insecure: true if you trust the way to it"),
    ("no Location header", "the registry does not redirect to its blobs, which Ollama insists on; use another mirror"),
    (
        "unexpected status code 30",
        "the registry redirects with another status than 307, which Ollama does not follow; use another mirror",
    ),
    (
        "no such host",
        "the server cannot resolve the registry's name; check its name service, or set a mirror with registry",
    ),
    ("connection refused", "the server cannot reach the registry; check the address, or set a mirror with registry"),
    ("no space left", "free some space in the models directory; what has been downloaded is kept"),
)


class Pull(object):
    """How models get here. registry: mirror (host[:port]) or None; source: another full name to pull from, or None; timeout: seconds without progress."""

    def __init__(self, registry=None, source=None, insecure=False, timeout=120.0, link_from=()):
        self.registry = registry
        self.source = source
        self.insecure = insecure
        self.timeout = timeout
        self.link_from = list(link_from)  # [Store]


def ensure_pulled(target, name, pull, pin=None, check_mode=False):
    """Model `name` (names.Name) as the registry has it; pin: manifest digest or None. Returns Outcome. Raises ModelError and what the rooms raise."""
    digest = target.digest(name)
    if digest is not None and pin in (None, digest):
        return Outcome(digest=digest)
    before = {"digest": digest}
    other = _linkable(target, pull, lambda store: _has(store, name, pin))
    if other is not None:
        digest = other.manifest(name).digest
        if not check_mode:
            _link(target, other, name, digest)
        return Outcome("link", digest, 0, before, {"digest": digest, "linked_from": other.path})
    source = parse(pull.source) if pull.source else parse(with_registry(str(name), pull.registry))
    manifest = _registry_manifest(source, pull, pin, check_mode)
    if pin and manifest.digest != pin:
        raise ModelError(
            "the registry %s has %s with the digest %s, not the pinned %s, so nothing was pulled; change the pin, "
            "or use a mirror that keeps that model" % (source.host, source, manifest.digest, pin)
        )
    wanted = _missing_bytes(target, manifest)
    _check_space(target, name, wanted)
    after = {"digest": manifest.digest if manifest else None}
    if check_mode:
        return Outcome("pull", after["digest"], wanted, before, after)
    if not target.reachable():
        raise target.unreachable
    keep = (
        pull.source and target.digest(source) is not None
    )  # it was there under that name before, so it is not ours to take away
    told = _pull(target, source, pull)
    target.forget()
    digest = target.digest(source)
    if digest is None:
        raise ModelError("the server at %s says that it pulled %s, but does not list it" % (target.client.url, source))
    if pin and digest != pin:
        raise ModelError(
            "the pulled %s has the digest %s, not the pinned %s: it changed in the registry during the pull; run again"
            % (source, digest, pin)
        )
    if not source.same(name):
        target.client.copy(str(source), str(name))
        if not keep:
            target.client.delete(str(source))  # its blobs stay: the copy uses them
        target.forget()
    return Outcome("pull", digest, told if wanted is None else wanted, before, {"digest": digest})


def _registry_manifest(source, pull, pin, check_mode):
    """Manifest in the registry; None where only the server may be able to get it (a proxy of its own, its key for a private model)."""
    try:
        return Registry(source, insecure=pull.insecure, timeout=min(30.0, pull.timeout)).manifest()
    except RegistryError as error:
        if error.kind in ("unreachable", "denied") and not pin:
            return None
        raise


def _pull(target, source, pull):
    """Pull and return the bytes that the stream told of."""
    try:
        result = target.client.pull(str(source), insecure=pull.insecure, stall_timeout=pull.timeout)
    except OllamaUnreachable as error:
        raise ModelError(
            "the pull of %s was given up: %s; what has been downloaded is kept, and the next run goes on from there"
            % (source, error)
        )
    except OllamaError as error:
        remedy = next(
            (remedy for part, remedy in _REMEDIES if part in error.message),
            "nothing that was there is lost; see the journal of the server",
        )
        raise ModelError(
            "the server at %s cannot pull %s (%s): %s" % (target.client.url, source, error.message, remedy)
        )
    return sum(result["blobs"].values())


def _missing_bytes(target, manifest):
    """Bytes of the blobs of `manifest` that are not here yet; None where that is unknown."""
    if manifest is None:
        return None
    if target.reachable():
        return sum(layer.size_bytes for layer in manifest.blobs() if not target.client.has_blob(layer.digest))
    if target.store:
        return sum(layer.size_bytes for layer in target.store.missing(manifest))
    return manifest.size_bytes()


def _check_space(target, name, wanted):
    free = target.store.free_bytes() if target.store and wanted else None
    if free is not None and wanted > free:
        raise ModelError(
            "%s needs %d bytes in %s, where %d are free; free %d more, or put the models directory on a larger file system"
            % (name, wanted, target.store.path, free, wanted - free)
        )


# -- links -----------------------------------------------------------------------------------------------------------------------


def _linkable(target, pull, fits):
    """The first store of link_from that `fits`, or None. The target's own store is not one of them."""
    if target.store is None:
        return None
    return next((store for store in pull.link_from if store.path != target.store.path and fits(store)), None)


def _has(store, name, pin):
    manifest = store.complete(name)
    return manifest is not None and pin in (None, manifest.digest)


def _link(target, other, name, digest):
    """Hard-link `name` from the store `other`, and see that the running server, if there is one, really uses the target's store."""
    target.store.link_from(other, name)
    target.forget()
    if target.digest(name) != digest:
        raise ModelError(
            "%s was linked into the store %s, but the server at %s does not list it; give the store that this server uses (OLLAMA_MODELS)"
            % (name, target.store.path, target.client.url)
        )


# -- created models --------------------------------------------------------------------------------------------------------------


def ensure_created(target, name, request, pull, pin=None, check_mode=False):
    """Model `name` with the effective content of `request` (modelfile.py); pin: digest of the base. Returns Outcome. Raises ModelError and more."""
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
    other = _linkable(target, pull, lambda store: _fits(store, name, request, adapters, known))
    if other is not None:
        digest, want = other.manifest(name).digest, content_in(other, name)
        if not check_mode:
            _link(target, other, name, digest)
        return Outcome("link", digest, 0, before, modelfile.render(want))
    based = ensure_pulled(target, base, pull, pin, check_mode)
    if check_mode:
        return Outcome(
            "create",
            None,
            based.pulled_bytes,
            before,
            modelfile.render(want or modelfile.announced(str(base), request, adapters.values())),
        )
    if not target.reachable():
        raise target.unreachable
    want = modelfile.desired(target.content(base), request, adapters.values())
    _create(target, name, request, adapters)
    target.forget()
    outcome = Outcome("create", target.digest(name), based.pulled_bytes, before, modelfile.render(want))
    if target.content(name) != want:
        outcome.warnings.append(
            "Ollama made %s with another content than asked for, so the next run will create it again; "
            "compare ollama show --modelfile %s" % (name, name)
        )
    return outcome


def _base_content(target, base, pull, pin):
    """Content of the base: of the server or own store, otherwise of a store in link_from; None where it is nowhere in the pinned form."""
    if pin in (None, target.digest(base)):
        content = target.content(base)
        if content is not None:
            return content
    store = next((store for store in pull.link_from if _has(store, base, pin)), None)
    return content_in(store, base) if store else None


def _wanted(known, existing, request, adapters):
    """Content that the model should have. Where the base is not at hand, what the request does not name is believed of the model as it is."""
    if known is not None:
        return modelfile.desired(known, request, adapters.values())
    return modelfile.without_base(existing, request, adapters.values()) if existing is not None else None


def _fits(store, name, request, adapters, known):
    content = content_in(store, name)
    return content is not None and content == _wanted(known, content, request, adapters)


def _create(target, name, request, adapters):
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


def _adapter_digests(paths):
    """{path: digest} of adapter files on this host."""
    digests = {}
    for path in paths:
        sha256 = hashlib.sha256()
        try:
            with open(path, "rb") as stream:
                for chunk in iter(lambda: stream.read(1048576), b""):
                    sha256.update(chunk)
        except OSError as error:
            raise ModelError("cannot read the adapter %s: %s" % (path, error.strerror or error))
        digests[path] = "sha256:" + sha256.hexdigest()
    return digests


# -- absent ----------------------------------------------------------------------------------------------------------------------


def ensure_absent(target, name, check_mode=False):
    """No model `name` in this instance; other stores keep theirs. A loaded one is unloaded first, or it would stay on the GPUs without a name."""
    digest = target.digest(name)
    if not target.reachable() and target.store is None and not check_mode:
        raise target.unreachable
    if digest is None and (target.reachable() or target.store is None or target.store.manifest(name) is None):
        return Outcome()
    if not check_mode:
        if target.reachable():
            if target.loaded(name):
                unload(target, name)
            target.client.delete(str(name))
        else:
            target.store.remove(name)
        target.forget()
    return Outcome("delete", None, 0, {"digest": digest}, {"digest": None})
