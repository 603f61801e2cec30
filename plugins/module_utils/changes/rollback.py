# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Going back to a kept plan: which one, what keeps it from being applied, and with which variables it is. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

from ..common import exposure, networks, secrets
from ..common.missing_gpus import missing_gpus
from ..releases import archives
from .history import identity
from .role_variables import PREFIX

#: Stands for the plan before the one in force.
PREVIOUS = "previous"


@dataclasses.dataclass(frozen=True)
class Target:
    """The plan to go back to.

    Attributes:
        number: of the plan; None where there is none.
        rolled_back_from: number of the plan that is given up for it; None where nothing is given up.
        note: what to know of the choice, "" for nothing.
        obstacles: sentences about why there is none.
    """

    number: Optional[int] = None
    rolled_back_from: Optional[int] = None
    note: str = ""
    obstacles: tuple[str, ...] = ()


def choose(host: Mapping[str, Any], wanted: Any, name: str) -> Target:
    """Return the plan to go back to.

    The plan before the one in force is meant once: where the plan in force is one that a rollback led to, it is the
    target itself, so that a second run changes nothing.

    Args:
        host: of module host_info.
        wanted: the number of a plan, or PREVIOUS or "".
        name: the host's name, for sentences.
    """
    plans = host["history"]["plans"]
    if not plans:
        return Target(
            obstacles=(
                "%s keeps no plan to go back to: each plan is kept once it is proven by a run of the role." % name,
            )
        )
    if wanted not in (PREVIOUS, ""):
        return _numbered(plans, wanted, name)
    last, there = plans[-1], in_force(host)
    if there is None:  # a plan that was never proven, or one that a killed run has left
        return Target(last["number"])
    if there != last["number"]:  # a rollback that was killed before it was written down
        return Target(there, last["number"])
    if last["rolled_back_from"] is not None:
        note = "Plan %d is in force since the rollback from plan %d: name an earlier plan to go back further. %s" % (
            there,
            last["rolled_back_from"],
            kept_words(plans, name),
        )
        return Target(there, note=note)
    if len(plans) < 2:
        return Target(
            obstacles=(
                "Plan %d is the only one that %s keeps, and it is in force: there is none before it." % (there, name),
            )
        )
    return Target(plans[-2]["number"], there)


def in_force(host: Mapping[str, Any]) -> Optional[int]:
    """Return the number of the kept plan whose files are those in force, None where there is none.

    Args:
        host: of module host_info.
    """
    for plan in reversed(host["history"]["plans"]):
        kept = identity(plan["files"])
        there = {path: (host["files"].get(path) or {}).get("digest") for path in kept}
        if there == kept and None not in kept.values():
            return plan["number"]
    return None


def obstacles(
    plan: Mapping[str, Any],
    record: Mapping[str, Any],
    gpu_inventory: Mapping[str, Any],
    checksum: str,
    settings: Mapping[str, Any],
) -> list[str]:
    """Return sentences about what keeps a kept plan from being applied again.

    Args:
        plan: the kept plan.
        record: of it, in host_info's `history`.
        gpu_inventory: of module gpu_facts.
        checksum: of the archive of its release, as `checksum_of` returns it.
        settings: the role's variables.
    """
    number, version = record["number"], str(plan.get("ollama_version"))
    found = []
    if not _is_allowed(version):
        found.append(
            "Plan %d has Ollama %s, which has known holes - %s: go back to a plan with %s or later."
            % (number, version, archives.OLDEST_ALLOWED_REASON, archives.OLDEST_ALLOWED)
        )
    elif not checksum:
        found.append(
            "Plan %d has Ollama %s, which is not on the host any more, and no checksum of its archive is known: set "
            "ollama_multigpu_version to %s and ollama_multigpu_release_checksum to the archive's SHA-256."
            % (number, version, version)
        )
    return found + _missing(plan, number, gpu_inventory) + _opens(plan, number, settings)


def _missing(plan: Mapping[str, Any], number: int, gpu_inventory: Mapping[str, Any]) -> list[str]:
    """What is said of the GPUs and MIG devices of a plan that a host does not have, or that it cannot use."""
    wanted = [uuid for entry in plan["instances"] for uuid in entry.get("gpu_uuids") or []]
    missing = missing_gpus(wanted, gpu_inventory)
    reason = gpu_inventory.get("reason")
    of_host = " (%s)" % str(reason).rstrip(".") if reason else ""
    unlisted = [uuid for uuid, why in missing.items() if not why.listed]
    words = ["%s, which the driver does not list%s" % (", ".join(unlisted), of_host)] if unlisted else []
    words += ["%s, which cannot be used (%s)" % (uuid, why.reason) for uuid, why in missing.items() if why.listed]
    return [
        "Plan %d uses %s: go back to a plan without it, or plan again with the playbook gpufleet.ollama.site."
        % (number, one)
        for one in words
    ]


