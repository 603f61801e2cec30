# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""GPUs that the user has left alone: `cordon`, for a time and with a reason, and `exclude`.

The lists may be those of a fleet. So a UUID or PCI address that is not on this host is another host's, or that of a GPU
that is gone, and is no error. An index that is not there is one: it names a GPU of each host.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, Mapping, Optional, Sequence

from ...common.pci import in_pci_order
from ..errors import PlacementError
from ..left_out import LeftAlone
from . import model_options, selectors, until
from .gpus import gpu_numbers
from .selectors import Facts

CORDON, EXCLUDE = "cordon", "exclude"
_MOST_LETTERS = 200  # of a reason
_NEVER = datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)


def cordon_options() -> dict[str, dict[str, Any]]:
    """Return the keys of a cordon, as Ansible's argument specification."""
    return dict(gpu=dict(type="raw", required=True), reason=dict(type="str"), until=dict(type="raw"))


@dataclasses.dataclass(frozen=True)
class _Entry:
    """An entry of one of the two lists."""

    option: str
    gpu: str
    reason: str = ""
    until: Optional[until.Until] = None


@dataclasses.dataclass(frozen=True)
class LeftAloneGpus:
    """What `cordon` and `exclude` say of a host.

    Attributes:
        by_uuid: the GPUs and MIG devices that are left alone.
        given_up: UUIDs and PCI addresses that are left alone, on this host or not, in small letters.
        ended: a sentence for each cordon of a GPU of this host that is over.
        elsewhere: a sentence for each entry that names no GPU of this host.
    """

    by_uuid: Mapping[str, LeftAlone] = dataclasses.field(default_factory=dict)
    given_up: frozenset[str] = frozenset()
    ended: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    def gives_up(self, uuid: str, applied_plan: Mapping[str, Any]) -> bool:
        """Whether the user gave a GPU up that may be gone, by its UUID or the PCI address that it had."""
        if uuid.lower() in self.given_up:
            return True
        addresses = [gpu.get("pci_bus_id") for gpu in applied_plan.get("gpus") or [] if gpu["uuid"] == uuid]
        return any(selectors.is_address(text, address) for text in self.given_up for address in addresses)


def left_alone(
    gpu_inventory: Facts, cordon: Any, exclude: Any, now: Any = None, applied_plan: Optional[dict[str, Any]] = None
) -> LeftAloneGpus:
    """Read `cordon` and `exclude`.

    Args:
        gpu_inventory: facts of gpu_facts, checked by inventory.check_inventory.
        cordon: list of {gpu, reason, until}, or None.
        exclude: list of selectors, or None.
        now: the time with its zone, as text; needed where a cordon has an end.
        applied_plan: the plan on the host as applied.sound gives it.

    Raises:
        PlacementError: the first value that cannot be.
    """
    facts = in_pci_order(fact for fact in gpu_inventory.get("gpus") or [] if fact.get("uuid"))
    # Of GPUs that cannot be read nothing is known: gpu_faults.py says that, and not that an index is wrong.
    readable = gpu_inventory.get("state") in (None, "ok") or bool(gpu_inventory.get("no_gpu_present"))
    numbers = gpu_numbers(facts, applied_plan or {})
    lasting: dict[str, tuple[datetime.datetime, LeftAlone]] = {}
    given_up, elsewhere, over = set(), [], []
    for entry in _entries(cordon, exclude):
        time = _time(now) if entry.until else _NEVER
        end = entry.until.at(time) if entry.until else _NEVER
        if entry.until and time >= end:
            known = selectors.matches(facts, entry.gpu)
            over += [(uuid, _ended(entry, uuid, numbers[fact["uuid"]])) for uuid, fact in known]
            continue
        if not selectors.is_index(entry.gpu):
            given_up.add(entry.gpu.lower())
        found = _found(entry, facts, applied_plan or {}) if readable else selectors.matches(facts, entry.gpu)
        if readable and not found:
            elsewhere.append("The %s of %s has no effect, as no GPU of this host has it." % (entry.option, entry.gpu))
        for uuid, dummy in found:
            if uuid not in lasting or end > lasting[uuid][0]:
                lasting[uuid] = end, _left_alone(entry)
    return LeftAloneGpus(
        {uuid: alone for uuid, (dummy, alone) in lasting.items()},
        frozenset(given_up),
        tuple(sentence for uuid, sentence in over if uuid not in lasting),
        tuple(elsewhere),
    )


def check_lists(cordon: Any, exclude: Any, prefix: str = "") -> None:
    """Check the two lists without a host.

    Args:
        cordon, exclude: what the user gave.
        prefix: of the names of the two, for messages.

    Raises:
        PlacementError: the first value that cannot be.
    """
    _entries(cordon, exclude, prefix)


