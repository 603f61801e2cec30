# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Stop the instances, let an Ollama with the default settings serve in their place for a while, and restore them.

They are restored whatever happens. The unit RESTORE_UNIT waits for a lock that this process holds: the kernel releases
it when the process ends, however that is. The unit waits no longer than the instances may be stopped. When it stops, it
stops the other server, starts the instances and removes what was made for the other server. At the end of a run that
was not interrupted this process stops the unit itself, so that there is one place that restores. After a reboot systemd
starts the instances, and the units are gone.

The other server is the program of the planned release, as the service user, with models of the same bytes: hard links
in a store of its own. Of its environment, HOME, OLLAMA_MODELS and OLLAMA_HOST say where it is, and with OLLAMA_NOPRUNE
it deletes nothing when it starts. It exchanges nothing with other machines.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..apply.proof import prove
from ..apply.steps import SwitchFailed, sentence, wait_until_ready
from ..common import hardening, paths
from ..common.names import Name
from ..evidence.planned import instances_of
from ..host import proc, systemd, units
from ..host.files import Files, WantedFile
from ..host.ownership import FilesError, Ownership
from ..host.run_lock import run_lock
from ..host.trees import remove_tree
from ..host.units import UnitError
from ..ollama import temporary_server
from ..ollama.connection import OllamaError
from ..ollama.store import Store, StoreError
from ..ollama.target import ModelError
from ..ollama.temporary_server import NotStarted, UnitFile

#: What can go wrong while the instances are stopped. The text of each is a sentence.
EXPECTED_ERRORS = (NotStarted, UnitError, OllamaError, ModelError, StoreError, FilesError, OSError)
#: The unit of a benchmark that was killed holds its lock for a moment.
_LOCK_SECONDS = 5.0
_HOLDER = "an earlier benchmark has not ended"
_MANAGED = "# Written by gpufleet.ollama.benchmark_untouched for as long as it measures.\n"
#: It does not start once the instances are being restored.
_UNTOUCHED = """\
[Unit]
Description=Ollama with its default settings, for a benchmark
Requisite=@restore@
After=@restore@

@service@LimitMEMLOCK=infinity
ProtectHome=read-only
IPAddressDeny=any
IPAddressAllow=localhost
@hardening@"""
#: "+" runs a command as root. What is in the store is removed as the user that it belongs to.
_RESTORE = """\
[Unit]
Description=Starts the Ollama instances again after a benchmark

[Service]
Type=exec
User=@user@
Group=@user@
# The benchmark holds this lock. The kernel releases it when the benchmark ends, however that is. Whatever the benchmark
# does, the instances are not stopped for longer than these seconds. That is no failure of this unit.
ExecStart=+/usr/bin/flock --timeout @seconds@ --conflict-exit-code 0 @lock@ true
ExecStopPost=-+/usr/bin/systemctl stop @untouched@
ExecStopPost=-+/usr/bin/systemctl reset-failed @untouched@
ExecStopPost=+/usr/bin/systemctl start --no-block @instances@
ExecStopPost=-/usr/bin/find @store@ -mindepth 1 -delete
ExecStopPost=-+/usr/bin/rmdir @store@
ExecStopPost=-+/usr/bin/rm -f @files@
TimeoutStopSec=120
"""


class NotPaused(Exception):
    """The instances cannot be stopped for a benchmark; they serve. The text is a sentence with a remedy."""


class NotMeasured(Exception):
    """What was done while the instances were stopped has failed; they are restored. The text is a sentence about why.

    Attributes:
        timed_out: whether the instances were stopped for as long as they may be.
    """

    def __init__(self, text: str, timed_out: bool) -> None:
        super().__init__(text)
        self.timed_out = timed_out


class NotRestored(Exception):
    """The host is not as planned after a benchmark. The text says what is wrong.

    Attributes:
        failure: of the measurement before; None where it had not failed.
    """

    def __init__(self, text: str, failure: Optional[NotMeasured] = None) -> None:
        super().__init__(text)
        self.failure = failure


