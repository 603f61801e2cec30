# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Environment variables of the services reach the process unchanged, through a real systemd."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.environment_file import quote

from tests.integration.acceptance import SET, on
from tests.rig.hosts import fleet

VALUES = {
    "PERCENT": "100% %h %i %% %n",
    "DOLLAR": "$HOME ${HOME} $$ $(id) $",
    "DOUBLE": 'say "yes" "',
    "SINGLE": "it's 'so'",
    "BACKSLASH": r"C:\new\table \\ \$ \" \ ",
    "SPACES": "  two before, two after  ",
    "TAB": "a\tb",
    "EMPTY": "",
    "COMMENT": "# no comment ; neither",
    "EQUALS": "a=b=c",
    "BACKTICK": "`id` !! *?[x]{y}~",
    "UTF8": "Grüße 日本 \u00a0",
    "URL": "http://user:p%40ss@proxy:3128/?a=b&c",
    "ONLY_QUOTE": '"',
    "ONLY_BACKSLASH": "\\",
    "QUOTED": '"in quotes"',
    "LONG": "x y " * 1000,
    "NUMBER": 5,
    "YES": True,
}
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


@pytest.mark.hosts
def test_every_value_arrives_unchanged(podman_hosts):
    fleet.up(SET, {"e": "none"}, say=lambda text: None)
    try:
        lines = "".join("%s=%s\n" % (name, quote(value)) for name, value in VALUES.items())
        on("e", "sh", "-c", "cat > /etc/values.env", stdin=lines.encode())
        told = on(
            "e",
            "systemd-run",
            "--quiet",
            "--pipe",
            "--wait",
            "-p",
            "EnvironmentFile=/etc/values.env",
            "python3",
            "-c",
            SHOW,
        )
        arrived = json.loads(told)
        assert {name: arrived.get(name) for name in VALUES} == {name: str(value) for name, value in VALUES.items()}
    finally:
        fleet.down(SET)
