# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Stop the instances, let an Ollama with the default settings serve in their place for a while, and bring them back.

They come back whatever happens. A unit of their way back waits for a lock that this process holds: the kernel releases
it when the process ends, however that is. When the unit stops, it stops the other server, starts the instances and
removes what was made for the other server. At the end of a run that was not interrupted this process stops the unit
itself, so that there is one way back. After a reboot systemd starts the instances, and the units are gone.

The other server is the program of the planned release, as the service user, with models of the same bytes: hard links
in a store of its own. Of its environment, HOME, OLLAMA_MODELS and OLLAMA_HOST say where it is, and with OLLAMA_NOPRUNE
it deletes nothing when it starts. It exchanges nothing with other machines.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..apply.proof import prove
from ..apply.steps import SwitchFailed, sentence, wait_until_ready
from ..common import hardening, paths
from ..common.names import Name
from ..evidence.planned import instances_of
from ..host import systemd, units
from ..host.files import Files, WantedFile
from ..host.ownership import FilesError, Ownership
from ..host.run_lock import run_lock
from ..host.trees import remove_tree
from ..host.units import UnitError
from ..ollama import temporary_server
from ..ollama.store import Store, StoreError
from ..ollama.temporary_server import UnitFile

_MANAGED = "# Written by gpufleet.ollama.benchmark_untouched for as long as it measures.\n"
_UNTOUCHED = """\
[Unit]
Description=Ollama with its default settings, for a benchmark

@service@LimitMEMLOCK=infinity
ProtectHome=read-only
IPAddressDeny=any
IPAddressAllow=localhost
@hardening@"""
#: "+" runs a command as root. What is in the store is removed as the user that it belongs to.
_WAY_BACK = """\
[Unit]
Description=Starts the Ollama instances again after a benchmark

[Service]
Type=exec
User=@user@
Group=@user@
# The benchmark holds this lock. The kernel releases it when the benchmark ends, however that is.
ExecStart=+/usr/bin/flock @lock@ true
ExecStopPost=-+/usr/bin/systemctl stop @untouched@
ExecStopPost=-+/usr/bin/systemctl reset-failed @untouched@
ExecStopPost=+/usr/bin/systemctl start --no-block @instances@
ExecStopPost=-/usr/bin/find @store@ -mindepth 1 -delete
ExecStopPost=-+/usr/bin/rmdir @store@
ExecStopPost=-+/usr/bin/rm -f @files@
TimeoutStopSec=120
"""


class NotAside(Exception):
    """The instances cannot be stopped for a benchmark; they serve. The text is a sentence with a remedy."""


class NotBack(Exception):
    """The instances are not as planned after a benchmark. The text says what is wrong."""


@dataclass(frozen=True)
class Source:
    """Where a model of the untouched server comes from: the store that has it, the name there, and whether what was
    pulled under that name is meant (ollama/store_pulled.py)."""

    store: str
    name: Name
    pulled: bool


@contextlib.contextmanager
def untouched_server(plan: dict[str, Any], models: Mapping[Name, Source], wait: float) -> Iterator[str]:
    """Stop the instances of a plan, start an untouched Ollama, and give its address; at the end bring them back.

    Args:
        plan: that is in force.
        models: of the untouched server: {name there: where it comes from}.
        wait: seconds to wait for a run or a check that works on the host.

    Raises:
        NotAside: the instances were not stopped.
        NotBack: they are not as planned afterwards.
        NotStarted, UnitError: the untouched server does not run; the instances are back.
        LockHeld, OSError: nothing was done.
        LibraryMissing: requests, or nvidia-ml-py where the plan uses GPUs.
    """
    with run_lock(wait=wait), run_lock(path=paths.ASIDE_LOCK):
        running = _running(plan)
        if not running:
            raise NotAside("No instance of the plan runs: run the playbook gpufleet.ollama.site first.")
        try:
            _make_store(plan, models)
            _write_units(plan, running)
            problem = temporary_server.begin(paths.WAY_BACK_UNIT)
        except (FilesError, StoreError, OSError) as error:
            problem = str(error)
        if problem:
            _forget(plan)
            raise NotAside("The instances were not stopped, because their way back cannot be made: %s." % problem)
        try:
            units.stop([paths.unit(name) for name in running])
            yield temporary_server.start(paths.UNTOUCHED_UNIT)
        finally:
            _bring_back(plan, running)


