# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The Ollama programs of a host."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.host.programs import ollama_programs


def put(root, path):
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("", encoding="ascii")
    return place


def test_two_installations_and_a_link(tmp_path):
    put(tmp_path, "usr/local/bin/ollama")
    put(tmp_path, "usr/local/lib/ollama/llama-server")
    put(tmp_path, "usr/bin/ollama")
    (tmp_path / "bin").symlink_to("usr/bin")
    found = ollama_programs(root=str(tmp_path))
    assert [(one["real"], one["libraries"], one["entries"]) for one in found] == [
        ("/usr/bin/ollama", None, []),
        ("/usr/local/bin/ollama", "/usr/local/lib/ollama", ["llama-server"]),
    ]


def test_a_program_that_runs_from_elsewhere(tmp_path):
    put(tmp_path, "home/me/ollama")
    assert [one["real"] for one in ollama_programs(["/home/me/ollama", "/gone/ollama"], str(tmp_path))] == [
        "/home/me/ollama"
    ]
