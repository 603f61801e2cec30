# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What runs as the server of an instance, observed on this machine and in the doubles of systemd."""

from __future__ import annotations

import os
import sys

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import server_process
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence.shapes import ObservedInstance
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import listeners, proc
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.client import OllamaClient

from tests.unit.plugins.scripted_server import serving


def entry(address, pid, unit="ollama@gpu0.service", port=11434):
    return {"address": address, "port": port, "pid": pid, "process": "x", "unit": unit}


@pytest.mark.parametrize(
    "url, sockets, pid",
    [
        ("http://127.0.0.1:11434", [entry("127.0.0.1", 1)], 1),
        ("http://127.0.0.1:11434", [entry("0.0.0.0", 1, "other.service"), entry("127.0.0.1", 2)], 2),
        ("http://127.0.0.1:11434", [entry("::", 1, "other.service"), entry("0.0.0.0", 2)], 2),
        ("http://[::1]:11434", [entry("0.0.0.0", 1, "other.service"), entry("::", 2)], 2),
        ("http://127.0.0.1:11434", [entry("::", 1, "other.service"), entry("::ffff:0.0.0.0", 2)], 2),
        ("http://[::1]:11434", [entry("::ffff:0.0.0.0", 1, "other.service"), entry("::", 2)], 2),
        ("http://127.0.0.1:11434", [entry("0.0.0.0", 1, "other.service"), entry("::ffff:127.0.0.1", 2)], 2),
        ("http://[::ffff:7f00:1]:11434", [entry("::", 1, "other.service"), entry("127.0.0.1", 2)], 2),
        ("http://10.0.0.7:11434", [entry("127.0.0.1", 1, "other.service"), entry("::ffff:0.0.0.0", 2)], 2),
        ("http://localhost:11434", [entry("127.0.0.1", 1)], 1),
        ("http://127.0.0.1:11434", [entry("127.0.0.1", 1, port=80)], None),
        ("http://127.0.0.1:11434", [], None),
    ],
)
def test_the_socket_that_connections_reach(url, sockets, pid):
    assert (server_process.listener_at(url, sockets) or {}).get("pid") == pid


@pytest.mark.parametrize("entries", [[1, 2], [2, 1]])
def test_of_several_at_one_address_the_one_that_is_not_the_server_counts(entries):
    sockets = [entry("127.0.0.1", pid) for pid in entries]
    assert server_process.listener_at("http://127.0.0.1:11434", sockets, 1)["pid"] == 2
    wildcards = [entry("0.0.0.0", 2, "other.service"), entry("127.0.0.1", 1)]
    assert server_process.listener_at("http://127.0.0.1:11434", wildcards, 1)["pid"] == 1


@pytest.mark.parametrize(
    "command, runs_next",
    [
        ("/opt/bin/ollama serve", False),
        ("OWN/ollama serve", True),
        ("/usr/bin/numactl --interleave=all OWN/ollama serve", True),
        ("/usr/bin/numactl --interleave=all /opt/bin/ollama serve", False),
        ("/usr/bin/env ollama serve", None),
        ("/usr/local/bin/start-ollama serve", None),
        (None, None),
    ],
)
def test_what_the_unit_would_start(tmp_path, command, runs_next):
    """By itself, or by another program whose arguments name it."""
    (tmp_path / "ollama").symlink_to(sys.executable)
    properties = {"MainPID": str(os.getpid())}
    if command:
        command = command.replace("OWN", str(tmp_path))
        properties["ExecStart"] = "{ path=%s ; argv[]=%s ; ignore_errors=no }" % (command.split()[0], command)
    seen = ObservedInstance(unit=properties)
    server_process.read(OllamaClient("http://127.0.0.1:9", 1), {"url": "http://127.0.0.1:9"}, seen, [])
    assert seen.runs_next is runs_next


def test_a_variable_that_no_service_may_have_is_a_difference_also_where_the_unit_sets_it(monkeypatch):
    both = {"GGML_CUDA_ENABLE_UNIFIED_MEMORY": "1", "LLAMA_ARG_CPU_MOE": "1", "PATH": "/bin"}
    monkeypatch.setattr(proc, "environment", lambda pid: both)
    properties = {"FragmentPath": "/unit", "Environment": " ".join("%s=%s" % pair for pair in both.items())}
    found = server_process._differences({"LLAMA_ARG_CPU_MOE": "1"}, 1, properties)
    assert found == [{"name": "GGML_CUDA_ENABLE_UNIFIED_MEMORY", "difference": "refused"}]


def test_this_process_is_found_as_the_server():
    routes = {("GET", "/api/version"): (200, {"version": "0.32.15"})}
    seen = ObservedInstance(unit={"MainPID": str(os.getpid())})
    with serving(routes) as double:
        server_process.read(OllamaClient(double.url), {"url": double.url}, seen, listeners.listeners())
    assert seen.version == "0.32.15" and seen.listener["pid"] == os.getpid()
    assert seen.executable == os.readlink("/proc/self/exe") and seen.differences is not None


def test_a_server_that_says_nothing_and_has_no_process_is_unknown():
    seen = ObservedInstance(unit={})
    server_process.read(OllamaClient("http://127.0.0.1:9", 1), {"url": "http://127.0.0.1:9"}, seen, [])
    assert (seen.version, seen.listener, seen.executable, seen.differences) == (None, None, None, None)


@pytest.mark.parametrize(
    "process, unit, names",
    [
        ("1", "1", []),
        ("0", "1", ["other_than_planned"]),
        ("1", "0", ["next_start"]),
        ("0", "0", ["other_than_planned", "next_start"]),
    ],
)
def test_plan_process_and_next_start_have_one_environment(monkeypatch, process, unit, names):
    monkeypatch.setattr(proc, "environment", lambda pid: {"OLLAMA_SCHED_SPREAD": process, "PATH": "/bin"})
    properties = {"FragmentPath": "/unit", "Environment": "OLLAMA_SCHED_SPREAD=%s PATH=/usr/bin" % unit}
    found = server_process._differences({"OLLAMA_SCHED_SPREAD": "1"}, 1, properties)
    assert [one["difference"] for one in found] == names


def test_the_digests_of_a_store():
    routes = {("GET", "/api/tags"): (200, {"models": [{"name": "A:latest", "digest": "1"}, {"name": "b:latest"}]})}
    with serving(routes) as double:
        assert server_process.digests(OllamaClient(double.url)) == {server_process.key_of("a"): "1"}
    assert server_process.digests(OllamaClient("http://127.0.0.1:9", 1)) == {}


def test_the_digests_of_aliases():
    model = {"aliases": ["Chat", "code:1"]}
    assert server_process.alias_digests(model, {"x": "1", server_process.key_of("chat"): "2"}) == {
        "Chat:latest": "2",
        "code:1": None,
    }
    assert server_process.alias_digests(model, {}) is None and server_process.alias_digests({}, {}) == {}
