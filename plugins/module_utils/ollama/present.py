# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make a model present as the registry has it, or absent: link or copy it from another store, pull it, delete it.

The ways to a present model, cheapest first: it is there already; another store on this host has it (its blobs are
hard-linked, or copied where they cannot be); the registry. In check mode nothing is changed, but the registry is asked,
so that an unknown tag or a wrong pin is reported before the real run.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Callable

from ..common.names import Name, parse, registry_host, with_registry
from . import downloaded, replaced
from .client import OllamaError, OllamaUnreachable
from .imported import ensure_imported
from .login import Login
from .manifest import Manifest
from .other_stores import PAST, digest_in, from_another_store, has, take
from .own_file import OwnFile
from .registry import Registry, RegistryError
from .store import Store, StoreError
from .target import ModelError, Outcome, Target

#: Longest time to wait for the manifest in a registry, in seconds.
_MANIFEST_SECONDS = 30.0

# Part of the server's message about a failed pull -> what to do about it
_REMEDIES = (
    ("file does not exist", "the registry does not have it; check the name and the tag"),
    (
        "digest mismatch",
        "the registry sent something else than its manifest says, and Ollama has thrown it away; run again, "
        "and if it stays, tell the owner of the registry",
    ),
    ("tls: first record", "the registry speaks plain http; set insecure: true if you trust the network"),
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
    ("it says that", "check that a trusted Ollama server answers at that address, and run again"),
    ("no space left", "free some space in the models directory; what has been downloaded is kept"),
)


@dataclass(frozen=True)
class Pull:
    """How a model gets here.

    Attributes:
        registry: A mirror, host[:port]; None for the registry of the model's name.
        source: Another full name to pull from; None for the model's own.
        insecure: Whether plain HTTP is allowed.
        timeout: Seconds without progress after which a pull is given up.
        link_from: Stores on this host that the model may be linked or copied from.
        planned: Manifest digest that a model must have that is pulled, because the plan was made from that model; None
            for any. A model that is on the host already may have another one.
        only_here: Whether the model may come from stores on this host alone: no registry is asked, and no server.
        staged: Another name under which a store of link_from may have a model that was created; None for none.
        own: The file that the model comes from, and from no registry; None for a model of a registry.
        login: User name and password of the mirror; None for one that needs none.
    """

    registry: str | None = None
    source: str | None = None
    insecure: bool = False
    timeout: float = 120.0
    link_from: list[Store] = field(default_factory=list)
    planned: str | None = None
    only_here: bool = False
    staged: Name | None = None
    report: Callable[[int, int], None] | None = None
    own: OwnFile | None = None
    login: Login | None = None

    def login_for(self, source: Name) -> Login | None:
        """Return the login for the registry of a name; None where it is for another one, or there is none."""
        own = self.registry is not None and source.host.lower() == registry_host(self.registry).lower()
        return self.login if own else None


class NotHere(ModelError):
    """No store on this host has the model, and nothing else may be asked."""


def ensure_pulled(target: Target, name: Name, pull: Pull, pin: str | None = None, check_mode: bool = False) -> Outcome:
    """Make a model present as the registry has it.

    Args:
        target: The instance.
        name: The model.
        pull: How it gets here.
        pin: Manifest digest that it must have; None for any.
        check_mode: Whether nothing may be changed.

    Raises:
        ModelError: The registry has another digest than the pin, space is short, or the server cannot pull it.
        OllamaError, RegistryError, StoreError: From the server, the registry, the store.
    """
    digest = target.pulled_digest(name)
    if digest is not None and pin in (None, digest):
        return Outcome(digest=digest)
    before = {"digest": digest}
    warnings: list[str] = []
    found = from_another_store(target, name, pull.link_from, lambda store: has(store, name, pin), warnings, pulled=True)
    if found is not None:
        other, action = found
        digest = digest_in(other, name)
        if not check_mode:
            action = take(target, other, name, digest, pulled=True)
        brought = {"digest": digest, "%s_from" % PAST[action]: other.path}
        return Outcome(action, digest, 0, before, brought, warnings=warnings)
    if pull.only_here:
        raise NotHere("no store on this host has %s; it is pulled when the server runs" % name)
    if pull.own is not None:
        outcome = ensure_imported(target, name, pull.own, pull.timeout, before, check_mode)
        outcome.warnings += warnings
        return outcome
    source = parse(pull.source) if pull.source else parse(with_registry(str(name), pull.registry))
    manifest = _registry_manifest(source, pull, pin)
    if pin and manifest and manifest.digest != pin:
        raise ModelError(
            "the registry %s has %s with the digest %s, not the pinned %s, so nothing was pulled; change the pin, "
            "or use a mirror that keeps that model" % (source.host, source, manifest.digest, pin)
        )
    if pull.planned and manifest and manifest.digest != pull.planned:
        raise ModelError(
            "%s changed in the registry %s since the plan was made: it has the digest %s there, and the plan is for "
            "%s, so nothing was pulled; run again" % (source, source.host, manifest.digest, pull.planned)
        )
    wanted = _missing_bytes(target, manifest, pull)
    begun = target.store.begun_bytes(manifest.blobs()) if target.store and manifest else 0
    target.check_space(name, max(0, wanted - begun) if wanted is not None else None)
    after = {"digest": manifest.digest if manifest else None}
    if check_mode:
        return Outcome("pull", after["digest"], wanted, before, after, warnings=warnings)
    target.require_server()
    if manifest:
        _take_blobs(target, manifest, pull, warnings)
    digest, reported = _pull_as(target, name, source, pull, pin, manifest)
    pulled = reported if wanted is None else wanted
    return Outcome("pull", digest, pulled, before, {"digest": digest}, warnings=warnings)


