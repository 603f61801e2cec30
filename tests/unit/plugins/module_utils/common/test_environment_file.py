# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Environment variables as systemd reads them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import environment_file
from hypothesis import given
from hypothesis import strategies as st

FILE = r"""
# a comment
; another="one
PLAIN=1
SPACES =  two words~~~
EMPTY=
SINGLE='a "b" $c \d'
DOUBLE="a 'b' \"c\" \$d \\e \f"
HASH=a#b
PERCENT=50%
JOINED=one \
two
TRAILING="keep  "
ESCAPED=a\ b\~
EQUALS=a=b
no assignment
9BAD=1
LAST=yes""".replace("~", " ")  # white space at the end of lines

EXPECTED = {
    "PLAIN": "1",
    "SPACES": "two words",
    "EMPTY": "",
    "SINGLE": 'a "b" $c \\d',
    "DOUBLE": "a 'b' \"c\" $d \\e \\f",
    "HASH": "a#b",
    "PERCENT": "50%",
    "JOINED": "one two",
    "TRAILING": "keep  ",
    "ESCAPED": "a b ",
    "EQUALS": "a=b",
    "LAST": "yes",
}


def test_an_environment_file():
    assert environment_file.parse(FILE) == EXPECTED


def test_what_systemctl_shows():
    assert environment_file.parse_property('OLLAMA_HOST=127.0.0.1:11434 "A=x y" "Q=say \\"hi\\"" C=') == {
        "OLLAMA_HOST": "127.0.0.1:11434",
        "A": "x y",
        "Q": 'say "hi"',
        "C": "",
    }
    assert environment_file.parse_property("") == {}


def test_what_systemctl_protects_with_a_backslash():
    """shell_maybe_quote writes a backslash before " \\ ` and $ alike."""
    assert environment_file.parse_property('"A=50% \\$HOME" "B=\\`date\\` \\\\x" C=it"\'"s') == {
        "A": "50% $HOME",
        "B": "`date` \\x",
        "C": "it's",
    }
    assert environment_file.parse_property('A=1 "B=never closed') == {}


@pytest.mark.parametrize("character", ["\n", "\0", "\x7f", "\r"])
def test_a_control_character_is_refused(character):
    with pytest.raises(ValueError, match="control character"):
        environment_file.quote("a%sb" % character)


@given(
    st.dictionaries(
        st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,9}\Z"),
        st.text(st.characters(min_codepoint=32, exclude_characters="\x7f")),
    )
)
def test_what_is_written_is_read_back(variables):
    text = environment_file.environment_file(variables)
    assert environment_file.parse(text) == variables
    assert text.count("\n") == len(variables)
    shown = " ".join(environment_file.quote("%s=%s" % pair) for pair in variables.items())
    assert environment_file.parse_property(shown) == variables


def test_systemd_reads_it_alike(tmp_path):
    """Where systemd runs this machine, its own reading is the referee."""
    if not os.path.isdir("/run/systemd/system") or os.geteuid() != 0:
        pytest.skip("this machine is not run by systemd, or this user may not start a unit")
    path = tmp_path / "file.env"
    path.write_text(FILE)
    command = ["systemd-run", "--quiet", "--pipe", "--wait", "--property=EnvironmentFile=%s" % path, "env", "-0"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    seen = dict(item.split("=", 1) for item in answer.stdout.decode().split("\0") if "=" in item)
    assert {name: seen.get(name) for name in EXPECTED} == EXPECTED


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
    assert systemd_reads(environment_file.quote(value)) == value


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash as a second reader")
@pytest.mark.parametrize("value", ["100%", "$HOME", 'say "hi"', "back\\slash", "`id`"])
def test_a_shell_reads_the_same(value):
    text = subprocess.run(
        ["bash", "-c", "printf %%s %s" % environment_file.quote(value).replace("%", "%")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert text == value
