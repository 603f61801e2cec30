# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Changes of the files of a host between two moments.

Stricter than podman diff, which does not notice a second change of a changed file.
"""

from __future__ import annotations

import json
import pathlib

from tests.rig.hosts.podman import podman

#: What a run in check mode may touch: Ansible's temporary directories, the journal, /run, systemd's and sudo's own
#: state; and what the host itself writes every ten minutes, the verdict of its check.
NOISE = (
    "/home/rig/.ansible",
    "/root/.ansible",
    "/var/log/journal",
    "/run",
    "/var/lib/systemd",
    "/var/lib/sudo",
    "/var/lib/ollama-multigpu/verdict.json",
)
_WALK = pathlib.Path(__file__).parent / "files" / "walk.py"


def snapshot(container: str) -> dict[str, str]:
    """{path: fingerprint} of all files of the host except NOISE: mode, owner, size, time of change."""
    done = podman("exec", "-i", container, "python3", "-", *NOISE, stdin=_WALK.read_bytes(), timeout=600)
    return json.loads(done.stdout)


def compare(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """One line per difference: 'A path' added, 'D path' deleted, 'C path: before -> after' changed.

    Empty = nothing happened.
    """
    lines = [f"A {path}" for path in after.keys() - before.keys()]
    lines += [f"D {path}" for path in before.keys() - after.keys()]
    lines += [
        f"C {path}: {before[path]} -> {after[path]}"
        for path in before.keys() & after.keys()
        if before[path] != after[path]
    ]
    return sorted(lines, key=lambda line: line[2:])
