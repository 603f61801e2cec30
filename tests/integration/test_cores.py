# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Runs the site playbook with the oldest supported ansible-core and with the newest that the installed Pythons support,
from the archive alone: in an environment that has nothing but ansible-core and the two libraries of the collection.

All other tests run with the newest one; alone it is tried by make test-full.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys

import pytest

from tests.integration.acceptance import SET
from tests.integration.support import CHECKOUT, environment, run
from tests.setup.environment import interpreters, virtual_environment

#: Last release of each supported ansible-core, oldest first, and the Pythons that can be its controller.
CORES = {
    "2.17.14": ("3.12", "3.11", "3.10"),
    "2.18.19": ("3.13", "3.12", "3.11"),
    "2.19.14": ("3.13", "3.12", "3.11"),
    "2.20.10": ("3.14", "3.13", "3.12"),
    "2.21.5": ("3.13", "3.14", "3.12"),
}
LIBRARIES = ["requests==2.34.2", "nvidia-ml-py==13.615.71"]
RIG = [sys.executable, "-m", "tests.rig", "--set", SET]
VARIABLES = {
    "ollama_multigpu_registry": "{{ rig_registry }}",
    "ollama_multigpu_release_url": "{{ rig_release_url }}",
    "ollama_multigpu_release_checksum": "{{ rig_checksum }}",
    "ollama_multigpu_models": [{"name": "tiny", "insecure": True, "strategy": "replicate", "optimized": {}}],
}


def possible():
    """[(core, Python path)] of the versions of ansible-core that an installed Python supports, oldest first."""
    found = interpreters()
    pairs = [
        (core, next((found[version] for version in versions if version in found), None))
        for core, versions in CORES.items()
    ]
    return [(core, python) for core, python in pairs if python]


def test_no_core_is_left_out_silently():
    oldest, newest = next(iter(CORES)), list(CORES)[-1]
    cores = [core for core, python in possible()]
    left_out = [
        "%s (needs Python %s)" % (core, ", ".join(reversed(CORES[core])))
        for core in (oldest, newest)
        if core not in cores
    ]
    assert cores, "no Python of this machine takes a supported ansible-core"
    if left_out:
        pytest.skip(
            "not converged on ansible-core %s; converged on %s and %s instead"
            % (" and ".join(left_out), cores[0], cores[-1])
        )


@pytest.mark.hosts
@pytest.mark.parametrize("which", ["oldest", pytest.param("newest", marks=pytest.mark.full)])
def test_converge(which, archive, podman_hosts, tmp_path):
    core, python = possible()[0 if which == "oldest" else -1]
    home = virtual_environment("core-" + core, python, ["ansible-core==" + core] + LIBRARIES, constraints=None)
    programs = home / "bin"
    from tests.rig.hosts.ansible import collections as rig_collections

    run(
        [programs / "ansible-galaxy", "collection", "install", "--offline", "-p", tmp_path, archive],
        cwd=tmp_path,
        env=environment(tmp_path),
    )
    try:
        run(RIG + ["up", "--hosts", "c=2x4090"], cwd=CHECKOUT)
        run(RIG + ["serve"], cwd=CHECKOUT)
        inventory = pathlib.Path(run(RIG + ["inventory"], cwd=CHECKOUT).strip().splitlines()[-1])
        variables = tmp_path / "variables.json"
        variables.write_text(json.dumps(VARIABLES), encoding="utf-8")
        env = environment([tmp_path, rig_collections(say=lambda text: None)])
        env["PATH"] = "%s:%s" % (programs, env["PATH"])
        version = run([programs / "ansible", "--version"], cwd=tmp_path, env=env)
        assert "[core %s]" % core in version
        command = [programs / "ansible-playbook", "-i", inventory, "-e", "@%s" % variables, "gpufleet.ollama.site"]
        first = run(command, cwd=tmp_path, env=env)
        assert re.search(r"^c\s+: ok=\d+\s+changed=[1-9]\d*\s+unreachable=0\s+failed=0", first, re.MULTILINE), first
        second = run(command, cwd=tmp_path, env=env)
        assert re.search(r"^c\s+: ok=\d+\s+changed=0\s+unreachable=0\s+failed=0", second, re.MULTILINE), second
        print("converged and idempotent on ansible-core %s with %s" % (core, python))
    finally:
        run(RIG + ["down"], cwd=CHECKOUT)
