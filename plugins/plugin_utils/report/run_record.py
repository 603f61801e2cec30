# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What a run has seen of its hosts so far. Pure: the callback says what happens, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import counted
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.gpu_memory import GpuMemory
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.overview import (
    WITH_FINDINGS,
    WITHOUT_FINDINGS,
    WOULD_CHANGE,
    HostOutcome,
)

#: Stages of a run in their order. Each is a folder of the role's tasks, or a file beside them.
STAGES = ("plan", "install", "fetch", "switch", "finish", "verify", "report", "remove", "gateway", "other")
_OF_FILES = {
    "freeze": "plan",
    "names": "plan",
    "main": "plan",
    "rollback": "plan",
    "upgrade": "plan",
    "reported": "report",
}
_PATH = re.compile(r"/roles/(?P<role>[^/]+)/(?:tasks|handlers)/(?:(?P<folder>\w+)/)?(?P<file>\w+)\.ya?ml")
#: What is kept of the overviews.
_KNOWN = ("in_force", "feasible", "changes", "verdict", "findings")
#: Stages that change a host so that it is as its plan. A run that began none of them has only looked.
_CHANGING = frozenset(("install", "fetch", "switch", "finish", "remove"))
_ROLE, _GATEWAY = "ollama_multigpu", "ollama_gateway"


def stage_of(path: Optional[str]) -> str:
    """Return the stage of the task that is defined at a path ("/.../tasks/switch/one.yml:12")."""
    found = _PATH.search(path or "")
    if found is None or found["role"] not in (_ROLE, _GATEWAY):
        return "other"
    if found["role"] == _GATEWAY:
        return "gateway"
    name = found["folder"] or found["file"]
    stage = _OF_FILES.get(name, name)
    return stage if stage in STAGES else "other"


class RunRecord:
    """The hosts of a run.

    Args:
        check_mode: whether nothing is changed.
    """

    def __init__(self, check_mode: bool = False) -> None:
        self._check_mode = check_mode
        self._hosts: dict[str, HostOutcome] = {}
        self._shown: dict[str, dict[str, Any]] = {}
        self._failures: dict[str, str] = {}

    def host(self, name: str) -> HostOutcome:
        """Return what is known of a host."""
        return self._hosts.setdefault(name, HostOutcome(name))

    def took(self, name: str, stage: str, seconds: float) -> None:
        """Count the seconds of a task of a host."""
        times = self.host(name).seconds
        times[stage] = times.get(stage, 0.0) + seconds

    def failed(self, name: str, text: str) -> None:
        """Keep why a host failed; the first reason counts, because what follows is often its consequence."""
        self._failures.setdefault(name, text)

    def showed(self, name: str, overview: Mapping[str, Any]) -> None:
        """Take what module show has returned as `overview`.

        Args:
            name: of the host.
            overview: of the module. Its values come from a host and may be anything.
        """
        host, known = self.host(name), self._shown.setdefault(name, {})
        kind = overview.get("kind")
        known.update((key, overview[key]) for key in _KNOWN if key in overview)
        if kind == "plan":
            host.gpus = [GpuMemory(**dict(one, models=tuple(one["models"]))) for one in overview["gpus"]]
            host.served = [(str(url), [str(name) for name in names]) for url, names in overview["served"]]
        elif kind == "evidence":
            host.observed = dict(overview["observed"])

    def wants_evidence(self, name: str) -> bool:
        """Return whether the evidence of a host is shown although it passes: the host has changed, or nothing else of
        it is shown, as by the playbook verify."""
        return bool(self.host(name).changed) or "feasible" not in self._shown.get(name, {})

    def outcomes(self, summaries: Mapping[str, Mapping[str, int]]) -> list[HostOutcome]:
        """Return the hosts of the run with what became of them.

        Args:
            summaries: {host: what Ansible counted: failures, unreachable, ...}.
        """
        names = list(summaries) or list(self._hosts)
        for name in names:
            host = self.host(name)
            host.state, host.text = self._state(name, summaries.get(name) or {})
        return [self.host(name) for name in names]

    def _state(self, name: str, summary: Mapping[str, int]) -> tuple[str, str]:
        known = self._shown.get(name, {})
        if summary.get("unreachable"):
            return "UNREACHABLE", self._failures.get(name, "")
        if summary.get("failures"):
            return "FAILED", self._failures.get(name, "")
        if "findings" in known:
            counts = known["findings"]
            told = ", ".join("%d %s" % (count, confidence) for confidence, count in counts.items())
            return (WITH_FINDINGS, "%s, see above" % told) if counts else (WITHOUT_FINDINGS, "")
        verdict = known.get("verdict")
        if verdict:
            return ("proven", "") if verdict == "pass" else ("verdict %s" % verdict, "")
        if known.get("changes") and self._has_looked(name):
            return WOULD_CHANGE, "%s, see above" % counted(known["changes"], "change")
        if known.get("in_force"):
            return "as planned", ""
        return ("planned", "") if "feasible" in known else ("done", "")

    def _has_looked(self, name: str) -> bool:
        """Return whether the run changed nothing on a host: in check mode, or because it began no stage that does, such
        as that of the playbook plan. Tasks that are skipped count as well."""
        return self._check_mode or _CHANGING.isdisjoint(self.host(name).seconds)
