# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a set's server offers: the rig's models and a release archive, laid out for registry/store.py."""

from __future__ import annotations

import pathlib

from tests.rig.models import store


def prepare(directory: pathlib.Path, say=print) -> dict[str, str]:
    """Write models and the release into the directory, keeping what lies there already; return inventory variables {name: path on the server}."""
    for name in store.names():
        model, _, tag = name.partition(":")
        for blob in store.blobs(name):
            store.write_blob(name, blob, directory / "blobs")
        path = directory / "manifests" / "library" / model / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.manifest(name))
    return {}
