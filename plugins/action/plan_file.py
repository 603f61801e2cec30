# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from typing import Any

from ansible_collections.gpufleet.ollama.plugins.modules import plan_file
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.plan_files import PlanFiles, PlanFilesError, read_plan
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_record import (
    Planned,
    drift_sentence,
    plan_record,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.reviewed_plan import obstacles


class ActionModule(OnController):
    """Write the plan of a host and the summary of all hosts on the controller, in the process of the task."""

    _requires_connection = False
    ERRORS = (PlanFilesError,)

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        return plan_file.argument_spec()

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Say whether the host differs from its plan, and write the files where a directory is given."""
        planned = Planned(
            plan=options["plan"],
            difference=options["difference"],
            host=options["read"],
            gpu_inventory=options["gpu_inventory"],
            obstacles=options["obstacles"],
            settings=options["settings"],
        )
        record = plan_record(options["host"], planned)
        if options["reviewed"]:
            reviewed = read_plan(options["reviewed"], options["host"])
            said = obstacles(reviewed, record)
            return {"plan": reviewed["plan"], "obstacles": said, "msg": " ".join(said)}
        result = {"state": record["state"], "differs": drift_sentence(record)}
        if not options["directory"]:
            return result
        files = PlanFiles(options["directory"], options["host"])
        files.check()
        if not self._task.check_mode:
            files.write(record, options["hosts"])
        return dict(result, path=files.path, summary=files.summary)
