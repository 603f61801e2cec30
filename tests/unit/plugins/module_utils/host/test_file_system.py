# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The file system of a path, also of one that does not exist yet."""

from __future__ import annotations

import os

from ansible_collections.gpufleet.ollama.plugins.module_utils.host import file_system


def test_a_path_that_does_not_exist_is_on_the_file_system_of_its_nearest_parent(tmp_path):
    assert file_system.device(str(tmp_path / "a" / "b")) == os.stat(tmp_path).st_dev
    assert file_system.device("/proc/self/nothing") == os.stat("/proc").st_dev != os.stat(tmp_path).st_dev


def test_free_bytes_are_those_for_users(tmp_path, monkeypatch):
    looked_at = []

    def statvfs(path):
        looked_at.append(path)
        return os.statvfs_result((4096, 512, 100, 50, 40, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert file_system.free_bytes(str(tmp_path / "a" / "b")) == 40 * 512
    assert looked_at == [str(tmp_path)]


def test_homes_that_are_links(tmp_path):
    (tmp_path / "var" / "home").mkdir(parents=True)
    (tmp_path / "home").symlink_to("var/home")
    assert file_system.real_homes(str(tmp_path)) == [str(tmp_path / one) for one in ("var/home", "root", "run/user")]


def test_the_room_of_places_that_need_not_exist(tmp_path):
    first, second = file_system.room(["/a/b", "/proc"], str(tmp_path))
    assert first["path"] == "/a/b" and first["device"] == second["device"] == tmp_path.stat().st_dev
    assert first["free_bytes"] > 0
