# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The option `files`, read and told."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import file_options
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.files import FileOutcome
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import FilesError


def entry(**given):
    """An entry as AnsibleModule hands it over."""
    defaults = {name: option.get("default") for name, option in file_options.file_options().items()}
    return dict(defaults, **given)


def test_entries_are_read():
    file, link, gone = file_options.read_files(
        [
            entry(path="/a", content="x\u00e9", owner="root", group="", mode="0640"),
            entry(path="/b", state="link", target="c", force=True),
            entry(path="/c", state="absent", diff=True, backup=True),
        ]
    )
    assert (file.content, file.ownership.owner, file.ownership.group, file.ownership.mode) == (
        b"x\xc3\xa9",
        "root",
        None,
        0o640,
    )
    assert (link.target, link.force, link.show_content) == ("c", True, False)
    assert (gone.backup, gone.show_content, file.show_content) == (True, True, True)


def test_a_link_needs_a_target():
    with pytest.raises(FilesError, match="/b: a link needs target"):
        file_options.read_files([entry(path="/b", state="link")])


def test_outcomes_are_told():
    outcome = FileOutcome("/a", "change", [("x", "y")], "/a.bak")
    assert file_options.file_result(outcome) == {
        "path": "/a",
        "changed": True,
        "action": "change",
        "backup_file": "/a.bak",
    }
    assert file_options.without_contents([entry(path="/a", content="secret")])[0]["content"] is None


def test_differences_are_those_of_all_paths():
    outcomes = [
        FileOutcome("/a", "change", [("x\n", "y\n")]),
        FileOutcome("/b", "create", [({"state": "absent"}, {"state": "link", "target": "c"})]),
    ]
    assert [(one["before_header"], one["after"]) for one in file_options.diffs_of(outcomes, details=False)] == [
        ("/a", "y\n"),
        ("directories, links, owners and modes", "/b: link, target c\n"),
    ]
