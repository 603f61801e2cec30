# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The state of a host, from a made-up root directory."""

from __future__ import annotations

import os
import pwd

from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import state, systemd

from tests.unit.plugins.module_utils.host.builders import SHOW, write


def test_what_is_read_of_a_host_is_shown_without_secrets():
    environment = {"OLLAMA_DEBUG": "1", "A_TOKEN": "MARK", "HTTPS_PROXY": "http://u:MARK@h"}
    hidden = {"OLLAMA_DEBUG": "1", "A_TOKEN": "(hidden)", "HTTPS_PROXY": "(hidden)"}
    found = {
        "applied_plan": {"instances": [{"environment": environment}]},
        "adopted": {"environment": environment, "unit": "x"},
        "existing": {"environment": environment},
        "instances": [{"name": "gpu0", "plan": {"instances": [{"environment": environment}]}}],
        "groups": [],
    }
    shown = state.shown_state(found)
    assert shown == {
        "applied_plan": {"instances": [{"environment": hidden}]},
        "adopted": {"environment": hidden, "unit": "x"},
        "existing": {"environment": hidden},
        "instances": [{"name": "gpu0", "plan": {"instances": [{"environment": hidden}]}}],
        "groups": [],
        "secret_variables": ["A_TOKEN", "HTTPS_PROXY"],
    }
    secret = {"A_TOKEN": "MARK", "HTTPS_PROXY": "http://u:MARK@h"}
    assert state.secret_variables(found) == secret
    # What was recorded wins, as in changes/inputs.py.
    assert state.secret_variables(dict(found, adopted={"environment": {"B_KEY": "x"}})) == {"B_KEY": "x"}
    assert state.secret_variables(dict(found, adopted={})) == secret
    nothing = {"applied_plan": {}, "adopted": {"environment": "damaged"}, "existing": None, "instances": []}
    assert state.shown_state(nothing) == dict(nothing, secret_variables=[])


def test_an_existing_ollama_is_described(tmp_path):
    unit = "/etc/systemd/system/ollama.service"
    found = state.existing(
        {
            "LoadState": "loaded",
            "ActiveState": "active",
            "UnitFileState": "disabled",
            "FragmentPath": unit,
            "DropInPaths": "/a.conf /b.conf",
            "Environment": "OLLAMA_MODELS=%s/m" % tmp_path,
        }
    )
    assert found["drop_ins"] == ["/a.conf", "/b.conf"]
    assert (found["active"], found["enabled"], found["store"]) == (True, False, "%s/m" % tmp_path)
    assert (
        state.existing({"LoadState": "loaded", "FragmentPath": unit, "User": "nobody-of-that-name"})["store"]
        == "/usr/share/ollama/.ollama/models"
    )
    assert state.existing({"LoadState": "not-found"}) is None and state.existing({}) is None


def test_instances_are_found_by_any_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "USER", pwd.getpwuid(os.geteuid()).pw_name)
    write(tmp_path / "etc/ollama-multigpu/instances/gpu0.env")
    write(tmp_path / "etc/ollama-multigpu/instances/gpu3.json", '{"instances": []}')
    write(tmp_path / "etc/systemd/system/multi-user.target.wants/ollama@gpu1.service")
    (tmp_path / "models/instances/gpu2").mkdir(parents=True)
    links = tmp_path / "usr/local/lib/ollama-multigpu/instances"
    links.mkdir(parents=True)
    (links / "gpu3").symlink_to("../releases/0.32.15")
    write(links / "gpu4")
    found = {entry["name"]: entry for entry in state.instances(systemd.parse_show(SHOW), "/models", str(tmp_path))}
    assert sorted(found) == ["gpu0", "gpu1", "gpu2", "gpu3"]
    traces = {"active": True, "enabled": False, "env_file": True, "release": None, "store": False, "plan": {}}
    assert found["gpu0"] == dict(traces, name="gpu0") and found["gpu3"]["release"] == "0.32.15"
    assert found["gpu3"]["plan"] == {"instances": []}
    assert found["gpu1"]["enabled"] and found["gpu2"]["store"]


def test_directories_of_others_are_no_stores(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "USER", pwd.getpwuid(os.geteuid()).pw_name)
    (tmp_path / "models/instances").mkdir(parents=True)
    (tmp_path / "home/alice").mkdir(parents=True)
    (tmp_path / "models/instances/gpu0").symlink_to(tmp_path / "home")
    write(tmp_path / "models/instances/gpu1")
    assert state.instances({}, "/models", str(tmp_path)) == []
    os.rename(tmp_path / "models/instances", tmp_path / "models/others")
    (tmp_path / "models/instances").symlink_to("../home")
    assert state.instances({}, "/models", str(tmp_path)) == []
    monkeypatch.setattr(paths, "USER", "nobody")
    (tmp_path / "models/instances").unlink()
    (tmp_path / "models/instances/gpu2").mkdir(parents=True)
    assert state.instances({}, "/models", str(tmp_path)) == []


