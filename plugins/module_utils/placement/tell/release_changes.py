# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the release of a plan does otherwise than that of the applied plan, with these models on these GPUs. Pure.

Both releases are asked by their rules (releases/) for the same models and GPUs, so whatever else has changed on the
host makes no difference.
"""

from __future__ import annotations

from typing import Any, Iterator, Optional, Sequence

from ...releases import archives, engine_table, libraries, limits
from ...releases.release import Release
from ...releases.shapes import LoadRequest
from ...releases.versions import UnknownVersion, release_of
from ..ask import inherited
from ..ask.checked import CheckedRequest
from ..search.fitting import Fitting
from ..shapes import Wanted

#: Of a decision: (what it is in a sentence, its attribute).
_DECIDED = (
    ("the context length", "context_length"),
    ("the number of slots", "parallel"),
    ("the batch", "batch"),
    ("flash attention", "flash_attention"),
)


def release_changes(given: CheckedRequest, fitting: Fitting, environments: Sequence[dict[str, str]]) -> list[str]:
    """Return a sentence for each thing that the release does otherwise than that of the applied plan; [] where it is
    the same, or no plan is applied.

    Args:
        given: the request.
        fitting: with the release of the plan.
        environments: the service variables of the plan's instances.
    """
    old, new = _before(given), fitting.release
    if old is None or old.numbers == new.numbers and old.version == new.version:
        return []
    return [
        "Ollama %s replaces %s." % (new.version, old.version),
        *_engine(old, new),
        *_gpus(given, old, new),
        *_faults(old, new),
        *_settings(environments, old, new),
        *(sentence for wanted in given.wanted for sentence in _model(given, fitting, wanted, old)),
    ]


def _before(given: CheckedRequest) -> Optional[Release]:
    """The release of the applied plan, None where that does not say one."""
    try:
        return release_of(given.applied_version) if given.applied_version else None
    except UnknownVersion:
        return None


def _engine(old: Release, new: Release) -> Iterator[str]:
    if old.engine != new.engine:
        yield "Its engine is %s instead of %s." % (new.engine, old.engine)
    elif new.reads_engine_variables:
        builds = [limits.build(one.numbers) if one.numbers <= engine_table.NEWEST_READ else None for one in (old, new)]
        if None in builds:
            yield "The build of llama.cpp in its engine is unknown."
        elif builds[0] != builds[1]:
            yield "Its engine is llama.cpp %s instead of %s." % (builds[1], builds[0])


def _gpus(given: CheckedRequest, old: Release, new: Release) -> Iterator[str]:
    driver = given.gpu_inventory.get("driver_version")
    library = given.service.variables.get("OLLAMA_LLM_LIBRARY", "")
    for gpu in given.gpus:
        refused = old.refused_gpu(gpu.compute_capability, driver, library)
        if refused:
            yield "It uses GPU %s, which the former release did not use: %s." % (gpu.uuid, refused.reason)
            continue
        names = [release.gpu_libraries(gpu.compute_capability, driver, library)[:1] for release in (old, new)]
        if all(names) and names[0] != names[1]:
            yield "On GPU %s it uses the CUDA library %s instead of %s." % (gpu.uuid, names[1][0], names[0][0])
        if old.reads_engine_variables and new.reads_engine_variables and gpu.compute_capability:
            floors = [libraries.least_driver(one.numbers, tuple(gpu.compute_capability)) for one in (old, new)]
            if floors[0] and floors[1] and floors[0] != floors[1]:
                yield "On GPU %s it needs driver %d or later instead of %d; the host has %s." % (
                    gpu.uuid,
                    floors[1],
                    floors[0],
                    driver or "one that is not known",
                )
    for out in given.left_out:
        if out.gpu is None or not out.selected:
            continue
        capability = out.gpu.compute_capability
        refused = new.refused_gpu(capability, driver, library)
        if refused and not old.refused_gpu(capability, driver, library):
            yield "It does not use GPU %s any more: %s." % (out.uuid, refused.reason)


def _faults(old: Release, new: Release) -> Iterator[str]:
    if archives.allowed(new.version) and not archives.allowed(old.version):
        yield "It fixes vulnerabilities of the former release: %s." % archives.OLDEST_ALLOWED_REASON
    before, after = ({fault["name"]: fault for fault in release.faults()} for release in (old, new))
    for name in sorted(set(after) - set(before)):
        yield "It has a known bug that the former release does not have: %s; %s." % (
            after[name]["text"],
            after[name]["remedy"],
        )
    for name in sorted(set(before) - set(after)):
        yield "It does not have this known bug of the former release: %s." % before[name]["text"]


def _settings(environments: Sequence[dict[str, str]], old: Release, new: Release) -> Iterator[str]:
    for name in sorted({name for environment in environments for name in environment}):
        effects = [release.effects.get(name) for release in (old, new)]
        if effects[0] != effects[1]:
            yield "%s has another effect: %s; before: %s." % (name, effects[1] or "unknown", effects[0] or "unknown")


def _model(given: CheckedRequest, fitting: Fitting, wanted: Wanted, old: Release) -> Iterator[str]:
    """What changes for a model that is loaded without settings, and in its engine."""
    new = fitting.release
    seen = tuple(gpu.for_release(fitting.seen_bytes(gpu, gpu.available_bytes)) for gpu in given.gpus)
    request = LoadRequest(wanted.facts, seen, inherited.own_options(wanted.facts.parameters), system=fitting.system)
    before, after = old.decide(request), new.decide(request)
    changed = [
        "%s %s instead of %s" % (words, getattr(after, name), getattr(before, name))
        for words, name in _DECIDED
        if getattr(after, name) != getattr(before, name)
    ]
    places = [_place(given, decision) for decision in (before, after)]
    if places[0] != places[1]:
        changed.insert(0, "%s instead of %s" % (places[1], places[0]))
    if changed:
        yield "Without the settings of the plan, %s would get %s." % (wanted.name, ", ".join(changed))
    if old.embeds(wanted.facts) != new.embeds(wanted.facts):
        yield "Its engine %s %s as an embedding model." % (
            "takes" if new.embeds(wanted.facts) else "does not take",
            wanted.name,
        )
    kinds = [release.speculation(wanted.facts, wanted.drafted) for release in (old, new)]
    if (kinds[0].kind, kinds[0].tokens) != (kinds[1].kind, kinds[1].tokens):
        yield "Speculative decoding of %s is %s instead of %s." % (
            wanted.name,
            kinds[1].kind or "off",
            kinds[0].kind or "off",
        )


def _place(given: CheckedRequest, decision: Any) -> str:
    if decision.outcome is None:
        return "an error (%s)" % decision.error
    if not decision.gpus:
        return "the CPU"
    names = ", ".join(given.gpus[place].uuid for place in decision.gpus)
    return "%s%s" % (names, " with layers on the CPU" if decision.outcome == "partial" else "")
