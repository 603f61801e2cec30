# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Text of an instance's environment file, so that systemd hands every value to the process unchanged. Pure."""

from __future__ import annotations

from typing import Any

MANAGED = "# Managed by Ansible: the next run of the role ollama_multigpu replaces changes.\n"
#: What systemd unescapes inside double quotes; a backslash before anything else stays (systemd 252,
# src/basic/env-file.c, SHELL_NEED_ESCAPE).
ESCAPED = '"\\`$'


def quoted(value: Any) -> str:
    """Return a value in double quotes, as EnvironmentFile= reads it.

    Raises:
        ValueError: a control character other than a tab, which no environment file can carry. One sentence.
    """
    text = str(value)
    bad = [character for character in text if ord(character) < 32 and character != "\t" or ord(character) == 127]
    if bad:
        raise ValueError(
            "A value of the services' environment holds the control character %r, which no environment file can carry: "
            "remove it." % bad[0]
        )
    return '"%s"' % "".join("\\" + character if character in ESCAPED else character for character in text)


def environment_text(environment: dict[str, Any]) -> str:
    """Return the text of an environment file with these variables, sorted by name.

    Raises:
        ValueError: see quoted.
    """
    return MANAGED + "".join("%s=%s\n" % (name, quoted(environment[name])) for name in sorted(environment))
