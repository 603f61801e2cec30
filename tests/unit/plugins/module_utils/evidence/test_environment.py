# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Environment variables as systemd reads them."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import environment

FILE = r"""
# a comment
; another one
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
    assert environment.parse_file(FILE) == EXPECTED


def test_what_systemctl_shows():
    assert environment.shown('OLLAMA_HOST=127.0.0.1:11434 "A=x y" "Q=say \\"hi\\"" C=') == {
        "OLLAMA_HOST": "127.0.0.1:11434",
        "A": "x y",
        "Q": 'say "hi"',
        "C": "",
    }
    assert environment.shown("") == {}


def test_files_come_after_assignments_and_the_last_one_wins(tmp_path):
    first, second = tmp_path / "first file.env", tmp_path / "second.env"
    first.write_text("A=first\nB=first\n")
    second.write_text("B=second\n")
    files = "%s (ignore_errors=no)\n%s (ignore_errors=yes)\n%s (ignore_errors=yes)" % (
        first,
        second,
        tmp_path / "missing",
    )
    assert environment.effective({"Environment": "A=unit C=unit", "EnvironmentFiles": files}) == {
        "A": "first",
        "B": "second",
        "C": "unit",
    }
    assert environment.effective({}) == {}


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
