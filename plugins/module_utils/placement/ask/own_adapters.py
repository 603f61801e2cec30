# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""LoRA adapters of the user's own: `optimized.adapters` of an entry says where the GGUF file of one is. Pure."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional

from ...common import names
from ...model.gguf.adapter import adapter_facts, misfit
from ..errors import PlacementError
from .own_source import check_file, check_source

_KEY = "optimized.adapters"


def check_adapters(entry: Mapping[str, Any]) -> Optional[tuple[str, str]]:
    """Return (kind, place) of the adapter of a model; None for a model without one of the user's.

    Args:
        entry: a model as placement_info and the role take it.

    Raises:
        PlacementError: `optimized.adapters` cannot be.
    """
    given, name = _given(entry), entry.get("name")
    if not isinstance(given, (list, tuple)):
        raise PlacementError("%s of %s is %.80r: give a list with one file." % (_KEY, name, given))
    if len(given) > 1:
        # server/create.go of Ollama 0.30 to 0.33: errOnlyOneAdapterSupported
        raise PlacementError(
            "%s of %s lists %d files, and Ollama adds one adapter to a model: leave one, or merge them into one file."
            % (_KEY, name, len(given))
        )
    return check_file(given[0], _KEY, "%s of %s" % (_KEY, name)) if given else None


def own_files_to_read(models: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the files of the user's whose headers a plan needs: those of models and those of adapters.

    Args:
        models: entries of placement_info's or the role's models.

    Returns:
        {name, source, adapter} for each: the name of the model, where the file is, as `source` of a model says it, and
        whether it is an adapter.

    Raises:
        PlacementError: what says where one is cannot be.
    """
    found = []
    for entry in models:
        if check_source(entry) is not None:
            found.append({"name": entry["name"], "source": dict(entry["source"]), "adapter": False})
        if check_adapters(entry) is not None:
            found.append({"name": entry["name"], "source": dict(_given(entry)[0]), "adapter": True})
    return found


def with_adapter(entry: Mapping[str, Any], adapters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of a model, with those of the adapter of the user's that it gets.

    Args:
        entry: of placement_info's models, with the facts of the model as `model`.
        adapters: what model_info returned for adapters, in any order. The last of a model counts.

    Raises:
        PlacementError: the adapter of the model is not among them, is another file, or does not go with the model.
    """
    facts, name, where = entry["model"], entry["name"], check_adapters(entry)
    if where is None:
        return facts
    read = [one for one in adapters if names.key_of(str(one.get("name"))) == names.key_of(str(name))]
    if not read:
        raise PlacementError(
            "adapters has nothing of the adapter %s of %s: give what model_info returned for it." % (where[1], name)
        )
    found, sha256 = dict(read[-1]), _given(entry)[0].get("sha256")
    digest = _checked(found, name)
    if sha256 and names.normalise_digest(sha256) != digest:
        raise PlacementError(
            "The facts of the adapter of %s are of a file with the SHA-256 %s, not %s: read them again."
            % (name, found["sha256"], sha256)
        )
    wrong = misfit(found, facts)
    if wrong:
        raise PlacementError(
            "The adapter %s of %s %s: give an adapter that was made for this model." % (where[1], name, wrong)
        )
    mine = dict(adapter_facts(found, facts), digest=digest, size_bytes=found["size_bytes"])
    inherited = facts.get("adapters") or []
    if any(one.get("digest") == digest for one in inherited):
        raise PlacementError(
            "%s has the adapter %s already, from its registry: leave it out of %s." % (name, where[1], _KEY)
        )
    return dict(facts, adapters=[*inherited, mine])


def planned_adapters(entry: Mapping[str, Any], adapters: Iterable[Any]) -> tuple[dict[str, Any], ...]:
    """Return the adapters of a model as a plan tells them, in the order in which the engine gets them.

    Args:
        entry: a model as placement_info takes it.
        adapters: facts of all adapters of the model (model.schema.Adapter); that of the user is the last.

    Returns:
        {digest, size_bytes, kind, where} of each; kind and where are null for those that the model brings along.

    Raises:
        PlacementError: `optimized.adapters` cannot be.
    """
    found = [{"digest": one.digest, "size_bytes": one.size_bytes, "kind": None, "where": None} for one in adapters]
    mine = check_adapters(entry)
    if mine is not None and not found:
        raise PlacementError("The facts of %s are without its adapter: pass what model_info returned." % entry["name"])
    if mine is not None:
        found[-1].update(kind=mine[0], where=mine[1])
    return tuple(found)


def _given(entry: Mapping[str, Any]) -> Any:
    optimized = entry.get("optimized") or {}
    return (optimized.get("adapters") if isinstance(optimized, Mapping) else None) or []


def _checked(found: Mapping[str, Any], name: Any) -> str:
    """Return the digest of an adapter, after what a plan computes with was looked at."""
    sizes = found.get("layer_bytes")
    numbers = [found.get(key) for key in ("size_bytes", "embedding_bytes", "other_bytes", "rank")]
    shapes = found.get("shapes")
    try:
        digest = names.normalise_digest(found.get("sha256"))
        right = (
            isinstance(sizes, dict)
            and all(str(block).isdigit() for block in sizes)
            and all(_whole(number) for number in [*numbers, *sizes.values()])
            and isinstance(found.get("architecture"), str)
            and isinstance(shapes, dict)
            and all(len(shape) == 2 and all(map(_whole, shape)) for known in shapes.values() for shape in known)
        )
    except (names.InvalidName, TypeError):
        right = False
    if not right:
        raise PlacementError(
            "The facts of the adapter of %s are not those that model_info returns; pass them unchanged." % name
        )
    return digest


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
