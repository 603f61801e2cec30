# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plans of the hosts of a run as files on the controller: the plan of each host in plans/NAME.json, and of all
hosts summary.json (the same in short) and summary.md, for people.

Each host writes its part into the summary, under a lock, so that it is right whatever becomes of the other hosts, in
batches (serial) and with --limit. Hosts that are not in the play are no part of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.json_text import json_text
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import (
    ControllerFile,
    ControllerFileError,
    UnreadableError,
    file_name,
    read_json,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_record import (
    DIFFERS,
    FORMAT,
    SAME,
    short_record,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_summary import plan_summary

PlanFilesError = ControllerFileError
VARIABLE = "ollama_multigpu_plan_dir"
_PLANS = "plans"


class PlanFiles:
    """The files of a run in a directory.

    Args:
        directory: The directory; a relative one is below the current directory of Ansible.
        host: The name in the inventory of the host that writes.

    Raises:
        PlanFilesError: The name of the host cannot be the name of a file in the directory.
    """

    def __init__(self, directory: str, host: str) -> None:
        place = os.path.join(directory, _PLANS)
        self._plan = ControllerFile(place, file_name(host, "plan"), "The plan of %s" % host, VARIABLE)
        self._data = ControllerFile(directory, "summary.json", "The summary of the plans", VARIABLE)
        self._text = ControllerFile(directory, "summary.md", "The summary of the plans", VARIABLE)

    @property
    def path(self) -> str:
        """The path of the plan of the host."""
        return self._plan.path

    @property
    def summary(self) -> str:
        """The path of the summary for people."""
        return self._text.path

    def check(self) -> None:
        """Look whether the files can be written, without changing anything.

        Raises:
            PlanFilesError: They cannot.
        """
        for file in (self._plan, self._data, self._text):
            file.check()

    def write(self, record: Mapping[str, Any], hosts: Iterable[str]) -> None:
        """Write the plan of the host, and its part of the summary.

        Args:
            record: Of the host (plan_record.plan_record).
            hosts: Names of all hosts of the play.

        Raises:
            PlanFilesError: They cannot be written.
        """
        self._plan.put(json_text(record).encode("ascii"))
        members = {str(record["host"]), *hosts}
        with self._data.locked():
            found = {name: one for name, one in self._read().items() if name in members}
            found[str(record["host"])] = short_record(record)
            ordered = _of_this_version([found[name] for name in sorted(found)], record)
            self._data.put(json_text({"format": FORMAT, "hosts": ordered}).encode("ascii"))
            self._text.put(plan_summary(ordered).encode("utf-8"))

    def _read(self) -> dict[str, Any]:
        """The parts of the other hosts; none where what is there is of another format."""
        try:
            found = read_json(self._data.path)
            if found["format"] == FORMAT:
                return {one["host"]: one for one in found["hosts"]}
        except (UnreadableError, KeyError, TypeError):
            pass
        return {}


def read_plan(path: str, host: str) -> dict[str, Any]:
    """Return the plan of a host that was written before.

    Args:
        path: Of the file; a relative one is below the current directory of Ansible.
        host: The host's name in the inventory.

    Raises:
        PlanFilesError: It cannot be read, or is no plan of this host that could be applied.
    """
    place = os.path.abspath(os.path.expanduser(path))
    try:
        record = read_json(place)
    except UnreadableError as error:
        raise PlanFilesError(
            "The plan %s of ollama_multigpu_plan_file cannot be read: %s. Write it with the playbook "
            "gpufleet.ollama.plan and ollama_multigpu_plan_dir." % (place, error)
        ) from error
    problem = _problem_of(record, host)
    if problem:
        raise PlanFilesError("%s of ollama_multigpu_plan_file cannot be applied to %s: %s." % (place, host, problem))
    return dict(record)


def _problem_of(record: Any, host: str) -> Optional[str]:
    if not isinstance(record, Mapping) or "format" not in record or "host" not in record:
        return "it is no plan that the playbook gpufleet.ollama.plan has written with ollama_multigpu_plan_dir"
    if record["format"] != FORMAT:
        return "it has the format %.20r, and this version of the collection takes %d: make the plan again" % (
            record["format"],
            FORMAT,
        )
    if record["host"] != host:
        return "it is the plan of %.80r" % record["host"]
    if record.get("state") not in (DIFFERS, SAME):
        return "its state is %.20r: %s" % (record.get("state"), " ".join(map(str, record.get("obstacles") or [])))
    kinds = {"plan": Mapping, "applied": Mapping, "basis": Mapping}
    damaged = [key for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
    return "it is damaged, because it has no %s" % damaged[0] if damaged else None


def _of_this_version(parts: list[Any], record: Mapping[str, Any]) -> list[Any]:
    """The parts of which a summary can be made. One that an earlier version of the collection has written may not have
    what this one needs; its host writes it anew, unless it is not reached."""
    try:
        plan_summary(parts)
        return parts
    except (KeyError, TypeError, ValueError, AttributeError):
        return [short_record(record)]
