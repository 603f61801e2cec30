# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Whether a user can enter the directories above a path."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import as_user, entrance

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(name="place")
def _place():
    """A directory that every user can enter, unlike pytest's."""
    place = pathlib.Path(tempfile.mkdtemp())
    place.chmod(0o755)
    (place / "closed" / "inner").mkdir(parents=True)
    (place / "closed").chmod(0o700)
    yield place
    shutil.rmtree(place)


def test_the_first_directory_that_cannot_be_entered_is_named(place):
    nobody = as_user.account(as_user.NOBODY)
    assert entrance.closed_directory(str(place / "closed" / "inner" / "models"), nobody) == str(place / "closed")
    (place / "closed").chmod(0o755)
    assert entrance.closed_directory(str(place / "closed" / "inner" / "models"), nobody) is None


def test_what_is_not_there_yet_and_the_place_itself_do_not_count(place):
    nobody = as_user.account(as_user.NOBODY)
    assert entrance.closed_directory(str(place / "new" / "models"), nobody) is None
    assert entrance.closed_directory(str(place / "closed"), nobody) is None


def test_links_are_followed(place):
    (place / "link").symlink_to(place / "closed" / "inner")
    assert entrance.closed_directory(str(place / "link" / "models"), as_user.account("nobody")) == str(place / "closed")


def test_a_question_that_gets_no_answer_is_no_problem(place, monkeypatch):
    def late(*_arguments, **_options):
        raise entrance.DeadlineExceeded("late")

    monkeypatch.setattr(entrance, "call_as", late)
    assert entrance.closed_directory(str(place / "closed" / "models")) is None
