# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How Ollama, a Go program, reads the text of variables and parameters. Pure."""

from __future__ import annotations

from typing import Any, Optional

# strconv.ParseBool.
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def boolean(text: str) -> Optional[bool]:
    """Return a boolean as Go's strconv.ParseBool reads it, None for a text that is none."""
    return text in _TRUE if text in _TRUE + _FALSE else None


def of_variable(value: Any) -> str:
    """Return the value of a variable without surrounding blanks and quotes, "" where unset (envconfig `Var`)."""
    return str(value or "").strip().strip("\"'")


def switch(value: Any, default: bool = False) -> bool:
    """Return whether Ollama takes a variable as switched on (envconfig/config.go, `BoolWithDefault`).

    Args:
        value: of the variable, None where it is not set. A text that is no boolean counts as true.
        default: for an empty value.
    """
    text = of_variable(value)
    return boolean(text) is not False if text else default
