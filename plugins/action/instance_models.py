# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

import time
from typing import Any

from ansible.utils.display import Display
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import REQUESTS
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fetch_progress import Progress, read
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.host_answer import AnswerError, cleaned
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.with_libraries import WithLibraries

#: Longest time for which models are fetched, in seconds: a week.
LIMIT = 7 * 24 * 3600
#: Seconds between two looks at the progress: at least, at most, and as a share of the time that it has taken so far, so
#: that a small model is not waited for longer than it takes.
SHORTEST_PAUSE, LONGEST_PAUSE, SHARE = 0.5, 10.0, 0.1
#: Seconds after which a module that runs is asked for its result, although it does not say that it has ended.
ASK_SECONDS = 30.0
#: Looks in succession at which the module is gone and has no result, or the host does not answer, before that is said.
_GONE = 3
#: Seconds until the module has written a record of its own, also on a busy host.
_BEGUN = 20.0
_SILENT = (
    "%s does not answer any more while models are fetched (%s). What has been downloaded is kept: run again, and the "
    "fetch goes on from there."
)
#: What async_status says of a job that is not there, because its directory is gone after a reboot.
_LOST = "could not find job"
#: Where the result of the module is kept meanwhile: gone after a reboot.
_JOBS = "/run/ollama-multigpu/jobs"

#: What async_status adds to the result of the module.
_OF_THE_JOB = ("ansible_job_id", "started", "finished", "results_file")


class ActionModule(WithLibraries):
    """Run the module instance_models with its libraries brought along, and show how far models are fetched."""

    LIBRARIES = (REQUESTS,)

    def _run_module(self, task_vars: dict[str, Any] | None, wrap_async: bool = False) -> dict[str, Any]:
        if wrap_async or self._task.check_mode or not self._task.args.get("fetch_server"):
            return super()._run_module(task_vars, wrap_async)
        shell = self._connection._shell
        directory = self.get_shell_option("async_dir", default="~/.ansible_async")
        shell.set_option("async_dir", _JOBS)
        self._task.async_val = LIMIT
        try:
            started = super()._run_module(task_vars, wrap_async=True)
        finally:
            self._task.async_val = 0
            shell.set_option("async_dir", directory)
        job = started.get("ansible_job_id")
        if not isinstance(job, str) or started.get("failed"):
            return started
        result = self._watched(job, task_vars)
        self._job(job, "cleanup", task_vars)
        return result

    def _watched(self, job: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Show the progress of a module that runs in the background until it has ended; return its result."""
        progress, display = Progress(self._host_name), Display()
        gone = silent = 0
        ran = False
        begin = asked = time.monotonic()
        while time.monotonic() - begin < LIMIT:  # a host could say for ever that it goes on
            time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, SHARE * (time.monotonic() - begin))))
            told = self._low_level_execute_command("cat %s 2>/dev/null" % paths.FETCH_PROGRESS, sudoable=True)
            record = read(told.get("stdout") or "")
            for line in progress.lines(record, time.monotonic()) if not self._task.no_log else ():
                display.display(line, stderr=True)  # the callback's results are standard output
            runs = bool(record["pid"]) and self._runs(record["pid"])
            ran = runs or ran
            if runs and not record["finished"] and time.monotonic() - asked < ASK_SECONDS:
                gone = 0  # to ask takes longer than to look
                continue
            asked = time.monotonic()
            answer = self._job(job, "status", task_vars)
            if answer.get("finished") and _LOST in str(answer.get("msg")):
                return {"failed": True, "msg": _SILENT % (self._host_name, "it was started anew, or was cleaned up")}
            if answer.get("finished"):
                return self._result(answer)
            silent = 0 if answer.get("ansible_job_id") else silent + 1
            if silent >= _GONE:
                why = printable(str(answer.get("module_stderr") or answer.get("msg") or "no answer"))
                return {"failed": True, "msg": _SILENT % (self._host_name, why)}
            # The record may be that of an earlier fetch, until this module has written its own.
            earlier = record["finished"] or not ran and asked - begin < _BEGUN
            gone = 0 if runs or earlier or not record["pid"] else gone + 1
            if gone >= _GONE:
                return {"failed": True, "msg": "The module that fetches models was killed on the host: run again."}
        return {"failed": True, "msg": "The models were not fetched within %d days: run again." % (LIMIT // 86400)}

    def _runs(self, pid: int) -> bool:
        return self._low_level_execute_command("test -d /proc/%d" % pid, sudoable=True).get("rc") == 0

    def _job(self, job: str, mode: str, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return what async_status of ansible-core answers."""
        return self._execute_module(
            module_name="ansible.legacy.async_status",
            module_args={"jid": job, "mode": mode, "_async_dir": _JOBS},
            task_vars=task_vars,
        )

    def _result(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the module's result without what belongs to the job."""
        problem = None
        try:
            return cleaned(self._task.action, {key: value for key, value in answer.items() if key not in _OF_THE_JOB})
        except AnswerError as error:
            problem = str(error)
        raise self._refused(self._task.action, problem)  # here, so that Ansible shows the sentence alone
