# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which instances of a host are changed together, and in which order. Pure.

Instances are changed one after the other, so that with replicas a host never stops serving a model. Only those that
share a GPU or a port are changed together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..common.names import key_of, served_name
from . import order
from .known_servers import listening
from .restarts import runs
from .schema import Change, Changes, ManagedFile, Switch


@dataclass(frozen=True)
class _Before:
    """What an instance was when the run began.

    `serves` are the keys of the models that it served; `place` is what it held of the GPUs, None where that is not
    known; `ports` are those that it listens on.
    """

    serves: frozenset[str] = frozenset()
    gpus: frozenset[str] = frozenset()
    place: Any = None
    ports: frozenset[int] = frozenset()
    active: bool = False


def switches(
    plan: dict[str, Any], host: dict[str, Any], servers: dict[str, Any], applied: dict[str, Any], changes: Changes
) -> tuple[Switch, ...]:
    """Return the switches of a run, in the order in which they are made. An instance without a change is in none.

    Args:
        plan: of module placement_info.
        host: of module host_info.
        servers: {instance: server} of module server_info.
        applied: the plan that was applied before; {} where there is none.
        changes: of the run; those of the stage "switch" are divided, but for the rules of who may connect.
    """
    # Rules of who may connect are loaded before all of them, and touch no instance.
    own = [change for change in changes.changes if order.stage(change) == order.SWITCH and change.object != "firewall"]
    names = list(dict.fromkeys(change.instance for change in own if change.instance))
    planned = {instance["name"]: instance for instance in plan["instances"]}
    # In the order of the plan, then those that the plan does not have.
    names.sort(key=lambda name: list(planned).index(name) if name in planned else len(planned))
    before = {name: _before(name, host, servers, applied) for name in names}
    groups = _together(names, planned, before, _is_one_switch(host, applied, changes))
    found = [_switch(group, planned, changes, own) for group in _in_order(groups, planned, before)]
    return _with_the_rest(found, own, changes)


def _is_one_switch(host: dict[str, Any], applied: dict[str, Any], changes: Changes) -> bool:
    """Whether all instances are changed at once: nothing serves that could go on meanwhile, an Ollama from elsewhere is
    stopped, or it is not known which GPUs the instances have that run."""
    active = {entry["name"] for entry in host["instances"] if entry["active"]}
    known = {instance["name"] for instance in applied.get("instances") or []}
    return not active or bool(active - known) or bool(changes.of("adopt", "service"))


def _before(name: str, host: dict[str, Any], servers: dict[str, Any], applied: dict[str, Any]) -> _Before:
    instance: dict[str, Any] = next((one for one in applied.get("instances") or [] if one["name"] == name), {})
    active = any(entry["name"] == name and entry["active"] for entry in host["instances"])
    server = servers.get(name) or {}
    process = (server["environment"]["process"] if runs(server) else None) or {}
    ports = {instance.get("port")} | ({listening(process.get("OLLAMA_HOST") or "")[1]} if process else set())
    return _Before(
        frozenset(_serves(instance)) if active else frozenset(),
        frozenset(instance.get("gpu_uuids") or ()),
        _place(instance),
        frozenset(port for port in ports if port) if active else frozenset(),
        active,
    )


def _serves(instance: dict[str, Any]) -> set[str]:
    return {key_of(served_name(model)) for model in instance.get("models") or []}


def _place(instance: dict[str, Any]) -> list[Any]:
    """What an instance holds of which GPU. Where that changes, its neighbours have to make room first."""
    devices = [device for model in instance.get("models") or [] for device in model["predicted"].get("devices") or []]
    return [
        sorted(instance.get("gpu_uuids") or []),
        sorted((device["uuid"], device.get("total_bytes") or 0) for device in devices),
    ]


# -- which belong together -----------------------------------------------------------------------------------------


