# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display
from ansible_collections.gpufleet.ollama.plugins.modules import show
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.on_controller import OnController
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.lines import MOST_LINES, bounded
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.shown import NothingToShow, Shown, shown
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import Style, drawing, drawn, without_colour
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.terminal import (
    is_data,
    is_fleet,
    print_lines,
    terminal_style,
)


class ActionModule(OnController):
    """Print what modules returned as lines for people, in the process of the task."""

    _requires_connection = False
    ERRORS = (NothingToShow,)

    def argument_spec(self) -> dict[str, Any]:
        """Return the argument spec of the module."""
        return show.argument_spec()

    def compute(self, options: dict[str, Any]) -> dict[str, Any]:
        """Draw the lines, and print them unless the callback does it."""
        display = Display()
        style = terminal_style(details=display.verbosity > 0)
        found = shown(dict(options, check_mode=self._task.check_mode), style, self._host_name)
        is_quiet = is_fleet()  # that callback prints the result itself
        if not is_quiet and not self._task.no_log:
            print_lines(display, style, found.lines, stderr=is_data())
        result = _result(found, style)
        if is_quiet:
            result["drawing"] = {name: drawing(getattr(found, name)[:MOST_LINES]) for name in ("lines", "short")}
        return result


def _result(found: Shown, style: Style) -> dict[str, Any]:
    plain = without_colour(style)
    return {
        "lines": bounded(drawn(plain, found.lines)),
        "short": bounded(drawn(plain, found.short)),
        "overview": found.overview,
        # The lines stand above: with -v, callbacks need not print them again.
        "_ansible_verbose_override": True,
    }
