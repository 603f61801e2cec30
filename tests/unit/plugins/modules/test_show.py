# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""show as Ansible runs it: lines in the terminal with every callback, also in check mode, and none with no_log."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pty
import re
import subprocess
import sys

import pytest

from tests.unit.plugins.modules.run_module import run_module
from tests.unit.plugins.plugin_utils.report.made_plans import planned


def test_the_module_itself_prints_nothing():
    answer = run_module("show", {"text": ["x"]})
    assert answer["failed"] and "on the controller" in answer["msg"]


def prepared(home, more=(), **environment):
    """(command, environment) of a run in check mode: a plan with a name that is an escape sequence, and a task with
    no_log. `more` are tasks after these."""
    collections = next(
        path for path in sys.path if (pathlib.Path(path) / "ansible_collections" / "gpufleet" / "ollama").exists()
    )
    plan = planned({"name": "gemma3:27b", "context_length": 8192})
    plan["gpus"][0]["name"] = "RTX\x1b[2J"
    tasks = [
        {"name": "Show the plan", "gpufleet.ollama.show": {"plan": plan}, "register": "shown"},
        {"name": "Keep a secret", "gpufleet.ollama.show": {"text": ["geheim"]}, "no_log": True},
        {"name": "Show nothing", "gpufleet.ollama.show": {"plan": None}, "ignore_errors": True},
        {"ansible.builtin.assert": {"that": ["shown.lines | length > 5", "shown.overview.feasible"]}},
        *more,
    ]
    (home / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "192.0.2.1,", "play.yml", "--check"]
    given = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections, ANSIBLE_HOME=str(home))
    return command, dict(given, **environment)


def play(home, more=(), **environment):
    """A run without colours."""
    command, given = prepared(home, more, ANSIBLE_NOCOLOR="1", **environment)
    done = subprocess.run(command, env=given, cwd=home, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The output of one run."""
    return play(tmp_path_factory.mktemp("show")).stdout


#: Settings with which somebody decides on colours.
COLOUR_SETTINGS = ("ANSIBLE_NOCOLOR", "NO_COLOR", "ANSIBLE_FORCE_COLOR")


def in_colours(home, terminal, **environment):
    """What a run prints where nobody has decided on colours: on a terminal, or into a pipe."""
    command, given = prepared(home, TERM="xterm", **environment)
    command = ["timeout", "120", *command]
    given = {name: value for name, value in given.items() if name in environment or name not in COLOUR_SETTINGS}
    ours, theirs = pty.openpty() if terminal else os.pipe()
    try:
        with subprocess.Popen(command, env=given, cwd=home, stdin=subprocess.DEVNULL, stdout=theirs) as process:
            os.close(theirs)
            found = b""
            # A terminal that nobody has open any more is an error.
            with contextlib.suppress(OSError):
                while part := os.read(ours, 65536):
                    found += part
        assert process.returncode == 0, found
    finally:
        os.close(ours)
    return found.decode()


@pytest.mark.parametrize("callback", ["default", "gpufleet.ollama.fleet"])
def test_colours_are_for_terminals(tmp_path, callback):
    """Of the plan, which the action prints or the callback."""
    title, weights = "\x1b[1mPlan for Ollama 0.32.15 on 192.0.2.1: ", "\x1b[38;5;32m█"
    on_terminal = in_colours(tmp_path, terminal=True, ANSIBLE_STDOUT_CALLBACK=callback)
    assert title in on_terminal and weights in on_terminal
    assert "\x1b[" not in in_colours(tmp_path, terminal=True, ANSIBLE_STDOUT_CALLBACK=callback, NO_COLOR="1")
    piped = in_colours(tmp_path, terminal=False, ANSIBLE_STDOUT_CALLBACK=callback)
    assert "Plan for Ollama 0.32.15 on 192.0.2.1: " in piped and "\x1b[" not in piped


def test_the_overview_is_there_with_the_default_callback(tmp_path):
    """As the guide says it is turned on; with the callback of the collection it is there once."""
    guide = (pathlib.Path(__file__).parents[4] / "docs/docsite/rst/terminal.rst").read_text(encoding="utf-8")
    assert "``callbacks_enabled = gpufleet.ollama.overview`` below ``[defaults]``" in guide
    enabled = {"ANSIBLE_CALLBACKS_ENABLED": "gpufleet.ollama.overview"}
    found = play(tmp_path, [{"ansible.builtin.pause": {"seconds": 1}}], **enabled).stdout
    assert "\nOverview: 1 host, 1 planned\n" in found.split("PLAY RECAP")[1]
    assert len(re.findall(r"(?m)^seconds +other +all\n192\.0\.2\.1( +[0-9.]+){2}$", found)) == 1, found
    assert play(tmp_path, ANSIBLE_STDOUT_CALLBACK="gpufleet.ollama.fleet", **enabled).stdout.count("Overview: ") == 1


#: A callback whose standard output is data, as that of ansible.posix.
JSON_CALLBACK = """
import json
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_TYPE, CALLBACK_NAME = "stdout", "json"
    def v2_playbook_on_stats(self, stats):
        self._display.display(json.dumps({"hosts": sorted(stats.processed)}))
"""


def test_what_another_program_reads_on_standard_output_stays_what_it_is(tmp_path):
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks" / "json.py").write_text(JSON_CALLBACK)
    done = play(tmp_path, ANSIBLE_STDOUT_CALLBACK="json", ANSIBLE_CALLBACK_PLUGINS=str(tmp_path / "callbacks"))
    assert json.loads(done.stdout) == {"hosts": ["192.0.2.1"]}
    assert "Plan for Ollama 0.32.15 on 192.0.2.1: feasible" in done.stderr and "geheim" not in done.stderr


def test_lines_are_printed_as_lines(played):
    assert "\nPlan for Ollama 0.32.15 on 192.0.2.1: feasible\n  GPU 0  RTX\\x1b[2J" in played
    assert '"msg"' not in played.split("Keep a secret")[0] and "changed=0" in played


def test_nothing_is_printed_with_no_log(played):
    assert "geheim" not in played


def test_a_task_without_anything_to_show_says_what_it_takes(played):
    assert "There is nothing to show: give one of diagnosis, difference, evidence" in played
