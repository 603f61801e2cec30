# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lines of text for people, of data that a host may have sent."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.printable import printable

MOST_LINES = 2000
LONGEST_LINE = 4000


def for_people(what: str) -> Callable[[Callable[..., list[str]]], Callable[..., list[str]]]:
    """Return a decorator for a function that writes lines about its first argument.

    Its lines are printable and of bounded number and length. Data of another structure is an error in one sentence.

    Args:
        what: The data and the module that returns it ("plan of placement_info").
    """

    def decorate(function: Callable[..., list[str]]) -> Callable[..., list[str]]:
        @functools.wraps(function)
        def write(data: Any, *arguments: Any, **options: Any) -> list[str]:
            try:
                lines = function(data, *arguments, **options)
            except Exception as error:  # pylint: disable=broad-except  # the data may have any structure
                raise AnsibleFilterError(
                    "This is not the %s (%s: %s)." % (what, type(error).__name__, printable(error)[:200])
                ) from None
            return bounded([printable(line) for line in lines])

        return write

    return decorate


def bounded(lines: list[str]) -> list[str]:
    """Return lines in a number and of a length that people can read, however many a host has made up."""
    left = len(lines) - MOST_LINES
    rest = ["(%d more lines)" % left] if left > 0 else []
    return [line[:LONGEST_LINE] for line in lines[:MOST_LINES]] + rest
