# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Values of an environment file reach the process unchanged."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.environment_file import environment_text
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.environment_file import quote as quoted


def systemd_reads(text):
    """What systemd takes from a double-quoted value (src/basic/env-file.c: a backslash is dropped before the characters
    in SHELL_NEED_ESCAPE only)."""
    assert text[0] == text[-1] == '"'
    value, rest = "", text[1:-1]
    while rest:
        if rest[0] == "\\" and rest[1:2] in ('"', "\\", "`", "$"):
            value, rest = value + rest[1], rest[2:]
        else:
            assert rest[0] != '"', "the value ends too early"
            value, rest = value + rest[0], rest[1:]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        "100%",
        "%h",
        "a b",
        " lead and trail ",
        "$HOME ${X}",
        'say "hi"',
        "it's",
        "back\\slash",
        "\\",
        "\\n",
        "`id`",
        "tab\there",
        "#no comment",
        "a=b;c",
        "ü",
    ],
)
def test_a_value_arrives_unchanged(value):
    assert systemd_reads(quoted(value)) == value


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash as a second reader")
@pytest.mark.parametrize("value", ["100%", "$HOME", 'say "hi"', "back\\slash", "`id`"])
def test_a_shell_reads_the_same(value):
    text = subprocess.run(
        ["bash", "-c", "printf %%s %s" % quoted(value).replace("%", "%")], capture_output=True, text=True, check=True
    ).stdout
    assert text == value


@pytest.mark.parametrize("value", ["two\nlines", "\r", "\x00", "\x7f"])
def test_a_control_character_is_refused(value):
    with pytest.raises(ValueError, match="control character"):
        quoted(value)


def test_variables_are_sorted_below_a_comment():
    lines = environment_text({"B": 2, "A": "x y"}).splitlines()
    assert lines[0].startswith("# Managed by Ansible") and lines[1:] == ['A="x y"', 'B="2"']
