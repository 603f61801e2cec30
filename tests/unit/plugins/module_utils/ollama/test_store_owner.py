# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""As whom a store is changed: never as one whom somebody else could have chosen."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store_directory import StoreError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store_owner import nearest, worker

OTHER = 4321


@pytest.fixture
def home(place, nobody):
    """A directory of the other user's, with a store."""
    path = place / "home"
    (path / "models").mkdir(parents=True)
    for one in (path, path / "models"):
        one.chmod(0o755)
        os.chown(one, nobody.uid, nobody.gid)
    return path


def test_a_store_is_changed_by_its_owner(home, nobody):
    assert worker(str(home / "models")) == nobody
    assert worker(str(home / "models" / "not-there-yet")) == nobody, "that of its nearest parent"


def test_a_store_of_root_is_changed_by_root_only_where_all_parents_are_roots(place, home):
    (place / "models").mkdir()
    assert worker(str(place / "models")) is None
    (home / "of-root").mkdir()
    with pytest.raises(StoreError, match="home belongs to nobody and not to root"):
        worker(str(home / "of-root"))


def test_a_parent_of_a_third_user_is_refused(home):
    os.chown(home, OTHER, OTHER)
    with pytest.raises(StoreError, match="home belongs to uid 4321 and not to nobody"):
        worker(str(home / "models"))


@pytest.mark.parametrize("mode", [0o775, 0o777])
def test_a_parent_that_others_may_write_is_refused(home, nobody, mode):
    home.chmod(mode)
    with pytest.raises(StoreError, match="home may be written by others than its owner, .* chmod go-w"):
        worker(str(home / "models"))
    home.chmod(mode | 0o1000)
    assert worker(str(home / "models")) == nobody, "as in /tmp, only the owner of an entry may rename it"


def test_only_links_of_root_lead_to_a_store(home, nobody, place):
    (place / "link").symlink_to("home")
    assert worker(str(place / "link" / "models")) == nobody
    os.chown(place / "link", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(StoreError, match="link is a symbolic link"):
        worker(str(place / "link" / "models"))


def test_a_link_chooses_nobody_as_whom_root_works(home, place):
    """A user puts a link to another user's store in the place of its own."""
    mine = place / "mine"
    mine.mkdir()
    os.chown(mine, OTHER, OTHER)
    (mine / "models").symlink_to(home / "models")
    with pytest.raises(StoreError, match="mine belongs to uid 4321 and not to nobody"):
        worker(str(mine / "models"))
    (place / "models").symlink_to(home / "models")
    with pytest.raises(StoreError, match="models is a symbolic link"):
        worker(str(place / "models"))


def test_links_in_a_circle_end(place, nobody):
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    with pytest.raises(StoreError, match="cannot look at|is a symbolic link"):
        worker(str(place / "a" / "models"))


def test_a_file_in_the_place_of_a_store_is_refused(place, nobody):
    (place / "models").write_text("")
    with pytest.raises(StoreError, match="models is a file, where Ollama has none"):
        worker(str(place / "models"))


def test_a_named_user_is_the_one_whatever_the_store_says(home, nobody, place):
    assert worker(str(place), nobody.name) == nobody
    assert worker(str(place), "no-such-user", fallback="nobody") == nobody
    with pytest.raises(StoreError, match="cannot be changed: the host does not have the user no-such-user"):
        worker(str(place), "no-such-user")


def test_a_process_without_roots_rights_does_it_itself(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    assert worker(str(tmp_path), "no-such-user") is None


def test_the_nearest_parent(tmp_path):
    assert nearest(str(tmp_path / "a" / "b")) == str(tmp_path) == nearest(str(tmp_path))
