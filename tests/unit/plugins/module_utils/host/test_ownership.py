# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Owner, group and mode of a path."""

from __future__ import annotations

import grp
import os
import pwd
import stat

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.ownership import (
    NOT_THERE_YET,
    FilesError,
    Ownership,
    parse_mode,
)

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
NOBODY_KNOWN = "nobody-has-this-name"


def mode(path):
    return stat.S_IMODE(os.lstat(str(path)).st_mode)


@pytest.mark.parametrize(
    "given, bits", [("0644", 0o644), ("750", 0o750), ("0o600", 0o600), (0o640, 0o640), ("2755", 0o2755), ("", None)]
)
def test_modes(given, bits):
    assert parse_mode(given) == bits


@pytest.mark.parametrize("given", ["u=rw", "999", "0644 ", "64", True, -1, 0o100644, [], 1.5])
def test_other_modes_are_refused(given):
    with pytest.raises(FilesError):
        parse_mode(given)


def test_names_and_numbers():
    assert Ownership().numbers("/x") == (None, None)
    assert Ownership(ME, MY_GROUP).numbers("/x") == (os.geteuid(), os.getegid())
    assert Ownership("4711", "0").numbers("/x") == (4711, 0)
    for wanted in (Ownership(owner=NOBODY_KNOWN), Ownership(group=NOBODY_KNOWN)):
        assert NOT_THERE_YET in wanted.numbers("/x", check_mode=True)
        with pytest.raises(FilesError, match="which the host does not have: create it first"):
            wanted.numbers("/x")


def test_differences(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0o644)
    assert Ownership().differences(str(path)) == Ownership(ME, MY_GROUP, 0o644).differences(str(path)) == ({}, {})
    before, after = Ownership(owner="4711", group="4712", mode=0o600).differences(str(path))
    assert before == {"owner": ME, "group": MY_GROUP, "mode": "0644"}
    assert after == {"owner": "4711", "group": "4712", "mode": "0600"}
    (tmp_path / "link").symlink_to(path)
    assert Ownership(mode=0o600).differences(str(tmp_path / "link")) == ({}, {}), "a link has no mode"


def test_what_is_not_given_stays_or_comes_from_elsewhere(tmp_path):
    path, like = tmp_path / "file", tmp_path / "like"
    for each in (path, like):
        each.write_text("x")
    path.chmod(0o644)
    like.chmod(0o604)
    Ownership(ME).give(str(path))
    assert mode(path) == 0o644
    Ownership().give(str(path), default=os.lstat(str(like)))
    assert mode(path) == 0o604
    Ownership(mode=0o640).give(str(path), default=os.lstat(str(like)))
    assert mode(path) == 0o640


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "file").chmod(0o604)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    Ownership(ME, MY_GROUP, 0o600).give(str(tmp_path / "link"))
    assert mode(tmp_path / "file") == 0o604
    if os.geteuid() == 0:
        Ownership("4711").give(str(tmp_path / "link"))
        assert os.lstat(str(tmp_path / "link")).st_uid == 4711 and os.stat(str(tmp_path / "link")).st_uid == 0


def test_the_set_group_id_bit_survives_a_change_of_the_group(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root gives a file to another group")
    (tmp_path / "file").write_text("x")
    Ownership(group="4712", mode=0o2755).give(str(tmp_path / "file"))
    assert mode(tmp_path / "file") == 0o2755


def test_what_a_difference_shows():
    assert Ownership("root", None, 0o640).described() == {"owner": "root", "mode": "0640"}
    assert Ownership("root", "root", 0o640).described(link=True) == {"owner": "root", "group": "root"}
