# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Processes and their control groups, read from made-up trees and from this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host import proc


@pytest.mark.parametrize(
    "text, unit",
    [
        ("0::/system.slice/system-ollama.slice/ollama@gpu0-1.service\n", "ollama@gpu0-1.service"),
        ("12:cpu:/\n1:name=systemd:/system.slice/ollama.service\n0::/\n", "ollama.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/mine.service\n", "mine.service"),
        ("0::/system.slice/docker-0123.scope\n", "docker-0123.scope"),
        ("0::/init.scope/../system.slice/ollama@cpu.service/engine\n", "ollama@cpu.service"),
        ("0::/\n", None),
        ("", None),
        ("4:memory:/system.slice/ollama.service\n", None),
    ],
)
def test_the_unit_of_a_control_group(text, unit):
    assert proc.unit_of_cgroup(text) == unit


def test_a_process(tmp_path):
    directory = tmp_path / "42"
    directory.mkdir()
    (directory / "comm").write_text("llama-server\n")
    (directory / "cgroup").write_text("0::/system.slice/ollama.service\n")
    (directory / "environ").write_bytes(b"A=1\0B=x=y z\0BROKEN\0C=\0")
    (directory / "cmdline").write_bytes(b"/bin/x\0--model\0a b\0")
    root = str(tmp_path)
    assert proc.name(42, root) == "llama-server"
    assert proc.environment(42, root) == {"A": "1", "B": "x=y z", "C": ""}
    assert proc.arguments(42, root) == ["/bin/x", "--model", "a b"]
    assert proc.unit_processes("ollama.service", root) == [42]
    assert proc.unit_processes("other.service", root) == []
    for function in (proc.name, proc.environment, proc.unit_of, proc.executable):
        assert function(43, root) is None


def test_the_files_that_a_process_has_mapped(tmp_path):
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "maps").write_text(
        "7f00-7f10 r--p 00000000 fe:01 17   /m/blobs/sha256-1\n"
        "7f10-7f20 r--p 00010000 fe:01 17   /m/blobs/sha256-1\n"
        "7f20-7f30 r-xp 00000000 fe:01 18   /opt/a b/libggml.so (deleted)\n"
        "7f30-7f40 rw-p 00000000 00:00 0 \n"
        "7f40-7f50 rw-p 00000000 00:00 0    [heap]\n"
    )
    assert proc.mapped_files(42, str(tmp_path)) == ["/m/blobs/sha256-1", "/opt/a b/libggml.so (deleted)"]
    assert proc.mapped_files(43, str(tmp_path)) is None
    assert os.path.realpath(sys.executable) in proc.mapped_files(os.getpid())


def test_this_process_can_be_read():
    assert proc.name(os.getpid())
    assert proc.executable(os.getpid())
    assert os.getpid() in proc.pids()


def test_a_session_is_a_unit_too(tmp_path):
    (tmp_path / "8").mkdir()
    (tmp_path / "8/cgroup").write_text("0::/user.slice/user-0.slice/session-1.scope\n")
    assert proc.unit_of(8, str(tmp_path)) == "session-1.scope" and proc.unit_of(9, str(tmp_path)) is None


def test_a_process_is_known_by_its_start(tmp_path):
    start = proc.started(os.getpid())
    assert proc.is_alive(os.getpid(), start) and not proc.is_alive(os.getpid(), start + 1)
    assert abs(proc.process_start(os.getpid()) - time.time()) < 24 * 3600
    rest = " ".join(str(field) for field in range(4, 52))
    for number, stat, start in ((1, "1 (a) b) S " + rest, 22), (2, "2 (x) Z " + rest, None), (4, "4 (x)", None)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "stat").write_text(stat)
        assert proc.started(number, str(tmp_path)) == start
    assert proc.started(3, str(tmp_path)) is None and proc.process_start(3, str(tmp_path)) is None


def test_activity_follows_what_the_units_processes_read_and_hold(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text("0::/system.slice/ollama.service\n")
    (tmp_path / "7/io").write_text("rchar: 10\nwchar: 99\nread_bytes: 5\n")
    (tmp_path / "7/status").write_text("Name:\tx\nVmRSS:\t  100 kB\n")
    assert proc.activity("ollama.service", str(tmp_path)) == 115
    assert proc.activity("other.service", str(tmp_path)) == 0


def test_what_a_process_reads_is_known_where_it_may_be_looked_at(tmp_path):
    for pid, io in (("7", "rchar: 10\nwchar: 99\nread_bytes: 5\n"), ("8", None), ("9", "")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "status").write_text("Name:\tx\nVmRSS:\t  100 kB\nRssFile:\t  3 kB\n")
        if io is not None:
            (tmp_path / pid / "io").write_text(io)
    assert proc.reading(7, str(tmp_path)) == proc.Reading(read_bytes=10, disk_bytes=5, mapped_bytes=3072)
    assert [proc.reading(pid, str(tmp_path)) for pid in (8, 9, 10)] == [None, None, None]
    own = proc.reading(os.getpid())
    assert own is not None and own.read_bytes > 0 and own.mapped_bytes > 0


def test_the_processes_of_units_and_what_they_hold_outside_of_files(tmp_path):
    for pid, unit, status in (
        (1, "a.service", "RssAnon:\t10 kB\nRssFile:\t999 kB\nRssShmem:\t5 kB\n"),
        (2, "a.service", "RssAnon:\t1 kB\n"),
        (3, "b.service", ""),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text("0::/system.slice/%s\n" % unit)
        (tmp_path / str(pid) / "status").write_text(status)
    assert proc.processes_of_units(str(tmp_path)) == {"a.service": [1, 2], "b.service": [3]}
    assert [proc.held_bytes(pid, str(tmp_path)) for pid in (1, 2, 3, 9)] == [15 * 1024, 1024, 0, 0]


def test_a_process_that_a_signal_has_stopped():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            assert not proc.is_stopped(child.pid)
            child.send_signal(signal.SIGSTOP)
            os.waitpid(child.pid, os.WUNTRACED)
            assert proc.is_stopped(child.pid)
        finally:
            child.kill()
    assert not proc.is_stopped(child.pid)
