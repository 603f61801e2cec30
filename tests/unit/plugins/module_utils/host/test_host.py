# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What host_info reads, from a made-up root directory."""

from __future__ import annotations

import os
import socket

from ansible_collections.gpufleet.ollama.plugins.module_utils.host import listeners, state, systemd

SHOW = """Id=ollama.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
FragmentPath=/etc/systemd/system/ollama.service
DropInPaths=/etc/systemd/system/ollama.service.d/override.conf

Id=ollama@gpu0.service
LoadState=loaded
ActiveState=active
"""


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_units_are_read_from_systemctl_show():
    units = systemd.parse_show(SHOW)
    assert (
        units["ollama.service"]["UnitFileState"] == "enabled"
        and units["ollama@gpu0.service"]["ActiveState"] == "active"
    )
    assert systemd.instance_of("ollama@gpu0-1.service") == "gpu0-1" and systemd.instance_of("ollama.service") is None


def test_the_environment_of_a_unit_is_read_as_systemd_does(tmp_path):
    unit = write(
        tmp_path / "u.service",
        '[Service]\nUser=ollama\nEnvironment="PATH=/bin"\nEnvironment=A=1 "B=two words" C=50%%\n#Environment=X=1\n',
    )
    more = write(tmp_path / "more.env", "# comment\nE='quoted'\nbroken\"\n")
    drop_in = write(tmp_path / "o.conf", '[Service]\nEnvironment="A=2" \\\n  D=4\nEnvironmentFile=-%s\n' % more)
    assert systemd.environment_of([unit, drop_in]) == {
        "PATH": "/bin",
        "A": "2",
        "B": "two words",
        "C": "50%",
        "D": "4",
        "E": "quoted",
    }
    assert systemd.user_of([unit, drop_in]) == "ollama"
    reset = write(tmp_path / "z.conf", "[Service]\nEnvironment=\nEnvironment=F=6\n")
    assert systemd.environment_of([unit, reset]) == {"F": "6"}


def test_an_existing_ollama_is_described(tmp_path):
    unit = write(tmp_path / "ollama.service", "[Service]\nUser=nobody-of-that-name\n")
    drop_in = write(tmp_path / "override.conf", "[Service]\nEnvironment=OLLAMA_MODELS=%s/m\n" % tmp_path)
    found = state.existing(
        {
            "LoadState": "loaded",
            "ActiveState": "active",
            "UnitFileState": "disabled",
            "FragmentPath": unit,
            "DropInPaths": drop_in,
        },
        str(tmp_path / "n"),
    )
    assert (found["active"], found["enabled"], found["store"], found["same_file_system"]) == (
        True,
        False,
        "%s/m" % tmp_path,
        True,
    )
    assert (
        state.existing({"LoadState": "loaded", "FragmentPath": unit}, "/")["store"]
        == "/usr/share/ollama/.ollama/models"
    )
    assert state.existing({"LoadState": "not-found"}, "/") is None and state.existing({}, "/") is None


def test_instances_are_found_by_any_trace(tmp_path):
    write(tmp_path / "etc/ollama-multigpu/instances/gpu0.env")
    write(tmp_path / "etc/systemd/system/multi-user.target.wants/ollama@gpu1.service")
    (tmp_path / "models/instances/gpu2").mkdir(parents=True)
    found = {
        entry["name"]: entry
        for entry in state.instances(systemd.parse_show(SHOW), str(tmp_path / "models"), str(tmp_path))
    }
    assert sorted(found) == ["gpu0", "gpu1", "gpu2"]
    assert found["gpu0"] == {"name": "gpu0", "active": True, "enabled": False, "env_file": True, "store": False}
    assert found["gpu1"]["enabled"] and found["gpu2"]["store"]


def test_a_release_counts_when_its_marker_is_whole(tmp_path):
    base = tmp_path / "usr/local/lib/ollama-multigpu/releases"
    write(base / "0.32.15/.complete", '{"checksum": "abc"}')
    write(base / "0.32.14/.complete", '{"chec')  # cut while it was written
    write(base / ".download/x")
    os.symlink("releases/0.32.15", base.parent / "current")
    found = state.releases(str(tmp_path))
    assert found["complete"] == {"0.32.15": "abc"} and found["current"] == "0.32.15"
    assert [os.path.basename(path) for path in found["leftovers"]] == [".download", "0.32.14"]
    assert state.releases(str(tmp_path / "nowhere")) == {"current": None, "complete": {}, "leftovers": []}


def test_drop_ins_of_our_units_are_found(tmp_path):
    write(tmp_path / "etc/systemd/system/ollama@gpu0.service.d/x.conf")
    write(tmp_path / "run/systemd/system/ollama@.service.d/y.conf")
    write(tmp_path / "etc/systemd/system/ollama.service.d/z.conf")
    assert [entry["unit"] for entry in systemd.drop_ins(str(tmp_path))] == ["ollama@gpu0.service", "ollama@.service"]


def test_the_command_is_ours_only_as_a_link_into_our_directory(tmp_path):
    path = tmp_path / "usr/local/bin/ollama"
    assert state._command(str(tmp_path)) == "absent"
    write(path)
    assert state._command(str(tmp_path)) == "foreign"
    path.unlink()
    os.symlink("/usr/local/lib/ollama-multigpu/current/bin/ollama", path)
    assert state._command(str(tmp_path)) == "ours"


def test_a_listening_socket_is_found_with_its_owner():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        found = [entry for entry in listeners.listeners() if entry["port"] == port]
    assert found == [
        {
            "address": "127.0.0.1",
            "port": port,
            "pid": os.getpid(),
            "process": found[0]["process"],
            "unit": found[0]["unit"],
        }
    ]


def test_an_address_that_the_host_does_not_have():
    assert listeners.can_bind("127.0.0.1") and listeners.can_bind("0.0.0.0") and listeners.can_bind("127.9.9.9")
    for address in ("192.0.2.7", "[2001:db8::7]", "localhost", "300.1.1.1"):
        assert not listeners.can_bind(address), address


def test_brackets_are_no_part_of_an_address():
    assert listeners.can_bind("[::1]") == listeners.can_bind("::1")


def test_stores_that_a_changed_models_directory_leaves_behind(tmp_path):
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
    for before in (None, 7, str(old) + "/", str(tmp_path / "empty")):
        assert state.left_behind(before, str(old)) is None


def test_addresses_of_both_families_are_read():
    assert listeners._address("0100007F") == "127.0.0.1"
    assert listeners._address("00000000000000000000000001000000") == "::1"


def test_the_unit_of_a_process_is_its_innermost_service(tmp_path):
    write(tmp_path / "7/cgroup", "0::/system.slice/system-ollama.slice/ollama@gpu0.service\n")
    write(tmp_path / "8/cgroup", "0::/user.slice/user-0.slice/session-1.scope\n")
    assert listeners.unit_of(7, str(tmp_path)) == "ollama@gpu0.service"
    assert listeners.unit_of(8, str(tmp_path)) is None and listeners.unit_of(9, str(tmp_path)) is None
