# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What belongs to others in the store of an instance is found before anything is changed."""

from __future__ import annotations

import os

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import listing, store_directory, store_foreign

from tests.unit.plugins.module_utils.ollama.descriptors import open_files
from tests.unit.plugins.module_utils.ollama.giving import give
from tests.unit.plugins.module_utils.ollama.test_listing import put
from tests.unit.plugins.module_utils.ollama.test_store_directory import special


@pytest.fixture
def store(place, nobody):
    """A store with a model and all that a service leaves in its home, of the service user."""
    path = place / "instances" / "gpu0"
    put(path)
    for name in (".ollama/id_ed25519", ".nv/ComputeCache/index", ".cache/a/b", "ollama123/x.so", "blobs/odd/deep/x"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("")
    (path / ".ollama" / "id_ed25519").chmod(0o600)
    (path / ".cache" / "link").symlink_to("/root")
    (path / ".cache" / "gone").symlink_to("nowhere")
    special("socket", str(path / ".cache" / "socket"))
    special("fifo", str(path / "fifo"))
    give(path, nobody)
    return path


def listed(path, account):
    return listing.list_store(str(path), account.uid, own=True)


def test_the_home_of_a_service_is_not_refused(store, nobody):
    found = listed(store, nobody)
    assert found["sentences"] == [] and len(found["models"]) == 1 and found["owned"]


@pytest.mark.parametrize(
    "name",
    ["x", "ollama123", ".ollama/id_ed25519", ".nv/ComputeCache", ".cache/a/b", ".cache/link", ".cache/socket", "fifo"]
    + ["blobs/odd/deep", "manifests/registry.ollama.ai/library/tiny/latest"],
)
def test_what_belongs_to_another_user_is_refused_wherever_it_is(store, nobody, name):
    path = store / name
    if not os.path.lexists(path):
        path.mkdir()
    os.chown(path, 4321, 4321, follow_symlinks=False)
    assert listed(store, nobody)["sentences"] == [
        "%s belongs to uid 4321 and not to ollama: look at it, then remove it or give it to ollama with chown -h "
        "ollama %s" % (path, path)
    ]


def test_it_is_a_problem_of_the_store_of_an_instance_only(store, nobody, monkeypatch):
    monkeypatch.setattr(listing, "_service_uid", lambda: nobody.uid)
    monkeypatch.setattr(listing.as_user, "service_account", lambda: nobody)
    (store / "x").mkdir()
    models = store.parent.parent
    found = listing.list_stores([str(store)], str(models))[str(store)]
    assert "gpu0/x belongs to root" in found["problems"][0] and found["leftovers"] == []
    found = listing.list_stores([str(store)], "/elsewhere")[str(store)]
    assert found["problems"] == found["notes"] == []


def test_behind_a_link_nothing_is_looked_at(store, nobody, place):
    (place / "others").mkdir()
    (place / "others" / "x").write_text("")
    (store / "to").symlink_to(place / "others")
    os.chown(store / "to", nobody.uid, nobody.gid, follow_symlinks=False)
    os.chown(place / "others", nobody.uid, nobody.gid)
    assert listed(store, nobody)["sentences"] == []


def test_a_store_may_be_the_top_of_a_file_system(store, nobody):
    (store / "lost+found").mkdir(mode=0o700)
    assert listed(store, nobody)["sentences"] == []
    os.chown(store / "lost+found", 4321, 4321)
    assert len(listed(store, nobody)["sentences"]) == 1


def test_a_large_cache_is_no_error(store, nobody, monkeypatch):
    (store / ".a").mkdir()
    for number in range(50):
        (store / ".cache" / "a" / str(number)).write_text("")
    give(store, nobody)
    (store / ".cache" / "a" / "b").unlink()
    (store / ".cache" / "a" / "zz").write_text("")
    (store / ".a" / "x").mkdir()
    assert len(listed(store, nobody)["sentences"]) == 2
    looked = []
    status_of = store_foreign.status_of
    monkeypatch.setattr(store_foreign, "status_of", lambda *found: looked.append(found) or status_of(*found))
    monkeypatch.setattr(store_foreign, "MAX_ENTRIES", 20)
    found = listed(store, nobody)
    assert len(found["models"]) == 1 and 10 < len(looked) <= 20
    assert [sentence.split()[0] for sentence in found["sentences"]] == [str(store / ".a" / "x")], "the nearest is found"


def test_depth_and_sentences_are_bounded(store, nobody):
    path = store / "/".join(["d"] * 39)
    path.mkdir(parents=True)
    give(store, nobody)
    (path / "x").write_text("")
    assert len(listed(store, nobody)["sentences"]) == 1
    (path / "d").mkdir()
    give(store, nobody)
    (path / "d" / "x").write_text("")
    assert listed(store, nobody)["sentences"] == []
    for number in range(9):
        (store / str(number)).write_text("")
    assert len(listed(store, nobody)["sentences"]) == listing.MAX_SENTENCES


def test_what_vanishes_or_changes_meanwhile_is_left_out(store, nobody, monkeypatch):
    (store / "x").mkdir()

    def vanishing(name, directory):
        status = store_directory.status_of(name, directory)
        if name == ".nv":  # a directory that has become a link
            os.rename(store / ".nv", store.parent / "moved")
            (store / ".nv").symlink_to("/root")
        return None if name == "fifo" else status

    monkeypatch.setattr(store_foreign, "status_of", vanishing)
    before = open_files()
    (sentence,) = listed(store, nobody)["sentences"]
    assert sentence.startswith("%s/x belongs to root" % store)
    assert open_files() <= before
