# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Two hosts are upgraded, the canary first; a release that fails is given up there, and a kept plan comes back.

`make test-full` goes through all kinds of failing releases; without it, two are tried.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import fleet, podman
from tests.rig.registry import background
from tests.rig.waiting import wait_until
from tests.session import FULL

pytestmark = pytest.mark.hosts

#: The last one generates half as fast.
OLD, NEW, SLOW = "0.32.14", "0.32.15", "0.32.16"
#: Release: (how it fails, words of the message). The install stage refuses the last two, before anything is switched.
FAILING = {
    "0.32.20": ("engine-dies-after-30", "The engine of gpu0-1 (process "),
    "0.32.17": ("does-not-start", "ended right after its start"),
    "0.32.18": ("answers-500", "answers with an error: this release answers nothing else"),
    "0.32.19": ("loads-onto-the-cpu", "CPU"),
    "0.32.21": ("engine-dies", "engine of tiny:latest-optimized"),
    "0.32.22": ("wrong-version", "is Ollama 0.0.1, and the plan is made for 0.32.22"),
    "0.32.23": ("wrong-version-text", "says that its version is '0.0.1'"),
    "0.32.24": ("broken-archive", "the archive is damaged or cut short"),
}
REFUSED = ("wrong-version-text", "broken-archive")
PLANS = "/etc/ollama-multigpu/plans"
CANARY = ("-e", "ollama_multigpu_canary=b")


def to(version: str) -> tuple[str, str]:
    """The arguments of a run with a release."""
    return "-e", "ollama_multigpu_version=" + version


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-rollback"))
    fleet.up(SET, dict.fromkeys("ab", "rtx-4090-x2"), say=lambda text: None)
    failing = ["%s=%s" % (version, fault) for version, (fault, _words) in FAILING.items()]
    try:
        fleet.serve(SET, versions=[NEW, OLD, SLOW + "=half-speed", *failing], say=lambda text: None)
        site.inventory(
            {"a": {}, "b": {}},
            ollama_multigpu_models=[{"name": "tiny", "insecure": True, "strategy": "spread", "optimized": {}}],
            ollama_multigpu_version=OLD,
            ollama_multigpu_release_url="{{ rig_release_url | replace(rig_version, ollama_multigpu_version) }}",
            ollama_multigpu_release_checksum="{{ rig_checksums[ollama_multigpu_version] }}",
            ollama_multigpu_watch_time=1,
            ollama_multigpu_environment={"MY_TOKEN": "of {{ ollama_multigpu_version }}"},
        )
        yield site
    finally:
        fleet.down(SET)


def changed(outcome) -> dict[str, int]:
    """How many tasks of a run changed something, by host."""
    return {host: counts["changed"] for host, counts in outcome.counts.items()}


def kept(host: str) -> dict[int, dict]:
    """The records of the plans that a host keeps, by number."""
    numbers = on(host, "ls", PLANS).split()
    return {int(number): json.loads(on(host, "cat", "%s/%s/about.json" % (PLANS, number))) for number in numbers}


def running(host: str) -> tuple[str, str]:
    """The release of the instance, and the secret of the process that serves."""
    pid = on(host, "systemctl", "show", "--value", "--property=MainPID", "ollama@gpu0-1.service").strip()
    variables = on(host, "cat", "/proc/%s/environ" % pid).split("\0")
    (token,) = [line for line in variables if line.startswith("MY_TOKEN=")]
    link = on(host, "readlink", "/usr/local/lib/ollama-multigpu/instances/gpu0-1")
    return link.strip().rsplit("/", 1)[1], token


