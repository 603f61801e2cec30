# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Make a further name of an instance name a model that the instance has: the same manifest, so the same parameters.

A server keeps one engine for each model file. It loads the model again for a request under a name whose parameters are
others, and then without the layers and the batch that were planned.
"""

from __future__ import annotations

from ..common.names import Name
from .target import ModelError, Outcome, Target


def ensure_aliased(target: Target, name: Name, model: Name, check_mode: bool = False) -> Outcome:
    """Make a name name a model. What was pulled under that name stays known to the store (store_pulled.py).

    Args:
        target: The instance. Its store has to be known.
        name: The further name.
        model: The model that it shall name.
        check_mode: Whether nothing may be changed.

    Raises:
        ModelError: The instance does not have the model, or its server does not use the store.
        OllamaError, StoreError: From the server, the store.
    """
    if target.store is None:
        raise ModelError("%s can name %s only in a store on this host; give store" % (name, model))
    digest, before = target.digest(model), target.digest(name)
    if digest is None and not check_mode:
        raise ModelError("the instance has no model %s for %s to name; bring it with state: present" % (model, name))
    if digest is not None and before == digest:
        return Outcome(digest=digest)
    if not check_mode:
        target.store.give_names(model, [name])
        target.forget()
        if target.digest(name) != digest:
            raise ModelError(
                "%s names %s in the store %s now, but the server at %s does not say so; give the store that this "
                "server uses (OLLAMA_MODELS)" % (name, model, target.store.path, target.client.url)
            )
    return Outcome("alias", digest, 0, {"digest": before}, {"digest": digest, "same_as": str(model)})