def _running(plan: dict[str, Any]) -> list[str]:
    """Names of the instances that run; those that do not are left so."""
    found = systemd.show([instance["unit"] for instance in plan["instances"]])
    return [
        instance["name"]
        for instance in plan["instances"]
        if found.get(instance["unit"], {}).get("ActiveState") in systemd.RUNNING
    ]


def _make_store(plan: dict[str, Any], models: Mapping[Name, Source]) -> None:
    """Make the store of the untouched server from hard links. One that is there is left from a loss of power."""
    path = paths.untouched_store(plan["models_dir"])
    if os.path.lexists(path):
        remove_tree(path)
    at = Files(False, lambda name: name, lambda name: False)
    at.put(WantedFile(path, "directory", ownership=Ownership(paths.USER, paths.USER, 0o700)))
    for name, source in models.items():
        Store(path, paths.USER).take_from(Store(source.store, paths.USER), source.name, name, source.pulled)


def _write_units(plan: dict[str, Any], running: list[str]) -> None:
    temporary_server.write(
        [
            UnitFile(paths.UNTOUCHED_UNIT_FILE, untouched_text(plan)),
            UnitFile(paths.WAY_BACK_UNIT_FILE, way_back_text(plan, running)),
        ]
    )


def untouched_text(plan: Mapping[str, Any]) -> str:
    """Return the text of the unit of the untouched server of a plan."""
    text = _UNTOUCHED.replace("@service@", temporary_server.SERVICE)
    return _filled(text, plan, hardening=hardening.HARDENING, release=paths.release(str(plan["ollama_version"])))


def way_back_text(plan: Mapping[str, Any], running: list[str]) -> str:
    """Return the text of the unit that starts instances again.

    Args:
        plan: that is in force.
        running: names of the instances that are started.
    """
    files = " ".join([paths.UNTOUCHED_UNIT_FILE, paths.WAY_BACK_UNIT_FILE])
    instances = " ".join(map(paths.unit, running))
    return _filled(_WAY_BACK, plan, lock=paths.ASIDE_LOCK, instances=instances, files=files)


def _filled(text: str, plan: Mapping[str, Any], **values: str) -> str:
    known = {"user": paths.USER, "store": paths.untouched_store(plan["models_dir"]), "untouched": paths.UNTOUCHED_UNIT}
    for name, value in {**known, **values}.items():
        text = text.replace("@%s@" % name, value)
    return _MANAGED + text


def _bring_back(plan: dict[str, Any], running: list[str]) -> None:
    """Let the unit of the way back do it, and prove that the instances are as planned again."""
    temporary_server.stop(paths.WAY_BACK_UNIT, [paths.WAY_BACK_UNIT_FILE, paths.UNTOUCHED_UNIT_FILE])
    try:
        units.start([paths.unit(name) for name in running])  # they are started already, unless that unit has failed
        wait_until_ready(instances_of(plan, running))
    except (SwitchFailed, UnitError) as error:
        raise NotBack(sentence(error))
    proof = prove(plan, running, accept_unproven=True)
    if proof.problem:
        raise NotBack(proof.problem)


def _forget(plan: dict[str, Any]) -> None:
    """Remove what was made, where nothing was stopped."""
    for path in (paths.WAY_BACK_UNIT_FILE, paths.UNTOUCHED_UNIT_FILE):
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError, FilesError):
        remove_tree(paths.untouched_store(plan["models_dir"]))
