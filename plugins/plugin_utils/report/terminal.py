# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the terminal of the controller can show.

ansible-core runs tasks in processes that have no terminal (since 2.19). Both the action and the callback are imported
before these begin, so the terminal is looked at when this file is imported.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Sequence

from ansible import constants as C
from ansible.utils.color import ANSIBLE_COLOR
from ansible.utils.display import Display
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.lines import bounded
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.style import (
    NARROWEST,
    Line,
    Style,
    drawn,
    without_colour,
)

_DEFAULT_WIDTH = 80
_WIDEST = 160


def _width() -> int:
    """Return the columns of the terminal; 80 where there is none. COLUMNS decides where it is set, as elsewhere."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given):
        columns = int(given)
    else:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns or _DEFAULT_WIDTH
        except (AttributeError, OSError, ValueError):
            columns = _DEFAULT_WIDTH
    return min(max(columns, NARROWEST), _WIDEST)


def _is_unicode() -> bool:
    """Return whether the stream takes more than ASCII."""
    try:
        return codecs.lookup(getattr(sys.stdout, "encoding", None) or "ascii").name == "utf-8"
    except LookupError:
        return False


_WIDTH, _UNICODE = _width(), _is_unicode()
#: Callbacks that write data to standard output, by the last part of their names (ansible.posix.jsonl).
_DATA = ("json", "jsonl")
#: The callback that prints the results of module show itself, and an overview at the end.
_FLEET = "gpufleet.ollama.fleet"


def is_fleet() -> bool:
    """Return whether the stdout callback is that of the collection."""
    return C.config.get_config_value("DEFAULT_STDOUT_CALLBACK") == _FLEET


def is_data() -> bool:
    """Return whether standard output is data for another program: then lines for people belong to standard error."""
    return str(C.config.get_config_value("DEFAULT_STDOUT_CALLBACK")).rpartition(".")[2] in _DATA


def terminal_style(details: bool = False) -> Style:
    """Return the style of the terminal. Ansible's own settings (ANSIBLE_NOCOLOR, NO_COLOR) decide on colours.

    Args:
        details: show what is left out otherwise.
    """
    return Style(width=_WIDTH, colour=ANSIBLE_COLOR, unicode=_UNICODE, details=details)


def print_lines(display: Display, style: Style, lines: Sequence[Line], stderr: bool = False) -> None:
    """Print lines at once, so that those of several hosts do not mix; a log file gets them without colours."""
    if not lines:
        return
    plain = "\n".join(bounded(drawn(without_colour(style), lines)))
    if style.colour:
        display.display("\n".join(bounded(drawn(style, lines))), screen_only=True, stderr=stderr)
        display.display(plain, log_only=True)
    else:
        display.display(plain, stderr=stderr)