def test_hosts_are_upgraded_the_canary_first(site):
    planned = site.play("site", "--check")
    assert "Write history %s/1: This plan is not kept yet." % PLANS in planned.text
    site.play("site")
    with site.untouched(*"ab"):
        told = site.play_shown(
            "ansible-playbook -i inventory.yml gpufleet.ollama.plan -e ollama_multigpu_version=0.32.15"
        )
        checked = site.play_shown(
            "ansible-playbook -i inventory.yml gpufleet.ollama.site -e ollama_multigpu_version=0.32.15 --check --diff"
        )
    for outcome in (told, checked):
        assert "Release: Ollama %s replaces %s." % (NEW, OLD) in outcome.text
    upgraded = site.play_shown(
        "ansible-playbook -i inventory.yml gpufleet.ollama.upgrade -e ollama_multigpu_version=0.32.15"
        " -e ollama_multigpu_canary=gpu-a.example.org",
        replaced={"gpu-a.example.org": "b"},
    )
    assert "Release: Ollama %s replaces %s." % (NEW, OLD) in upgraded.text
    batches = upgraded.output.split("PLAY [")[2:]
    assert [sorted(host for host in "ab" if "[%s]" % host in batch) for batch in batches][:2] == [["b"], ["a"]]
    for host in "ab":
        records = kept(host)
        assert {number: record["release"] for number, record in records.items()} == {1: OLD, 2: NEW}
        assert {record["verdict"] for record in records.values()} == {"pass"}
        assert records[2]["tokens_per_second"]["gpu0-1"]["tiny:latest-optimized"] == 200.0
        assert running(host) == (NEW, "MY_TOKEN=of " + NEW)
        # The old one is there for a quick rollback.
        assert sorted(on(host, "ls", "/usr/local/lib/ollama-multigpu/releases").split()) == [OLD, NEW]
        assert 'MY_TOKEN="of %s"' % OLD in on(host, "cat", PLANS + "/1/instances/gpu0-1.env")
    assert changed(site.play("site", *to(NEW))) == {"a": 0, "b": 0}


def test_a_slower_release_is_given_up_on_the_canary(site):
    with site.untouched("a"):
        failed = site.play("upgrade", *CANARY, *to(SLOW), expect=2)
    told = str(failed.failures["b"])
    assert "generates 100.0 tokens/s with Ollama %s, and had 200.0 with Ollama %s when plan 2 was proven" % (
        SLOW,
        NEW,
    ) in (told)
    assert "gpu0-1 went back to Ollama %s" % NEW in told
    assert "b runs Ollama %s." % NEW in told and "a is untouched and runs Ollama %s." % NEW in told
    assert "a" not in failed.failures
    assert running("b") == (NEW, "MY_TOKEN=of " + NEW) and sorted(kept("b")) == [1, 2]


def processes(host: str) -> str:
    """Process and start of the instance's server."""
    return on(host, "systemctl", "show", "-p", "MainPID,ExecMainStartTimestampMonotonic", "ollama@gpu0-1.service")


@pytest.mark.parametrize("version", list(FAILING) if FULL else list(FAILING)[:1])
def test_each_release_that_fails_is_given_up_on_the_canary(site, version):
    fault, words = FAILING[version]
    before = processes("b")
    with site.untouched("a"):
        pid = processes("a")
        failed = site.play("upgrade", *CANARY, *to(version), "-e", "ollama_multigpu_watch_time=90", expect=2)
        assert processes("a") == pid
    told = " ".join(failed.failures["b"])
    assert words in told and "a" not in failed.failures, (fault, told)
    assert "b runs Ollama %s." % NEW in told and "a is untouched and runs Ollama %s." % NEW in told
    if fault in REFUSED:
        assert processes("b") == before
    else:
        assert "gpu0-1 went back to Ollama %s" % NEW in told
        assert "proven again: tiny:latest-optimized on gpu0-1: pass, 200 tokens/s" in told
    assert running("b") == (NEW, "MY_TOKEN=of " + NEW) and sorted(kept("b")) == [1, 2]
    assert on("b", "ollama-multigpu", "check").count("Verdict: pass") == 1


def test_hosts_go_back_on_request(site):
    """The variables of the role still say the new release."""
    with site.untouched("a"):
        planned = site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.rollback --check --diff", *to(NEW))
        assert "Write history %s/1: It comes into force again." % PLANS in planned.text
        numbered = site.play_shown(
            "ansible-playbook -i inventory.yml gpufleet.ollama.rollback -e ollama_multigpu_rollback_to=3",
            *(*to(NEW), "--check"),
            replaced={"to=3": "to=1"},
        )
        assert "Write history %s/1: It comes into force again." % PLANS in numbered.text
        refused = site.play("rollback", "-e", "ollama_multigpu_rollback_to=9", *to(NEW), expect=2)
        assert "a keeps no plan 9 to go back to. a keeps 1 (Ollama %s, " % OLD in str(refused.failures["a"])
    back = site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.rollback", *to(NEW))
    assert back.output.count("Verdict: pass") >= 2
    for host in "ab":
        assert running(host) == (OLD, "MY_TOKEN=of " + OLD)
        assert kept(host)[1]["rolled_back_from"] == 2
    again = site.play("rollback", *to(NEW))
    assert changed(again) == {"a": 0, "b": 0} and "since the rollback from plan 2" in again.text