def test_a_release_counts_when_its_marker_is_whole(tmp_path):
    base = tmp_path / "usr/local/lib/ollama-multigpu/releases"
    write(base / "0.32.15/.complete", '{"checksum": "abc"}')
    write(base / "0.32.14/.complete", '{"chec')  # cut while it was written
    write(base / ".download/x")
    os.symlink("releases/0.32.15", base.parent / "current")
    found = state.releases(str(tmp_path))
    assert found["complete"] == {"0.32.15": "abc"} and found["current"] == "0.32.15"
    assert [os.path.basename(path) for path in found["leftovers"]] == [".download", "0.32.14"]
    assert found["sizes"] == {"0.32.15": len('{"checksum": "abc"}')}
    nothing = {"current": None, "complete": {}, "sizes": {}, "leftovers": []}
    assert state.releases(str(tmp_path / "nowhere")) == nothing


def test_the_command_is_ours_only_as_a_link_into_our_directory(tmp_path):
    path = tmp_path / "usr/local/bin/ollama"
    assert state._command(str(tmp_path)) == "absent"
    write(path)
    assert state._command(str(tmp_path)) == "foreign"
    path.unlink()
    os.symlink("/usr/local/lib/ollama-multigpu/current/bin/ollama", path)
    assert state._command(str(tmp_path)) == "ours"


def test_stores_that_a_changed_models_directory_leaves_behind(tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "new"
    blob = write(old / "instances" / "gpu0" / "blobs" / "sha256-a", "12345")
    (old / "instances" / "gpu1" / "blobs").mkdir(parents=True)
    os.link(blob, str(old / "instances" / "gpu1" / "blobs" / "sha256-a"))
    stores = [str(old / "instances" / name) for name in ("gpu0", "gpu1")]
    assert state.left_behind(str(old), str(new)) == {
        "path": str(old / "instances"),
        "size_bytes": 5,
        "stores": stores,
        "same_file_system": True,
    }
    assert not state.left_behind(str(old), "/proc/none")["same_file_system"]
    outside = write(tmp_path / "outside" / "file", "1234567")
    (old / "instances" / "gpu0" / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(old / "instances" / "gpu0" / "pipe")
    assert state.left_behind(str(old), str(new))["size_bytes"] == 5 and outside
    monkeypatch.setattr(state, "_MOST_ENTRIES", 1)
    assert state.left_behind(str(old), str(new))["size_bytes"] == 0
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "instances").symlink_to(old / "instances")
    for before in (None, 7, str(old) + "/", str(tmp_path / "empty"), str(tmp_path / "linked")):
        assert state.left_behind(before, str(old)) is None


def test_stores_that_may_hold_models():
    found = {
        "instances": [{"name": "gpu0", "store": True}, {"name": "gpu1", "store": False}],
        "left_behind": {"stores": ["/old/instances/gpu0"]},
        "existing": {"store": "/home/models"},
        "adopted": {"store": "/adopted"},
        "files": {"/m/fetch": {"kind": "directory", "owner": "ollama"}},
    }
    stores = ["/m/instances/gpu0", "/m/fetch", "/old/instances/gpu0", "/home/models", "/adopted"]
    assert state.model_stores(found, "/m") == stores
    # Of another owner it is none of ours.
    found["files"]["/m/fetch"]["owner"] = "mallory"
    assert "/m/fetch" not in state.model_stores(found, "/m")
    nothing = {"instances": [], "left_behind": None, "existing": None, "adopted": {"store": 7}, "files": {}}
    assert state.model_stores(nothing, "/m") == []


def test_the_directory_of_the_metrics_is_that_of_the_applied_variables(tmp_path):
    root, settings = str(tmp_path), tmp_path / paths.METRICS_SETTINGS.lstrip("/")
    assert state.metrics_directory_before(root) == ""
    for content, directory in (
        ('{"directory": "/srv/metrics"}', "/srv/metrics"),
        ('{"directory": "/etc"}', ""),
        ('{"directory": 3}', ""),
        ("{", ""),
    ):
        write(settings, content)
        assert state.metrics_directory_before(root) == directory, content
    write(settings, '{"directory": "/srv/metrics"}')
    found = state.host_state("/models", root=root, metrics_directory="/srv/new/")
    assert found["metrics_directory"] == "/srv/metrics"
    assert {"/srv/metrics", "/srv/new", "/srv/new/ollama_multigpu.prom"} <= set(found["files"])
