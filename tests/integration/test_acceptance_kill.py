# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A controller that is killed at any moment leaves a host that the next run completes and verifies.

KILLS=10 kills ten times, each time on a fresh host; KILL_SEED=number repeats the moments of an earlier session.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import fleet

pytestmark = pytest.mark.hosts

#: Lines that begin a task in the output of a first run; a kill comes up to JITTER seconds after one of them.
TASKS = 45
JITTER = 2.0
SEED = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(10 ** 6))


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-kill"))
    fleet.up(SET, {"k": "rtx-4090-x2"}, say=lambda text: None)
    fleet.serve(SET, say=lambda text: None)
    model = {"name": "tiny", "insecure": True, "optimized": {"parameters": {"temperature": 0.5}}}
    site.inventory({"k": {}}, ollama_multigpu_models=[model])
    yield site
    fleet.down(SET)


def run_and_kill(site, after, jitter):
    """Start the site playbook and kill it, with all its children, `jitter` seconds after it has begun its task number `after`; return that task's name.

    None when it came to its end before.
    """
    process = subprocess.Popen(site.command("site"), cwd=site.scratch, env=dict(site.environment(), PYTHONUNBUFFERED="1"), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        begun = 0
        for line in process.stdout:
            begun += line.startswith(("TASK [", "RUNNING HANDLER ["))
            if begun >= after:
                time.sleep(jitter)
                return None if process.poll() is not None else line.strip()
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


@pytest.mark.parametrize("number", range(int(os.environ.get("KILLS") or 1)))
def test_the_next_run_completes_and_verifies(site, number):
    if number:
        fleet.up(SET, {"k": "rtx-4090-x2"}, say=lambda text: None)
    chance = random.Random(SEED + number)
    after, jitter = chance.randint(1, TASKS), chance.uniform(0, JITTER)
    moment = run_and_kill(site, after, jitter)
    print("KILL_SEED=%d, kill %d: %.1f s after %s" % (SEED, number, jitter, moment or "the end"))
    first = site.play("site")
    assert "Verdict: pass" in first.output
    # Nothing of the first attempt is left over: no half release, no half download, and services that run what is there.
    assert on("k", "sh", "-c", "ls -A /usr/local/lib/ollama-multigpu/releases").split() == ["0.32.15"]
    assert on("k", "sh", "-c", "find / -xdev -name '*-partial*' -o -xdev -name '*.adopted' -o -xdev -name '.ansible_tmp*'").split() == []
    assert on("k", "systemctl", "is-active", "ollama@gpu0.service", "ollama@gpu1.service").split() == ["active", "active"]
    assert on("k", "systemctl", "is-enabled", "ollama@gpu0.service", "ollama@gpu1.service").split() == ["enabled", "enabled"]
    if number == 0:
        second = site.play("site")
        assert second.counts["k"]["changed"] == 0 and "Verdict: pass" in second.output