@pytest.mark.full
def test_a_way_back_whose_release_is_gone_is_refused_and_what_serves_goes_on(site):
    """Neither the host nor the server has it any more."""
    before, directory = processes("b"), "/usr/local/lib/ollama-multigpu/releases/" + NEW
    server = fleet.require_server(SET)
    on("b", "mv", directory, "/root/gone")
    background.control(server, "POST", "faults", {"target": "releases/v%s/*" % NEW, "fault": "404"})
    try:
        failed = site.play("rollback", "--limit", "b", "-e", "ollama_multigpu_rollback_to=2", *to(OLD), expect=2)
    finally:
        background.control(server, "DELETE", "faults")
        on("b", "sh", "-c", "rm -rf %s; mv /root/gone %s" % (directory, directory))
    assert "404" in str(failed.failures["b"]) and NEW in str(failed.failures["b"])
    assert processes("b") == before and on("b", "ollama-multigpu", "check").count("Verdict: pass") == 1


#: Generates without a pause, and notes "ok" or the error of each. Once a run holds the lock of the host, it begins
#: `last` more, the last of which is `tokens` long (of 5 ms each). It ends with the first error.
BUSY = """
import fcntl, json, sys, urllib.request
last, tokens = map(int, sys.argv[1:])
lock = open("/run/ollama-multigpu/lock", "r+")
def held():
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    return False
with open("/root/busy.log", "w", buffering=1) as log:
    while last:
        wanted = 200
        if held():
            last, wanted = last - 1, tokens
            log.write("a run holds the lock\\n")
        body = {"model": "tiny:latest-optimized", "prompt": "x", "stream": False, "options": {"num_predict": wanted}}
        try:
            data = json.dumps(body).encode()
            urllib.request.urlopen("http://127.0.0.1:11434/api/generate", data, timeout=300).read()
            log.write("ok\\n")
        except Exception as error:
            log.write("%r\\n" % error)
            break
    log.write("end\\n")
"""


def busy(*arguments: int):
    """Begin to generate on b; return a function that waits for the end and returns what was noted."""
    on("b", "tee", "/root/busy.py", stdin=BUSY.encode())
    on("b", "sh", "-c", ": > /root/busy.log")
    podman.podman("exec", "-d", fleet.container_name(SET, "b"), "python3", "/root/busy.py", *map(str, arguments))

    def noted() -> list[str]:
        return on("b", "cat", "/root/busy.log").splitlines()

    wait_until(noted, "the first generation")
    return lambda: wait_until(lambda: noted()[-1] == "end" and noted(), "the end of the generations", 120)


def test_an_upgrade_waits_until_a_request_has_ended(site):
    """Its own limit is 60 seconds. The request that runs when it holds the lock takes three."""
    wait = busy(1, 600)
    done = site.play("upgrade", "--limit", "b", *to(NEW))
    noted = wait()
    assert "a run holds the lock" in noted and set(noted) == {"a run holds the lock", "ok", "end"}
    assert "in the middle of a request" not in done.text and running("b")[0] == NEW


def test_at_the_limit_an_upgrade_says_that_it_stops_a_request(site):
    wait = busy(20, 2000)
    done = site.play("upgrade", "--limit", "b", *to(OLD), "-e", "ollama_multigpu_quiet_timeout=2")
    noted = wait()
    stopped = re.search(r"ollama@gpu0-1\.service was stopped in the middle of a request, after ([0-9.]+)", done.text)
    assert stopped and float(stopped[1]) >= 2, done.output
    assert noted[-2] not in ("ok", "a run holds the lock") and running("b")[0] == OLD
