# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""host_info and libraries as modules: results, check mode, errors. What they call has tests of its own."""

from __future__ import annotations

import os
import zipfile

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import library_directory
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.openings import Opening, Place
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import firewall_managers, managed
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import listing
from ansible_collections.gpufleet.ollama.plugins.modules import libraries

from tests.unit.plugins.module_utils.ollama.test_listing import put
from tests.unit.plugins.modules.run_module import run_module


@pytest.fixture
def bare(monkeypatch):
    """A host whose interpreter has neither library."""
    monkeypatch.setattr(libraries, "place_of", lambda name, directories: None)


@pytest.fixture
def copies(tmp_path):
    """Arguments as the action plugin fills them in: an archive with one library, and its digest."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "pynvml.py").write_text("VERSION = 1\n", encoding="ascii")
    archive = tmp_path / "libraries.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.write(source / "pynvml.py", "pynvml.py")
    digest = library_directory.digest(str(source), "nvidia-ml-py")
    return {
        "path": str(tmp_path / "ours" / "python"),
        "names": ["nvidia-ml-py"],
        "archive": str(archive),
        "copies": {"nvidia-ml-py": {"version": "1", "digest": digest}},
    }


def test_libraries_are_put_down_once(bare, copies):
    planned = run_module("libraries", copies, check=True)
    assert planned["changed"] and planned["needed"] == ["nvidia-ml-py"] and not os.path.exists(copies["path"])
    done = run_module("libraries", copies)
    assert done["changed"] and done["diff"] == planned["diff"]
    assert os.path.isfile(os.path.join(copies["path"], "pynvml.py"))
    again = run_module("libraries", copies)
    assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]


def test_the_hosts_own_library_is_left_in_charge(copies):
    done = run_module("libraries", copies)  # this interpreter has nvidia-ml-py
    assert (
        not done["changed"]
        and done["found"]["nvidia-ml-py"].endswith("pynvml.py")
        and not os.path.exists(copies["path"])
    )


def test_libraries_are_taken_away(bare, copies):
    run_module("libraries", copies)
    gone = {"path": copies["path"], "state": "absent"}
    assert run_module("libraries", gone, check=True)["changed"] and os.path.exists(copies["path"])
    assert run_module("libraries", gone)["changed"] and not os.path.exists(copies["path"])
    assert not run_module("libraries", gone)["changed"]


def test_a_place_that_cannot_be_written_is_one_sentence(bare, copies, tmp_path):
    (tmp_path / "file").write_text("", encoding="ascii")
    failed = run_module("libraries", dict(copies, path=str(tmp_path / "file" / "python")))
    assert failed["failed"] and str(tmp_path / "file") in failed["msg"] and "become" in failed["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_host_info_reads_and_changes_nothing(check, tmp_path):
    result = run_module("host_info", {"models_dir": str(tmp_path / "models")}, check=check)
    assert not result.get("changed")
    assert result["host"]["architecture"] and isinstance(result["host"]["zstd"], bool)
    assert not (tmp_path / "models").exists()


def test_host_info_lists_the_models_of_the_stores(tmp_path, monkeypatch):
    monkeypatch.setattr(managed, "stores", lambda models_dir, root="/": ["gpu0"])  # this machine has no service user
    monkeypatch.setattr(listing, "_service_uid", os.geteuid)
    tmp_path.chmod(0o755)  # another store than an instance's is read as the service user
    digest = put(tmp_path / "instances" / "gpu0")
    stores = run_module("host_info", {"models_dir": str(tmp_path)})["host"]["stores"]
    assert stores[str(tmp_path / "instances" / "gpu0")] == {
        "same_file_system": True,
        "models": [{"name": "tiny:latest", "digest": digest, "size_bytes": 7}],
        "owned": True,
        "problems": [],
        "notes": [],
        "leftovers": [],
        "begun_bytes": 0,
    }


def test_host_info_says_whether_an_address_can_be_listened_on():
    found = [
        run_module("host_info", arguments)["host"]["address_available"]
        for arguments in ({"address": "127.0.0.1"}, {"address": "192.0.2.7"}, {})
    ]
    assert found == [True, False, None]


def test_host_info_says_which_rules_the_listed_networks_have(monkeypatch):
    held = (Opening("192.0.2.0/24", "1"), Opening("192.0.2.7", "1"))
    monkeypatch.setattr(firewall_managers, "places", lambda units, root: ([Place("ufw", held=held)], None))
    listed = {"allow_from": ["192.0.2.0/25", "192.0.2.128/25", "nonsense"]}
    found = [run_module("host_info", one)["host"]["firewall"]["places"][0]["held"] for one in (listed, {})]
    assert found == [[{"network": "192.0.2.0/24", "ports": "1"}], []]


def test_host_info_refuses_an_unknown_option():
    assert "models_dri" in run_module("host_info", {"models_dri": "/x"})["msg"]
