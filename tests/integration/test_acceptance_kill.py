# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A run that is killed at any moment leaves a host that the next run completes and verifies.

KILLS=10 kills ten runs, each on a host of its own. KILL_SEED=number repeats the moments of an earlier session.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import fleet

pytestmark = pytest.mark.hosts

#: Tasks that a first run begins, about; a kill comes up to JITTER seconds after one of them.
TASKS = 55
JITTER = 2.0
SEED = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(10**6))
HOSTS = ["k%d" % number for number in range(int(os.environ.get("KILLS") or 1))]
LEFTOVERS = "find / -xdev ( -name *-partial* -o -name *.adopted -o -name .ansible_tmp* )"


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-kill"))
    fleet.up(SET, dict.fromkeys(HOSTS, "rtx-4090-x2"), say=lambda text: None)
    fleet.serve(SET, say=lambda text: None)
    model = {"name": "tiny", "insecure": True, "optimized": {"parameters": {"temperature": 0.5}}}
    site.inventory({host: {} for host in HOSTS}, ollama_multigpu_models=[model])
    yield site
    fleet.down(SET)


def run_and_kill(site, host, after, jitter):
    """Start the site playbook for one host and kill it with all its children, `jitter` seconds after task number
    `after` began.

    Returns: The output line that begins this task, or None if the run ended before.
    """
    process = subprocess.Popen(
        site.command("site", "--limit", host),
        cwd=site.scratch,
        env=dict(site.environment(), PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        begun = 0
        for line in process.stdout:
            begun += line.startswith(("TASK [", "RUNNING HANDLER ["))
            if begun >= after:
                time.sleep(jitter)
                return None if process.poll() is not None else line.strip()
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


def test_the_next_run_completes_and_verifies(site):
    chance = random.Random(SEED)
    for host in HOSTS:
        after, jitter = chance.randint(1, TASKS), chance.uniform(0, JITTER)
        moment = run_and_kill(site, host, after, jitter)
        print("KILL_SEED=%d, %s: killed %.1f s after %s" % (SEED, host, jitter, moment or "its end"))
    first = site.play("site")
    assert first.output.count("Verdict: pass") == len(HOSTS)
    for host in HOSTS:
        # Nothing of the first attempt is left over, and what runs is what the next run has put there.
        assert on(host, "ls", "-A", "/usr/local/lib/ollama-multigpu/releases").split() == ["0.32.15"], host
        assert on(host, *LEFTOVERS.split()) == "", host
        for asked, answer in (("is-active", "active"), ("is-enabled", "enabled")):
            assert on(host, "systemctl", asked, "ollama@gpu0.service", "ollama@gpu1.service").split() == [answer] * 2, (
                host
            )
    second = site.play("site")
    assert {host: second.counts[host]["changed"] for host in HOSTS} == dict.fromkeys(HOSTS, 0)
    assert second.output.count("Verdict: pass") == len(HOSTS)
