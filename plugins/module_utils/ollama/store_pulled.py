# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What was pulled under the names of a store, where a name was made to name another model since (store_aliases.py).

Beside `manifests`, where no server looks, such a store has the manifest that a name had before and the one that it was
given. Their paths are the lower-case ones of the names, because Ollama ignores the case of names.
"""

from __future__ import annotations

from ..common import paths
from ..common.names import Name
from .manifest import Manifest
from .store_directory import OpenStore

#: Directories for the manifest that a name had before, and for the one that it was given.
PULLED, GIVEN = paths.PULLED_MANIFESTS, paths.GIVEN_MANIFESTS


def side_path(name: Name) -> tuple[str, ...]:
    """Return the parts of the path of a name's manifest below PULLED and GIVEN."""
    return tuple(name.key().split("/")[1:])


def pulled_manifest(store: OpenStore, name: Name) -> Manifest | None:
    """Return the manifest of a model as it was pulled; None if the store does not have it.

    A name that was pulled again, or made otherwise, since it was given another manifest counts as it is now. Under an
    alias, which was only ever given, nothing was pulled.

    Raises:
        StoreError: a manifest cannot be read.
    """
    there, kept = store.manifest(name), store.manifest_at(side_path(name), PULLED)
    return kept if there is not None and was_given(store, name, there) else there


def was_given(store: OpenStore, name: Name, there: Manifest) -> bool:
    """Return whether a name's manifest is the one that store_aliases.py gave it. Raises StoreError."""
    given = store.manifest_at(side_path(name), GIVEN)
    return given is not None and given.digest == there.digest
