# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Text of an instance's environment file, with the note that the role manages it. Pure."""

from __future__ import annotations

from typing import Any, Mapping

from ..common.environment_file import environment_file

MANAGED = "# Managed by Ansible: the next run of the role ollama_multigpu replaces changes.\n"


def environment_text(environment: Mapping[str, Any]) -> str:
    """Return the text of an environment file with these variables, sorted by name.

    Raises:
        ValueError: a value that no environment file can carry. One sentence.
    """
    return MANAGED + environment_file(environment)
