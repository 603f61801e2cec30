# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Take evidence away from observations: each piece by itself, or several. A piece becomes unknown, and nothing else is
claimed instead."""

from __future__ import annotations

import copy
import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import (
    EngineLog,
    EngineProcess,
    Observations,
    ObservedInstance,
    ObservedModel,
    Rules,
)

#: {class: {field: its value where it is unknown}}. Where the value is CLAIM, no value says that it is unknown: any
#: other one claims something else.
CLAIM = object()
GONE = object()  # in place of a value: the entry is not there
UNKNOWN = {
    Observations: {
        "inventory": CLAIM,
        "instances": CLAIM,
        "used_before": {},
        "rules": Rules(problem="nft was not asked"),
    },
    ObservedInstance: {
        **dict.fromkeys("error journal_problem loaded version listener executable runs_next differences".split()),
        **dict.fromkeys("reachable models".split(), CLAIM),
        "unit": {},
        "closed_nodes": {},
    },
    ObservedModel: {
        **dict.fromkeys("load_error ps engine died stayed reloaded log log_missing load_seconds answered".split()),
        **dict.fromkeys("answer not_generated generation_error utilization_peak busy_processes".split()),
        **dict.fromkeys("tokens_per_second served_file base_file stored_digest alias_digests parameters".split()),
        **dict.fromkeys("loaded would_evict fresh vectors_only".split(), CLAIM),
        "device_uuids": {},
    },
    EngineProcess: {
        **dict.fromkeys("port environment parent executable mapped".split()),
        **dict.fromkeys("pid started".split(), CLAIM),
        "model_file": "",
        "arguments": [],
    },
    EngineLog: {
        **dict.fromkeys("dry_run_host layers layers_total load_seconds error".split()),
        **dict.fromkeys("devices dry_run buffers compute cache".split(), {}),
    },
}
#: What NVML may not tell of a GPU. A list that lacks a process, or a process without its unit, claims something.
_OF_GPU = (("processes",), ("health", "state")) + tuple(
    ("memory", name) for name in ("total_bytes", "used_bytes", "free_bytes")
)
#: Dictionaries whose entries can be missing one by one. (A utilization of None says that the GPU does not have it.)
_BY_ENTRY = ("unit", "ps", "device_uuids", "utilization_peak", "busy_processes", "listener")


def _fields(owner, path):
    for name, value in UNKNOWN[type(owner)].items():
        if value is not CLAIM:
            yield path + (name,), value
        if name in _BY_ENTRY:
            yield from ((path + (name, key), GONE) for key in getattr(owner, name) or ())


def pieces(seen):
    """[(path to a piece of evidence, its value where it is unknown)] of observations."""
    found = list(_fields(seen, ())) + [(("inventory", "state"), None)]
    for number, fact in enumerate(seen.inventory["gpus"]):
        found += [(("inventory", "gpus", number) + path, None) for path in _OF_GPU]
        for place in range(len(fact["processes"] or ())):
            found.append((("inventory", "gpus", number, "processes", place, "used_bytes"), None))
    for name, instance in seen.instances.items():
        if not instance.reachable:  # it is there for its answer, as a replica
            continue
        found += _fields(instance, ("instances", name))
        for model, of_model in instance.models.items():
            path = ("instances", name, "models", model)
            found += _fields(of_model, path)
            for part in ("engine", "log"):
                if getattr(of_model, part):
                    found += _fields(getattr(of_model, part), path + (part,))
    # A process without a unit is known to have none.
    return [(path, value) for path, value in found if path[-2:] != ("listener", "unit")]


def _take(seen, path, value):
    """Make one piece unknown, unless what it is a part of is gone already."""
    owner = seen
    for step in path[:-1]:
        owner = getattr(owner, step, None) if dataclasses.is_dataclass(owner) else _entry(owner, step)
        if owner is None:
            return
    if dataclasses.is_dataclass(owner):
        object.__setattr__(owner, path[-1], copy.copy(value))  # some are frozen
    elif value is GONE:
        owner.pop(path[-1], None)
    else:
        owner[path[-1]] = value


def _entry(owner, step):
    return owner.get(step) if isinstance(owner, dict) else owner[step]


def less(seen, numbers):
    """A copy of the observations without the pieces of evidence of these numbers (of `pieces`, and around)."""
    left, listed = copy.deepcopy(seen), pieces(seen)
    for number in numbers:
        _take(left, *listed[number % len(listed)])
    return left