def _take_blobs(target: Target, manifest: Manifest, pull: Pull, warnings: list[str]) -> None:
    """Link or copy blobs of a model that is about to be pulled from stores that have them for another model."""
    if target.store is None:
        return
    for other in pull.link_from:
        try:
            missing = target.store.missing(manifest)
            if missing and other.path != target.store.path and len(other.missing(manifest)) < len(manifest.blobs()):
                target.store.take_blobs(other, missing)
        except StoreError as error:
            warnings.append("What the store %s has of the model is fetched: %s." % (other.path, error))


def _pull_as(
    target: Target, name: Name, source: Name, pull: Pull, pin: str | None, manifest: Manifest | None
) -> tuple[str, int]:
    """Pull `source`, give it the name `name`, and return its digest and the bytes that the server reported."""
    if manifest is not None and pull.login_for(source) is not None:
        return _download_as(target, name, source, pull, manifest)
    # What was there under that name before is not ours to remove.
    keep = pull.source and target.digest(source) is not None
    replaced.keep(target.store, source, name)
    reported = _pull(target, source, pull, manifest)
    target.forget()
    digest = target.digest(source)
    if digest is None:
        raise ModelError("the server at %s says that it pulled %s, but does not list it" % (target.client.url, source))
    for wanted, kind in ((pin, "pinned"), (pull.planned, "planned")):
        if wanted and digest != wanted:
            raise ModelError(
                "the pulled %s has the digest %s, not the %s %s: it changed in the registry during the pull; run again"
                % (source, digest, kind, wanted)
            )
    if not source.same(name):
        target.client.copy(str(source), str(name))
        if not keep:
            target.client.delete(str(source))  # its blobs stay: the copy uses them
        target.forget()
    return digest, reported


def _download_as(target: Target, name: Name, source: Name, pull: Pull, manifest: Manifest) -> tuple[str, int]:
    """Download `source` from a registry with a login under the name `name`; return as _pull_as."""
    replaced.keep(target.store, name)
    downloaded.download(target, name, manifest, lambda: _registry(source, pull, pull.timeout), pull.report)
    if target.digest(name) != manifest.digest:
        raise ModelError(
            "%s was downloaded into the store, but the server at %s does not list it; give the store that this server "
            "uses (OLLAMA_MODELS)" % (name, target.client.url)
        )
    return manifest.digest, manifest.size_bytes()


def _registry(source: Name, pull: Pull, timeout: float) -> Registry:
    return Registry(source, insecure=pull.insecure, timeout=timeout, login=pull.login_for(source))


def _registry_manifest(source: Name, pull: Pull, pin: str | None) -> Manifest | None:
    """Return the manifest in the registry.

    None where only the server may be able to get it, which can have a proxy of its own or a key for a private model.
    """
    try:
        return _registry(source, pull, min(_MANIFEST_SECONDS, pull.timeout)).manifest()
    except RegistryError as error:
        if error.kind in ("unreachable", "denied") and not pin and pull.login_for(source) is None:
            return None
        raise


def _pull(target: Target, source: Name, pull: Pull, manifest: Manifest | None) -> int:
    """Pull a model and return the bytes that the server reported."""
    sizes = {layer.digest: layer.size_bytes for layer in manifest.blobs()} if manifest else {}
    try:
        result = target.client.pull(
            str(source), insecure=pull.insecure, stall_timeout=pull.timeout, sizes=sizes, report=pull.report
        )
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
    if pull.report is not None and sizes:
        pull.report(
            sum(sizes.values()), sum(sizes.values())
        )  # the last blobs are small, and no line tells of their end
    return sum(result["blobs"].values())


def _missing_bytes(target: Target, manifest: Manifest | None, pull: Pull) -> int | None:
    """Return the bytes of the blobs that no store on this host has yet; None where that is unknown."""
    if manifest is None:
        return None
    if target.store is None and not target.reachable():
        return manifest.size_bytes()
    missing = manifest.blobs()
    if target.reachable():
        missing = [layer for layer in missing if not target.client.has_blob(layer.digest)]
    for store in ([target.store] + pull.link_from) if target.store else []:
        with contextlib.suppress(StoreError):  # from_another_store warns of it
            there = store.missing(manifest)
            missing = [layer for layer in missing if layer in there]
    return sum(layer.size_bytes for layer in missing)
