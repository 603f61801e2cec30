# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which models the stores on a host hold, and what in them the role would refuse; read without a server.

Of blobs only owner and size are looked at. A store of an instance is read as root. Any other store is read as the
service user, who is to link or copy from it: what that user cannot read is not listed.
"""

from __future__ import annotations

import os
import re
import stat
import time
from dataclasses import dataclass, field
from typing import Any, Iterable, Optional

from ..common import paths
from ..common.names import InvalidName, parse
from ..host import as_user, file_system
from ..host.child import DeadlineExceeded
from .manifest import MAX_BYTES, Manifest
from .store_directory import (
    BLOBS,
    MANIFESTS,
    MAX_ENTRIES,
    BrokenManifest,
    OpenStore,
    StoreError,
    blob_name,
    foreign,
    refusal,
    status_of,
)
from .store_foreign import foreign_entries
from .store_pulled import pulled_manifest
from .store_replaced import replaced_manifests

#: Most bytes of one store's manifests. A store with more is not listed.
MAX_TOTAL_BYTES = 2 * MAX_BYTES
#: Most sentences about one store.
MAX_SENTENCES = 5
#: Most leftovers of a store that are returned; the next run has the rest.
MAX_LEFTOVERS = 200
#: Seconds after which the server deletes what no manifest names (layerPruneGracePeriod of server/images.go).
GRACE_SECONDS = 3600
#: Names of what the server puts among the blobs: a blob, a part of a download, the record of such a part.
_BLOB = re.compile(r"sha256-[0-9a-f]{64}(?:-partial(?:-\d+)?|-own)?\Z")
#: Longest time for a store that is read as the service user, in seconds.
_SECONDS = 60.0


def list_stores(stores: Iterable[str], models_dir: str) -> dict[str, dict[str, Any]]:
    """Return what stores hold.

    Args:
        stores: models directories of Ollama, which need not exist.
        models_dir: the directory that the instances' stores are in.

    Returns:
        {path: {same_file_system, models, owned, problems, notes, leftovers, begun_bytes}}: whether the store is on the
        file system of `models_dir`; its complete models as [{name, digest, size_bytes}], sorted by name, None where
        that cannot be known; whether all its blobs belong to the service user, so that they can be linked; sentences
        about what is refused in the store of an instance; sentences about what cannot be used in another store; names
        and bytes of what no model of the store of an instance uses any more, as [{name, size_bytes}], sorted by name;
        what that takes on the disk, however young it is. A model also has `pulled_digest` where its name was given to
        another one than was pulled under it; None if that is not complete, or if nothing was pulled.
    """
    there = file_system.device(models_dir)
    return {
        path: dict(_listed(path, models_dir), same_file_system=file_system.device(path) == there)
        for path in dict.fromkeys(os.path.normpath(store) for store in stores)
    }


def _listed(path: str, models_dir: str) -> dict[str, Any]:
    uid = _service_uid()
    own = os.path.dirname(path) == os.path.normpath(paths.stores(models_dir))
    if own or path == os.path.normpath(paths.fetch_store(models_dir)):
        found = list_store(path, uid, own=True)
        return {
            "models": found["models"],
            "owned": found["owned"],
            "problems": found["sentences"],
            "notes": [],
            "leftovers": found["leftovers"],
            "begun_bytes": found["begun_bytes"],
        }
    try:
        opened = OpenStore.at(path)
        if opened is None:
            found = _Listing().told()
        else:
            with opened:
                found = as_user.call_as(
                    as_user.service_account(), _list_open, opened.descriptor, path, uid, timeout=_SECONDS
                )
    except (StoreError, as_user.UserError) as error:
        found = _unknown(str(error))
    except DeadlineExceeded:
        found = _unknown("the store %s cannot be read within %d seconds" % (path, _SECONDS))
    return {
        "models": found["models"],
        "owned": found["owned"],
        "problems": [],
        "notes": found["sentences"],
        "leftovers": [],
        "begun_bytes": 0,
    }


def list_store(path: str, uid: Optional[int], own: bool = False) -> dict[str, Any]:
    """Return what a store holds, read as the user of this process.

    Args:
        path: of the store.
        uid: number of the service user; None where the host does not have it.
        own: whether it is the store of an instance, where everything has to belong to the service user.

    Returns:
        {models, owned, sentences, leftovers, begun_bytes}, see `list_stores`.
    """
    try:
        opened = OpenStore.at(path, follow=not own)
        if opened is None:
            return _Listing().told()
        with opened:
            return _Listing(uid, own).read(opened)
    except StoreError as error:
        return _unknown(str(error))


def _list_open(descriptor: int, path: str, uid: Optional[int]) -> dict[str, Any]:
    """The same of a store whose top directory is open: the service user may not be able to reach its path."""
    with OpenStore(os.dup(descriptor), path) as opened:
        return _Listing(uid).read(opened)


def _unknown(sentence: str) -> dict[str, Any]:
    return {"models": None, "owned": False, "sentences": [sentence], "leftovers": [], "begun_bytes": 0}


@dataclass
class _Listing:
    """One pass through a store, with what is left of its bounds. Arguments as of `list_store`."""

    uid: Optional[int] = None
    own: bool = False
    sentences: list[str] = field(default_factory=list)
    models: Optional[list[dict[str, Any]]] = field(default_factory=list)
    owned: bool = True
    leftovers: list[dict[str, Any]] = field(default_factory=list)
    begun_bytes: int = 0
    #: Names of the blobs that a manifest names; None where a manifest cannot be read.
    _used: Optional[set[str]] = field(default_factory=set)
    _bytes: int = field(default_factory=lambda: MAX_TOTAL_BYTES)

    def told(self) -> dict[str, Any]:
        """Return what was found."""
        return {
            "models": self.models,
            "owned": self.owned,
            "sentences": self.sentences[:MAX_SENTENCES],
            "leftovers": self.leftovers,
            "begun_bytes": self.begun_bytes,
        }

    def read(self, opened: OpenStore) -> dict[str, Any]:
        """Go through an open store and return what was found."""
        left = [MAX_ENTRIES]
        try:
            usable = self._inspect(opened.path, os.fstat(opened.descriptor))
            for name in (BLOBS, MANIFESTS):
                status = status_of(name, opened.descriptor)
                usable &= status is None or self._inspect("%s/%s" % (opened.path, name), status)
            if not usable:
                self.models = None
                return self.told()
            blobs = dict(opened.entries(self._inspect, left, BLOBS))
            self.owned = self.owned and all(status.st_uid == self.uid for status in blobs.values())
            found = [self._model(opened, parts, blobs) for parts in opened.tags(self._inspect, left)]
            self.models = sorted((model for model in found if model), key=lambda model: model["name"])
            if self.own and self.uid is not None:
                for sentence in foreign_entries(opened, self.uid, MAX_SENTENCES):
                    self._tell(sentence)
            if self._used is not None:
                # As long as a new plan may have to be taken back.
                for manifest in replaced_manifests(opened, time.time() - GRACE_SECONDS).values():
                    self._used.update(blob_name(layer.digest) for layer in manifest.blobs())
            self._find_leftovers(blobs)
        except StoreError as error:
            self.models = None
            self.sentences.append(str(error))
        except OSError as error:
            self.models = None
            self.sentences.append("the store %s cannot be read: %s" % (opened.path, error.strerror or error))
        if self.models is None:
            self.owned = False
        return self.told()

    def _find_leftovers(self, blobs: dict[str, os.stat_result]) -> None:
        """Note what no manifest names: parts of a download that was given up, blobs of a model that was replaced.

        What is younger than the server's own time of grace may be about to be used. Nothing is said of a store where
        a manifest cannot be read, or something is refused.
        """
        if self._used is None or self.sentences or not self.own:
            return
        self.begun_bytes = sum(status.st_blocks * 512 for name, status in blobs.items() if name not in self._used)
        oldest = time.time() - GRACE_SECONDS
        self.leftovers = [
            {"name": name, "size_bytes": status.st_size}
            for name, status in sorted(blobs.items())
            if name not in self._used
            and _BLOB.match(name)
            and stat.S_ISREG(status.st_mode)
            and status.st_mtime < oldest
        ][:MAX_LEFTOVERS]

    def _inspect(self, path: str, status: os.stat_result) -> bool:
        """Return whether an entry of the store may be used; if not, add a sentence."""
        sentence = None
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            sentence = refusal(path, status)
        elif self.own and status.st_uid != self.uid:
            sentence = foreign(path, status, paths.USER)
        if sentence:
            self.owned = False
            self._tell(sentence)
        return sentence is None

    def _tell(self, sentence: str) -> None:
        if len(self.sentences) < MAX_SENTENCES and sentence not in self.sentences:
            self.sentences.append(sentence)

    def _model(
        self, opened: OpenStore, parts: tuple[str, ...], blobs: dict[str, os.stat_result]
    ) -> Optional[dict[str, Any]]:
        """The model of a manifest: none where it is no valid one, or where a blob is missing or cannot be read."""
        try:
            name = parse("%s/%s/%s:%s" % parts)
            manifest = opened.manifest_at(parts)
            pulled = pulled_manifest(opened, name)
        except (InvalidName, BrokenManifest):
            self._used = None
            return None
        except StoreError as error:
            self._used = None
            self._tell(str(error))
            return None
        if manifest is None:
            return None
        if self._used is not None:
            for one in filter(None, (manifest, pulled)):
                self._used.update(blob_name(layer.digest) for layer in one.blobs())
        self._bytes -= len(manifest.raw)
        if self._bytes < 0:
            raise StoreError("the manifests of the store %s have more than %d bytes" % (opened.path, MAX_TOTAL_BYTES))
        if not self._complete(opened, manifest, blobs):
            return None
        size = sum(layer.size_bytes for layer in manifest.blobs())
        entry = {"name": str(name), "digest": manifest.digest, "size_bytes": size}
        if pulled is None or pulled.digest != manifest.digest:
            there = pulled is not None and self._complete(opened, pulled, blobs)
            entry["pulled_digest"] = pulled.digest if pulled is not None and there else None
        return entry

    def _complete(self, opened: OpenStore, manifest: Manifest, blobs: dict[str, os.stat_result]) -> bool:
        for layer in manifest.blobs():
            status = blobs.get(blob_name(layer.digest))
            if status is None or not stat.S_ISREG(status.st_mode) or status.st_size != layer.size_bytes:
                return False
        if self.own:
            return True
        try:
            for layer in manifest.blobs():
                descriptor = opened.open_file(BLOBS, blob_name(layer.digest))
                if descriptor is None:
                    return False
                os.close(descriptor)
        except StoreError as error:
            self._tell(str(error))
            return False
        return True


def _service_uid() -> Optional[int]:
    try:
        return as_user.account(paths.USER).uid
    except as_user.UserError:
        return None