@dataclass(frozen=True)
class Source:
    """Where a model of the untouched server comes from: the store that has it, the name there, and whether what was
    pulled under that name is meant (ollama/store_pulled.py)."""

    store: str
    name: Name
    pulled: bool


@dataclass(frozen=True)
class Pause:
    """The time for which the instances are stopped.

    Attributes:
        url: of the untouched server.
        ends: when the instances are started again, by time.monotonic().
    """

    url: str
    ends: float

    def is_over(self) -> bool:
        """Return whether the time has passed."""
        return time.monotonic() >= self.ends


@contextlib.contextmanager
def untouched_server(plan: dict[str, Any], models: Mapping[Name, Source], seconds: int) -> Iterator[Pause]:
    """Stop the instances of a plan, start an untouched Ollama, and give its address; at the end restore them.

    The caller holds the lock of the host.

    Args:
        plan: that is in force.
        models: of the untouched server: {name there: where it comes from}.
        seconds: after which the untouched server is stopped and the instances are started.

    Raises:
        NotPaused: the instances were not stopped.
        NotMeasured: the untouched server does not run, or the block has failed; the instances are restored.
        NotRestored: they are not.
        LockHeld, OSError: nothing was done.
        LibraryMissing: requests, or nvidia-ml-py where the plan uses GPUs.
    """
    with run_lock(wait=_LOCK_SECONDS, path=paths.BENCHMARK_LOCK, holder=_HOLDER):
        if temporary_server.is_there(paths.RESTORE_UNIT):
            raise NotPaused(
                "%s still starts the instances again after an earlier benchmark: wait until it has ended "
                "(systemctl status %s), and run the benchmark again." % (paths.RESTORE_UNIT, paths.RESTORE_UNIT)
            )
        running = _running(plan)
        ends = time.monotonic() + seconds
        _prepare(plan, running, models, seconds)
        failure = None
        try:
            units.stop([paths.unit(name) for name in running])
            yield Pause(temporary_server.start(paths.UNTOUCHED_UNIT), ends)
        except EXPECTED_ERRORS as error:
            failure = NotMeasured(sentence(error), time.monotonic() >= ends)
            raise failure from error
        except BaseException as error:  # the end of the process, or a defect
            failure = NotMeasured("%s." % type(error).__name__, False)
            raise
        finally:
            _restore(plan, running, failure)


def _running(plan: dict[str, Any]) -> list[str]:
    """Names of the instances that run; those that do not are left so. Raises NotPaused without any."""
    found = systemd.show([instance["unit"] for instance in plan["instances"]])
    running = [
        instance["name"]
        for instance in plan["instances"]
        if found.get(instance["unit"], {}).get("ActiveState") in systemd.RUNNING
    ]
    if not running:
        raise NotPaused("No instance of the plan runs: run the playbook gpufleet.ollama.site first.")
    return running


def _prepare(plan: dict[str, Any], running: list[str], models: Mapping[Name, Source], seconds: int) -> None:
    """Make the store and the units, and start the unit that restores. Raises NotPaused."""
    try:
        _make_store(plan, models)
        temporary_server.write(
            [
                UnitFile(paths.UNTOUCHED_UNIT_FILE, untouched_text(plan)),
                UnitFile(paths.RESTORE_UNIT_FILE, restore_text(plan, running, seconds)),
            ]
        )
        problem = temporary_server.begin(paths.RESTORE_UNIT)
    except (FilesError, StoreError, OSError) as error:
        problem = str(error)
    if problem:
        _forget(plan)
        raise NotPaused(
            "The instances were not stopped, because %s, which would start them again, cannot be prepared (%s): "
            "remedy that, and run the benchmark again." % (paths.RESTORE_UNIT, problem.rstrip("."))
        )