def _opens(plan: Mapping[str, Any], number: int, settings: Mapping[str, Any]) -> list[str]:
    """Why the address of a kept plan is refused. The rules that it may have had are not kept with it."""
    address = _listen_address(plan, settings)
    opens = exposure.of_address(address, networks.usable(settings.get(PREFIX + "allow_from")))
    if not opens or exposure.LISTEN_ADDRESS in exposure.acknowledged(settings.get(PREFIX + "acknowledged")):
        return []
    return [
        "Plan %d listens on %s, which %s: name the clients, or the gateway in front, in ollama_multigpu_allow_from, or "
        "add %s to ollama_multigpu_acknowledged." % (number, address, opens, exposure.LISTEN_ADDRESS)
    ]


def _listen_address(plan: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Where the instances of a kept plan listen."""
    addresses = (entry.get("address") for entry in plan["instances"])
    return str(next((address for address in addresses if address), settings[PREFIX + "listen_address"]))


def checksum_of(
    plan: Mapping[str, Any], record: Mapping[str, Any], host: Mapping[str, Any], settings: Mapping[str, Any]
) -> str:
    """Return the checksum with which the release of a kept plan is installed; "" where none is known.

    The one that the release on the host has; else the user's, where the role's variables are of the same release; else
    the recorded one; else the one that the collection knows.

    Args:
        plan: the kept plan.
        record: of it, in host_info's `history`.
        host: of module host_info.
        settings: the role's variables.
    """
    version = str(plan.get("ollama_version"))
    there = host["release"]["complete"].get(version)
    given = settings.get(PREFIX + "release_checksum") if str(settings.get(PREFIX + "version")) == version else ""
    architecture = archives.ARCHITECTURES.get(host["architecture"], "")
    # The address of a sha256sum.txt may have had credentials, which are not written down.
    recorded = record["checksum"] if archives.is_sha256(record["checksum"] or "") else ""
    url = archives.archive_url(secrets.shown_address(release_url(settings, version)), architecture)
    return there or given or recorded or archives.checksum(version, architecture, "", url)


def release_url(settings: Mapping[str, Any], version: str) -> str:
    """Return the address of the directory with the archives of a release: that of the role's variables, with this
    version in the place of theirs.

    Args:
        settings: the role's variables.
        version: the release.
    """
    return str(settings[PREFIX + "release_url"]).replace(str(settings[PREFIX + "version"]), version)


def settings_of(plan: Mapping[str, Any], checksum: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the role's variables that a kept plan takes the place of, with the values that it was made with. The
    values of secret variables come from the host.

    Args:
        plan: the kept plan.
        checksum: of `checksum_of`.
        settings: the role's variables.
    """
    names = list(dict.fromkeys(model["name"] for entry in plan["instances"] for model in entry.get("models") or []))
    # Who may connect to its address, `obstacles` has asked.
    acknowledged = [*exposure.acknowledged(settings.get(PREFIX + "acknowledged")), exposure.LISTEN_ADDRESS]
    values = {
        "models": [{"name": name} for name in names],
        "version": str(plan["ollama_version"]),
        "release_url": release_url(settings, str(plan["ollama_version"])),
        # The address of a sha256sum.txt is that of the archive's place, with the credentials that this may have.
        "release_checksum": checksum if archives.is_sha256(checksum) else "",
        "models_dir": plan["models_dir"],
        "listen_address": _listen_address(plan, settings),
        "advertise_address": plan.get("advertise_address") or "",
        "acknowledged": list(dict.fromkeys(acknowledged)),
        "environment": {},
        "environment_unchecked": {},
        "measure": False,
    }
    return {PREFIX + name: value for name, value in values.items()}


def kept_words(plans: list, name: str) -> str:
    """Return the sentence about which plans a host keeps."""
    words = ["%d (Ollama %s, %s)" % (plan["number"], plan["release"], plan["time"]) for plan in plans]
    return "%s keeps %s." % (name, ", ".join(words))


def _numbered(plans: list, wanted: Any, name: str) -> Target:
    number = int(wanted) if str(wanted).isdigit() else None
    if number not in [plan["number"] for plan in plans]:
        return Target(obstacles=("%s keeps no plan %s to go back to. %s" % (name, wanted, kept_words(plans, name)),))
    last = plans[-1]["number"]
    return Target(number, last if last != number else None)


def _is_allowed(version: str) -> bool:
    try:
        return archives.allowed(version)
    except ValueError:
        return False
