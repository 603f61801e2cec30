# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from ansible.utils.display import Display
from ansible_collections.gpufleet.ollama.plugins.modules import report
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.file import kept
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import ControllerFileError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.answers import answers_of
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.files import ReportFiles
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.fleet import Run, fleet_report
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController

#: Of each host, the last ones.
_BENCHMARKS = 20


class ActionModule(OnController):
    """Write the report of the hosts of the play, in the process of the task."""

    _requires_connection = False
    ERRORS = (ControllerFileError,)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Keep the variables of the hosts, and write the report."""
        self._variables: Mapping[str, Any] = task_vars or {}
        return super().run(tmp, task_vars)

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        return report.argument_spec()

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Compare with the last report, and write the files."""
        files = ReportFiles(options["path"])
        files.check()
        last, problem = files.last()
        if problem:
            Display().warning(problem + " Nothing is compared with it.")
        hosts = [str(host) for host in self._variables.get("ansible_play_hosts_all") or []]
        benchmarks = options["benchmark_directory"]
        run = Run(
            time=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            complete=options["complete"],
            changes_nothing=options["changes_nothing"] or bool(self._task.check_mode),
            benchmarks={host: kept(benchmarks, host, _BENCHMARKS) for host in hosts} if benchmarks else {},
        )
        hostvars = self._variables.get("hostvars") or {}
        written = fleet_report({host: answers_of(hostvars[host]) for host in hosts}, last, run)
        files.write(written)
        return dict(files.paths, states=written.counts)
