# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make a model present that comes from a GGUF file of the user: its file becomes a blob, and it gets a manifest.

No server is needed for it: a running one sees at once what is new in its store.
"""

from __future__ import annotations

from typing import Any

from ..common.names import Name
from . import own_blob
from .own_file import OwnFile
from .store import StoreError
from .target import ModelError, Outcome, Target


def ensure_imported(
    target: Target, name: Name, own: OwnFile, timeout: float, before: dict[str, Any], check_mode: bool = False
) -> Outcome:
    """Bring the file into the store of an instance, and let the name name it.

    Args:
        target: The instance. Its store has to be known.
        name: The model.
        own: The file.
        timeout: Seconds without a byte after which a download is given up.
        before: What was there, for the difference.
        check_mode: Whether nothing may be changed.

    Raises:
        ModelError: The store is not known, or the server does not use it.
        OllamaError, StoreError: From the server, the store.
    """
    if target.store is None:
        raise ModelError("%s comes from a file, which needs the store on this host; give store" % name)
    manifest = own.manifest()
    missing = sum(layer.size_bytes for layer in target.store.missing(manifest))
    after = {"digest": manifest.digest, "imported_from": own.where}
    if check_mode:
        return Outcome("import", manifest.digest, missing, before, after)
    target.check_space(name, missing - own_blob.bytes_there(target.store, own) if missing else 0)
    brought = own_blob.bring(target.store, own, timeout)
    own_blob.name_it(target.store, name, own)
    target.forget()
    if target.digest(name) != manifest.digest:
        raise StoreError(
            "%s was brought into the store %s, but the server at %s does not list it; give the store that this server "
            "uses (OLLAMA_MODELS)" % (name, target.store.path, target.client.url)
        )
    return Outcome("import", manifest.digest, brought, before, after)
