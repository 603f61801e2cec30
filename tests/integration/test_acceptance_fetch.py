# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Models are fetched while what was there before serves; a download that is interrupted goes on where it stopped."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.integration.acceptance import SET, STORE, Site, gpu, on, requests
from tests.integration.asking import asking
from tests.rig.hosts import fleet
from tests.rig.models import store
from tests.rig.registry import background
from tests.rig.waiting import wait_until
from tests.session import FULL

pytestmark = pytest.mark.hosts

TINY = {"name": "tiny", "insecure": True, "strategy": "single", "optimized": {}}
SMALL = {"name": "small", "insecure": True, "strategy": "single", "optimized": {}}
UNITS = ("ollama@gpu0.service", "ollama-fetch.service")
#: Bytes per second of a slow line.
RATE = 4_000_000
SIZE = max(blob.size for blob in store.blobs("small"))
#: What is fetched again at most after an interruption: the end of a part, which is in doubt, and what was on its way.
SLACK = 4 * 1024 * 1024


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    """A host that serves tiny on its first GPU."""
    site = Site(collections, tmp_path_factory.mktemp("acceptance-fetch"))
    fleet.up(SET, {"a": "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory({"a": {}}, ollama_multigpu_models=[TINY])
        site.play("site")
        site.inventory({"a": {}}, ollama_multigpu_models=[TINY, SMALL])
        yield site
    finally:
        fleet.down(SET)


@pytest.fixture(name="faults")
def _faults(site):
    """Function that adds a fault of the registry to the answers about small."""
    server = fleet.require_server(SET)
    yield lambda **fault: background.control(server, "POST", "faults", dict(fault, target="library/small"))
    background.control(server, "DELETE", "faults")


def fetched() -> int:
    """Bytes of files that the registry has sent since its log was cleared."""
    serving = background.control(fleet.require_server(SET), "GET", "serving")
    return sum(request["bytes"] for request in requests() + serving if request["kind"] == "data")


def begun(site, more: int) -> subprocess.Popen:
    """A run that has fetched this many bytes more."""
    before = fetched()
    with open(site.scratch / "run.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            site.command("site"), cwd=site.scratch, env=site.environment(), stdout=log, stderr=subprocess.STDOUT
        )
    wait_until(lambda: fetched() - before > more or process.poll() is not None, "a part of the model", 300)
    assert process.poll() is None, told(site)[-3000:]
    return process


def told(site) -> str:
    return (site.scratch / "run.log").read_text(encoding="utf-8")


def states() -> list[str]:
    return [on("a", "systemctl", "show", "--value", "-p", "ActiveState", unit).strip() for unit in UNITS]


def test_a_full_disk_is_said_and_what_served_goes_on(site, faults):
    """The room is enough when the fetch begins, and is taken by others meanwhile."""
    place = STORE + "/fetch"
    on("a", "mount", "-t", "tmpfs", "-o", "size=%d,uid=ollama,gid=ollama,mode=0750" % (SIZE + 2**24), "tmpfs", place)
    try:
        faults(fault="slow", at="data", rate=RATE)
        with asking("a", 11434) as client:
            run = begun(site, SIZE // 5)
            on("a", "sh", "-c", "head -c 200000000 /dev/zero > %s/others || true" % place)
            assert run.wait(300) == 2
        assert "no space left" in told(site) and "free some space" in told(site)
        assert states() == ["active", "inactive"] and client.failed() == []
    finally:
        on("a", "umount", place)


def test_a_registry_that_goes_away_is_said_and_what_served_goes_on(site, faults):
    faults(fault="blob404")
    with asking("a", 11434) as client:
        failed = site.play("site", expect=2)
    assert "small" in failed.failures["a"][-1] and states() == ["active", "inactive"] and client.failed() == []


def test_a_download_goes_on_where_it_stopped_whatever_is_killed(site, faults):
    """The line breaks, the host is killed for two days, the server is killed: hardly a byte comes twice."""
    requests(clear=True)
    faults(fault="cut", at="data", after=SIZE // 10, times=1)
    faults(fault="slow", at="data", rate=RATE)
    interruptions = 2
    for end in (fleet.reboot, fleet.kill) if FULL else (fleet.kill,):
        run = begun(site, SIZE // 5)
        end(SET, "a")
        assert run.wait(300) != 0 and "run again" in told(site)
        if end is fleet.kill:
            fleet.reboot(SET, "a")
        interruptions += 1
    on("a", "sh", "-c", "touch -d '2 days ago' %s/fetch/blobs/*" % STORE)
    with asking("a", 11434) as client:
        run = begun(site, SIZE // 5)
        on("a", "systemctl", "kill", "-s", "KILL", "ollama-fetch")
        assert run.wait(600) == 0, told(site)[-3000:]
    assert "Verdict: pass" in told(site) and "small:latest " in told(site)
    assert fetched() <= SIZE + interruptions * SLACK and states() == ["active", "inactive"]
    # The instance that gets the model is switched afterwards.
    journal = on("a", "journalctl", "--unit=ollama-fetch", "--output=short-unix", "--no-pager", "--quiet")
    assert client.failed(until=float(journal.splitlines()[-1].split()[0])) == []
    # What was fetched lies in the store of the instance alone.
    assert on("a", "find", STORE + "/fetch", "-type", "f", "-not", "-path", "*/.ollama/*") == ""


#: How long a load takes here, in seconds. The first line comes after two looks of the controller.
LOAD = 40
READ = r"(about [\d.]+ MiB of \d+ MiB read|its whole file of \d+ MiB is read)"
LOADING = re.compile(r"^a: loading small:latest-optimized on gpu0, \d+ s so far: %s" % READ, re.MULTILINE)
UNLOAD = """import urllib.request
data = b'{"model": "small:latest-optimized", "keep_alive": 0}'
urllib.request.urlopen("http://127.0.0.1:11434/api/generate", data, timeout=60).read()
"""


@pytest.mark.parametrize("callback", ["default", "gpufleet.ollama.fleet"] if FULL else ["gpufleet.ollama.fleet"])
def test_a_long_load_says_how_far_it_is(site, callback):
    """By the module that switches with one callback, and by the one that checks with the other."""
    gpu("a", "set", "engine.load_ms", str(LOAD * 1000))
    try:
        if callback == "default":
            site.inventory({"a": {}}, ollama_multigpu_models=[TINY, dict(SMALL, context_length=2048)])
            run = site.play("site", callback=callback)
        else:
            on("a", "python3", "-c", UNLOAD)
            run = site.play("verify", callback=callback)
    finally:
        gpu("a", "set", "engine.load_ms", "50")
    assert LOADING.search(run.output.replace("\n  ", " ")), run.output