def _entries(cordon: Any, exclude: Any, prefix: str = "") -> list[_Entry]:
    cordons = _listed(cordon, prefix + CORDON, "[{gpu: GPU-..., reason: broken fan, until: 2026-12-31}]")
    if isinstance(exclude, (str, int)) and not isinstance(exclude, bool):
        exclude = [one for one in str(exclude).split(",") if one.strip()]  # as Ansible reads a list of texts
    excluded = _listed(exclude, prefix + EXCLUDE, "[GPU-...]")
    found = [_cordon(entry, "entry %d of %s%s" % (number, prefix, CORDON)) for number, entry in enumerate(cordons, 1)]
    for number, one in enumerate(excluded, 1):
        selectors.check_form(one, "Entry %d of %s%s" % (number, prefix, EXCLUDE))
        found.append(_Entry(EXCLUDE, selectors.text_of(one)))
    return found


def _cordon(entry: Any, where: str) -> _Entry:
    if not isinstance(entry, dict):
        raise PlacementError(
            "E%s is %.80r: write it as {gpu: %s}." % (where[1:], entry, selectors.text_of(entry) or "GPU-...")
        )
    problems = model_options.mapping_problems(entry, cordon_options(), "E" + where[1:])
    if problems:
        raise PlacementError(problems[0])
    selectors.check_form(entry["gpu"], "gpu of %s" % where)
    end = entry.get("until")
    return _Entry(
        CORDON,
        selectors.text_of(entry["gpu"]),
        " ".join(str(entry.get("reason") or "").split())[:_MOST_LETTERS].rstrip("."),
        None if end in (None, "") else until.parse(end, "until of %s" % where),
    )


def _listed(value: Any, name: str, example: str) -> Sequence[Any]:
    if value in (None, ""):
        return []
    if not isinstance(value, (list, tuple)):
        raise PlacementError("%s is %.80r, which is not a list: give for example %s." % (name, value, example))
    return value


def _time(now: Any) -> datetime.datetime:
    """The time that an end is compared with."""
    try:
        moment = until.moment_of(str(now or "").strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PlacementError("now is '%s': give the time with its zone, such as 2026-12-31T18:00:00+01:00." % now)
    return moment


def _found(entry: _Entry, facts: Sequence[Facts], applied_plan: Mapping[str, Any]) -> list[tuple[str, Facts]]:
    """What an entry names on this host.

    Raises:
        PlacementError: an index that is not there, or that is another GPU's than before; a UUID that is cut off.
    """
    found = selectors.matches(facts, entry.gpu)
    if selectors.is_index(entry.gpu):
        if not found:
            raise PlacementError(
                "%s names the GPU with index %s, which this host does not have; use the index, UUID or PCI address of "
                "one of: %s." % (entry.option, entry.gpu, selectors.gpus_in_words(facts))
            )
        _check_same(entry, found[0], applied_plan)
    cut = [] if found else selectors.beginning_with(facts, entry.gpu)
    if cut:
        raise PlacementError(
            "%s names '%s', which is the beginning of %s; give the whole UUID." % (entry.option, entry.gpu, cut[0])
        )
    return found


def _check_same(entry: _Entry, found: tuple[str, Facts], applied_plan: Mapping[str, Any]) -> None:
    """Refuse an index that is another GPU's than when the plan was applied: the driver counts anew without a GPU."""
    uuid, fact = found
    for out in applied_plan.get("left_out") or []:
        address = out.get("pci_bus_id")
        same_entry = (out.get("cause"), out.get("selector")) == (entry.option, entry.gpu)
        if same_entry and address and address != fact.get("pci_bus_id"):
            raise PlacementError(
                "%s names the GPU with index %s. When the plan was applied, that was %s at %s; now it is %s at %s. "
                "Give the UUID in place of the index."
                % (entry.option, entry.gpu, out["uuid"], address, uuid, fact.get("pci_bus_id"))
            )


def _left_alone(entry: _Entry) -> LeftAlone:
    if entry.option == EXCLUDE:
        return LeftAlone(EXCLUDE, entry.gpu, "it is excluded")
    end = " until %s" % entry.until.shown if entry.until else ""
    reason = " (%s)" % entry.reason if entry.reason else ""
    return LeftAlone(CORDON, entry.gpu, "it is cordoned%s%s" % (end, reason), entry.until.text if entry.until else None)


def _ended(entry: _Entry, uuid: str, number: int) -> str:
    return "The cordon of GPU %s (%s) is over%s%s, and the plan may use the GPU again; remove the entry." % (
        number,
        uuid,
        ": it was to last until %s" % entry.until.shown if entry.until else "",
        " (%s)" % entry.reason if entry.reason else "",
    )
