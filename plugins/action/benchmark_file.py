# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

import time
from typing import Any

from ansible_collections.gpufleet.ollama.plugins.modules import benchmark_file
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.file import BenchmarkFile, read
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.benchmark.lines import lines, untouched_lines
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.controller_file import ControllerFileError
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController

_TIME = "%Y-%m-%dT%H:%M:%SZ"


class ActionModule(OnController):
    """Write a benchmark of a host on the controller, and compare it with an earlier one, in the process of the task."""

    _requires_connection = False
    ERRORS = (ControllerFileError,)

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        return benchmark_file.argument_spec()

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Compare the benchmark, and write it where it has a directory. Without one, look whether all can be used."""
        now = options["time"] or time.strftime(_TIME, time.gmtime())
        file = None
        if options["directory"]:
            file = BenchmarkFile(options["directory"], options["host"], _in_a_name(now))
            file.check()
        compared = options["compare_with"] or (file.last() if file else None)
        earlier = read(compared) if compared else None
        found = {"path": file.path if file else "", "time": now, "compared_with": compared or ""}
        if options["benchmark"] is None:
            return dict(found, lines=[], untouched_lines=[])
        facts = {"host": options["host"], "label": options["label"], "time": now}
        benchmark = dict(options["benchmark"], **facts)
        if options["untouched"]:
            benchmark["untouched"] = options["untouched"]
        if file and not self._task.check_mode:
            file.write(benchmark)
        return dict(found, lines=lines(benchmark, earlier), untouched_lines=untouched_lines(benchmark))


def _in_a_name(moment: str) -> str:
    """A time as the name of a file has it. Raises ControllerFileError."""
    try:
        return time.strftime("%Y%m%dT%H%M%SZ", time.strptime(moment, _TIME))
    except ValueError as error:
        raise ControllerFileError("time is %r: give a time that this module has returned." % moment) from error
