# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""program_file as a module: results, check mode, errors. What it calls has tests of its own."""

from __future__ import annotations

import os
import sys

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import program_install
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.program_copy import ProgramCopy

from tests.unit.plugins.modules.run_module import run_module


@pytest.fixture(name="options")
def _options(tmp_path, monkeypatch):
    """Arguments as the action plugin fills them in."""
    copy, install = ProgramCopy(), program_install.install
    copy.write(str(tmp_path / "program.zip"))
    owner = tmp_path.owner()
    monkeypatch.setattr(program_install, "install", lambda *arguments: install(*arguments, owner))
    return {
        "path": str(tmp_path / "program" / "bin" / "ollama-multigpu"),
        "digest": copy.digest,
        "archive": str(tmp_path / "program.zip"),
    }


def test_it_is_installed_once(options):
    planned = run_module("program_file", options, check=True)
    assert planned["changed"] and planned["needed"] and not os.path.exists(options["path"])
    asked = run_module("program_file", {key: options[key] for key in ("path", "digest")})
    assert asked["needed"] and not os.path.exists(options["path"]), "without an archive, it only says what is needed"
    done = run_module("program_file", options)
    assert done["changed"] and done["diff"] == planned["diff"] and done["interpreter"] == sys.executable
    again = run_module("program_file", options)
    assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]


def test_the_action_plugin_is_needed(options):
    assert "in a task" in run_module("program_file", {"path": options["path"]})["msg"]


def test_a_place_that_is_not_safe_is_a_sentence(options, tmp_path):
    os.chmod(tmp_path, 0o777)
    assert "every user" in run_module("program_file", options)["msg"]


def test_an_archive_that_is_gone_is_a_sentence(options):
    os.unlink(options["archive"])
    assert "could not be installed" in run_module("program_file", options)["msg"]
