# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The host's memory, read from a made-up /proc and from this machine's."""

from __future__ import annotations

import dataclasses

from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu import host_memory


def process(root, pid, unit, anonymous_kib, shared_kib=0, mapped_kib=0):
    """A process of a unit with so much memory."""
    folder = root / str(pid)
    folder.mkdir()
    (folder / "cgroup").write_text("0::/system.slice/%s\n" % unit)
    (folder / "status").write_text(
        "Name:\tx\nRssAnon:\t%d kB\nRssFile:\t%d kB\nRssShmem:\t%d kB\n" % (anonymous_kib, mapped_kib, shared_kib)
    )


def test_memory_and_the_units_that_hold_it(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n")
    process(tmp_path, 1, "init.scope", 1000)
    process(tmp_path, 20, "ollama@cpu.service", 100000, 50000, mapped_kib=9000000)
    process(tmp_path, 21, "ollama@cpu.service", 10000)
    process(tmp_path, 22, "db.service", 200000)
    (tmp_path / "30").mkdir()  # a process that ended
    found = dataclasses.asdict(host_memory.read(str(tmp_path)))
    assert found == {
        "total_bytes": 1000 * 1024,
        "available_bytes": 400 * 1024,
        "swap_total_bytes": 50 * 1024,
        "swap_free_bytes": 20 * 1024,
        "units": [
            {"unit": "db.service", "used_bytes": 200000 * 1024, "engines": 0},
            {"unit": "ollama@cpu.service", "used_bytes": 160000 * 1024, "engines": 0},
        ],
    }, "what is mapped from files is available to others"


def test_the_engines_of_a_unit_are_counted_and_a_unit_with_one_is_always_listed(tmp_path):
    for pid, words, size in ((20, ["ollama", "serve"], 100), (21, ["llama-server", "--model", "/m"], 200)):
        process(tmp_path, pid, "ollama@gpu0.service", size)
        (tmp_path / str(pid) / "cmdline").write_text("\0".join(words) + "\0")
    process(tmp_path, 22, "idle.service", 300)
    (found,) = host_memory.read(str(tmp_path)).units
    assert (found.unit, found.used_bytes, found.engines) == ("ollama@gpu0.service", 300 * 1024, 1)


def test_what_cannot_be_read_is_unknown(tmp_path):
    assert host_memory.read(str(tmp_path)).total_bytes is None


def test_this_machine_can_be_read():
    assert 0 < host_memory.read().available_bytes < host_memory.read().total_bytes
