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


def diffs(*differences, details=False):
    outcomes = [FileOutcome("/%d" % number, "change", [one]) for number, one in enumerate(differences)]
    return [(diff["before_header"], diff["before"], diff["after"]) for diff in file_options.diffs_of(outcomes, details)]


def test_differences_of_texts_are_shown_one_by_one():
    long = "x\n" * (file_options.LONGEST_NEW + 1)
    short = long[2:]
    assert diffs((short, ""), ("", short), (long, long + "y\n")) == [
        ("/0", short, ""),
        ("/1", "", short),
        ("/2", long, long + "y\n"),
    ]


def test_what_is_new_and_long_is_shown_on_request():
    long = "x\n" * (file_options.LONGEST_NEW + 1)
    assert diffs(("", long), (long, "")) == [
        ("/0", "", "(11 lines, which -v shows)\n"),
        ("/1", "(11 lines, which -v shows)\n", ""),
    ]
    assert diffs(("", long), (long, ""), details=True) == [("/0", "", long), ("/1", long, "")]


def test_what_has_no_text_shares_a_difference():
    absent, directory = {"state": "absent"}, {"state": "directory", "owner": "root", "mode": "0755"}
    link = {"state": "link", "target": "a"}
    assert diffs((absent, directory), (link, dict(link, target="b")), ("x", "y"), (directory, absent)) == [
        ("/2", "x", "y"),
        (
            "directories, links, owners and modes",
            "/1: link, target a\n/3: directory, owner root, mode 0755\n",
            "/0: directory, owner root, mode 0755\n/1: link, target b\n",
        ),
    ]
