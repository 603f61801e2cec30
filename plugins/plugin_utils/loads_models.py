# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Action base for modules that load models: show how far the loads are, while the module runs."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Iterator
from typing import Any

from ansible.utils.display import Display
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.libraries import NVML, REQUESTS
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.load_progress import LoadSentences, read
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import sentence
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.terminal import print_lines, terminal_style
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.with_libraries import WithLibraries

#: Seconds between two looks at the host. Most modules have ended before the first one.
PAUSE = 5.0
#: Seconds that the end of a module waits for a look that is under way.
_LAST_LOOK = 2.0


class LoadsModels(WithLibraries):
    """Run the module as it is, and look at its file beside it. What goes wrong with that changes nothing."""

    LIBRARIES = (REQUESTS, NVML)

    def _run_module(self, task_vars: dict[str, Any] | None, wrap_async: bool = False) -> dict[str, Any]:
        # In the background nobody waits, in check mode nothing is loaded, and a task may be secret.
        if wrap_async or self._task.check_mode or self._task.no_log:
            return super()._run_module(task_vars, wrap_async)
        with self._shown():
            return super()._run_module(task_vars)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Show how far the loads are until the block ends."""
        ended = threading.Event()
        # A connection has state of the command that it runs. The file is everybody's to read, so nothing is become.
        looking = copy.copy(self)
        looking._connection = copy.copy(self._connection)
        thread = threading.Thread(target=looking._look, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_LAST_LOOK)

    def _look(self, ended: threading.Event) -> None:
        progress, display, style = LoadSentences(), Display(), terminal_style()
        with contextlib.suppress(Exception):  # of any connection; the module itself says what is wrong with a host
            while not ended.wait(PAUSE):
                told = self._low_level_execute_command("cat %s 2>/dev/null" % paths.LOAD_PROGRESS, sudoable=False)
                for text in progress.sentences(read(told.get("stdout") or ""), time.monotonic()):
                    if not ended.is_set():
                        lines = sentence(style, text, first="%s: " % self._host_name, rest="  ")
                        print_lines(display, style, lines, stderr=True)  # the callback's results are standard output