def _make_store(plan: dict[str, Any], models: Mapping[Name, Source]) -> None:
    """Make the store of the untouched server from hard links. One that is there is left from a loss of power."""
    path = paths.untouched_store(plan["models_dir"])
    if os.path.lexists(path):
        remove_tree(path)
    at = Files(False, lambda name: name, lambda name: False)
    at.put(WantedFile(path, "directory", ownership=Ownership(paths.USER, paths.USER, 0o700)))
    for name, source in models.items():
        Store(path, paths.USER).take_from(Store(source.store, paths.USER), source.name, name, source.pulled)


def untouched_text(plan: Mapping[str, Any]) -> str:
    """Return the text of the unit of the untouched server of a plan."""
    text = _UNTOUCHED.replace("@service@", temporary_server.SERVICE)
    return _filled(text, plan, hardening=hardening.HARDENING, release=paths.release(str(plan["ollama_version"])))


def restore_text(plan: Mapping[str, Any], running: list[str], seconds: int) -> str:
    """Return the text of the unit that starts instances again.

    Args:
        plan: that is in force.
        running: names of the instances that are started.
        seconds: after which they are, at the latest.
    """
    files = " ".join([paths.UNTOUCHED_UNIT_FILE, paths.RESTORE_UNIT_FILE])
    instances = " ".join(map(paths.unit, running))
    lock = paths.BENCHMARK_LOCK
    return _filled(_RESTORE, plan, lock=lock, instances=instances, files=files, seconds="%d" % seconds)


def _filled(text: str, plan: Mapping[str, Any], **values: str) -> str:
    known = {"user": paths.USER, "store": paths.untouched_store(plan["models_dir"])}
    known.update(untouched=paths.UNTOUCHED_UNIT, restore=paths.RESTORE_UNIT)
    for name, value in {**known, **values}.items():
        text = text.replace("@%s@" % name, value)
    return _MANAGED + text


def _restore(plan: dict[str, Any], running: list[str], failure: Optional[NotMeasured]) -> None:
    """Let the unit restore the instances, and prove that they are as planned again.

    Args:
        plan: that is in force.
        running: names of the instances.
        failure: of the measurement.

    Raises:
        NotRestored: they are not as planned, or the untouched server is still there.
    """
    problems = _end()
    _forget(plan)
    try:
        units.start([paths.unit(name) for name in running])  # they are started already, unless that unit has failed
        wait_until_ready(instances_of(plan, running))
        problems.append(prove(plan, running, accept_unproven=True).problem)
    except (SwitchFailed, UnitError, OSError) as error:
        problems.append(sentence(error))
    told = " ".join(problem for problem in problems if problem)
    if told:
        raise NotRestored(told, failure)


def _end() -> list[str]:
    """Stop the unit that restores, which stops the untouched server. Return what is wrong afterwards."""
    complaints = [
        temporary_server.stop(unit, [file])
        for unit, file in (
            (paths.RESTORE_UNIT, paths.RESTORE_UNIT_FILE),
            (paths.UNTOUCHED_UNIT, paths.UNTOUCHED_UNIT_FILE),
        )
    ]
    left = proc.unit_processes(paths.UNTOUCHED_UNIT)
    if not left:
        return []
    said = "; ".join(one for one in complaints if one)
    return [
        "Processes of %s still run and hold memory of the GPUs (%s%s): end them with 'systemctl kill --signal=KILL %s'."
        % (paths.UNTOUCHED_UNIT, ", ".join(map(str, left)), said and "; %s" % said, paths.UNTOUCHED_UNIT)
    ]


def _forget(plan: dict[str, Any]) -> None:
    """Remove what was made for the untouched server, as far as it is there."""
    for path in (paths.RESTORE_UNIT_FILE, paths.UNTOUCHED_UNIT_FILE):
        with contextlib.suppress(OSError):
            os.unlink(path)
    with contextlib.suppress(OSError, FilesError):
        remove_tree(paths.untouched_store(plan["models_dir"]))