def _together(
    names: list[str], planned: dict[str, Any], before: dict[str, _Before], all_at_once: bool
) -> list[list[str]]:
    """Divide instances into those that are changed together; each group, and the groups, in the order of `names`."""
    groups: list[list[str]] = []
    for name in names:
        joined = [
            group for group in groups if all_at_once or any(_belong(name, other, planned, before) for other in group)
        ]
        groups = [group for group in groups if group not in joined]
        groups.append([member for group in joined for member in group] + [name])
    places = {name: place for place, name in enumerate(names)}
    return sorted((sorted(group, key=places.__getitem__) for group in groups), key=lambda group: places[group[0]])


def _belong(one: str, other: str, planned: dict[str, Any], before: dict[str, _Before]) -> bool:
    """Whether the old form of one instance is in the way of the new form of the other: on a port, or on a GPU of which
    one of them gets another part than it had."""
    for old, new in ((one, other), (other, one)):
        if new not in planned:
            continue
        if planned[new]["port"] in before[old].ports:
            return True
        shared = before[old].gpus & set(planned[new].get("gpu_uuids") or ())
        if shared and any(before[name].place != _place(planned.get(name) or {}) for name in (old, new)):
            return True
    return False


# -- in which order ------------------------------------------------------------------------------------------------


def _in_order(groups: list[list[str]], planned: dict[str, Any], before: dict[str, _Before]) -> list[list[str]]:
    """Return the groups in an order in which every model is served by another instance while one is changed, where
    another one serves it at all.

    Those that serve nothing now come first.
    """
    left = sorted(groups, key=lambda group: (any(before[name].active for name in group), not set(group) & set(planned)))
    found: list[list[str]] = []
    while left:
        free = [
            group for group in left if not _waits(group, [one for one in left if one is not group], planned, before)
        ]
        found.append((free or left)[0])
        left = [group for group in left if group is not found[-1]]
    return found


def _waits(group: list[str], others: Iterable[list[str]], planned: dict[str, Any], before: dict[str, _Before]) -> bool:
    """Whether one of the others has to be changed before a group: it gets a model that the group serves, or goes on
    with one that the group gives up."""
    served, then = _served_before(group, before), _served_after(group, planned)
    return any(
        served & (_served_after(other, planned) - _served_before(other, before))
        or (served - then) & _served_after(other, planned)
        for other in others
    )


def _served_before(group: list[str], before: dict[str, _Before]) -> set[str]:
    return {key for name in group for key in before[name].serves}


def _served_after(group: list[str], planned: dict[str, Any]) -> set[str]:
    return {key for name in group if name in planned for key in _serves(planned[name])}


# -- what is done in each ------------------------------------------------------------------------------------------


def _switch(group: list[str], planned: dict[str, Any], changes: Changes, own: list[Change]) -> Switch:
    mine = tuple(change for change in own if change.instance in group)
    kept = [name for name in group if name in planned]
    restarted = {change.instance for change in mine if change.kind in ("start", "restart")}
    return Switch(
        instances=tuple(kept),
        restarted=tuple(name for name in kept if name in restarted),
        stopped=tuple(change.what for change in mine if change.kind == "stop"),
        changes=mine,
        files=tuple(file for file in _of_switches(changes) if file.instance in group),
        models=tuple(state for state in changes.models if state.instance in kept and state.state != "absent"),
    )


def _with_the_rest(found: list[Switch], own: list[Change], changes: Changes) -> tuple[Switch, ...]:
    """Return the switches, the first of them with what belongs to no instance or to one that is in no switch: the unit
    file, drop-ins for all instances, an Ollama from elsewhere that is stopped."""
    done = {id(change) for switch in found for change in switch.changes}
    rest = [change for change in own if id(change) not in done]
    if not rest:
        return tuple(found)
    first = found[0] if found else Switch()
    taken = {file.path for switch in found for file in switch.files}
    files = tuple(file for file in _of_switches(changes) if file.path not in taken)
    stopped = tuple(change.what for change in rest if (change.kind, change.object) == ("adopt", "service"))
    return (
        Switch(
            first.instances,
            first.restarted,
            stopped + first.stopped,
            order.ordered([*rest, *first.changes]),
            files + first.files,
            first.models,
        ),
        *found[1:],
    )


def _of_switches(changes: Changes) -> list[ManagedFile]:
    return [file for file in changes.files if file.stage == order.SWITCH]
