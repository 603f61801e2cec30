# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A run whose controller is killed between any two of its changing steps leaves a host that the next run completes.

The steps are those that a run itself reports as changed (callback_plugins/kill_controller.py). In `make test` each run
goes on where the one before it was killed, two steps further. `make test-full` kills a run of its own after each step,
and in the middle of each, and lets the next one complete.
"""

from __future__ import annotations

import json
import os
import random
import subprocess

import pytest

from tests.integration.acceptance import SET, STORE, Site, gpu, on, requests
from tests.rig.hosts import fleet
from tests.rig.models import store
from tests.rig.registry import background
from tests.rig.waiting import wait_until
from tests.session import FULL

pytestmark = pytest.mark.hosts

#: The moments of kills in the middle of a step are those of an earlier session with KILL_SEED=number.
SEED = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(10**6))
HOST = "k"
OLD, NEW = "0.32.14", "0.32.15"
ETC, LIB = "/etc/ollama-multigpu", "/usr/local/lib/ollama-multigpu"
LEFTOVERS = "( -name *-partial* -o -name *.adopted -o -name .ansible_tmp* -o -name *incoming* -o -name .draft* )"
#: What holds at any moment: no run holds the lock (the program of the host may share it), every instance's release is
#: whole, and so is every plan that is kept.
INTACT = """
lock=/run/ollama-multigpu/lock
[ ! -e $lock ] || flock --shared --timeout 60 $lock true || echo "a run holds the lock"
for link in {lib}/instances/*; do
  [ ! -L "$link" ] || [ -x "$link/bin/ollama" ] || echo "$link leads nowhere"
done
for file in {etc}/plan.json {etc}/plans/*/plan.json {etc}/plans/*/about.json {etc}/host.json; do
  [ ! -e "$file" ] || python3 -m json.tool "$file" >/dev/null || echo "$file is damaged"
done
for plan in {etc}/plans/*/; do
  [ ! -d "$plan" ] || [ -e "$plan/about.json" -a -e "$plan/plan.json" ] || echo "$plan is not whole"
done
""".format(etc=ETC, lib=LIB)


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("acceptance-kill"))
    fleet.up(SET, {HOST: "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, versions=[OLD, NEW], say=lambda text: None)
        yield site
    finally:
        fleet.down(SET)


def want(site, version: str, context_length: int) -> None:
    """Set what the next runs want: a release, and models that differ from those of another release in all."""
    model = {"name": "tiny", "insecure": True, "context_length": context_length, "refresh": True}
    site.inventory(
        {HOST: {}},
        ollama_multigpu_models=[dict(model, optimized={"parameters": {"temperature": 0.5}}, aliases=["chat"])],
        ollama_multigpu_version=version,
        ollama_multigpu_release_url="{{ rig_release_url | dirname }}/v{{ ollama_multigpu_version }}",
        ollama_multigpu_release_checksum="{{ rig_checksums[ollama_multigpu_version] }}",
    )
    # The tag in the registry moves with it.
    body = {"target": "library/tiny", "tag": "latest", "mark": None if version == OLD else "of " + version}
    background.control(fleet.require_server(SET), "POST", "tags", body)


def steps_of(site, **kill) -> tuple[list[str], str]:
    """Run the site playbook, and kill it where that is said.

    Returns: The steps that changed something, in order, and the output. A run that was not killed has succeeded.
    """
    place = site.scratch / "steps"
    place.write_text("", encoding="utf-8")
    enabled = "count_results,record_outcome,kill_controller"
    more = {"ANSIBLE_CALLBACKS_ENABLED": enabled, "CHANGING_STEPS_FILE": str(place)}
    more.update({"KILL_" + name.upper(): str(value) for name, value in kill.items()})
    done = subprocess.run(
        site.command("site"),
        cwd=site.scratch,
        env=dict(site.environment(), **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode in ((0, -9) if kill else (0,)), done.stdout[-3000:]
    return place.read_text(encoding="utf-8").splitlines(), "" if done.returncode else done.stdout


def answering() -> list[int]:
    """The ports on which an instance answers and has its model loaded."""
    script = (
        "import json, urllib.request as u\n"
        "for port in (11434, 11435):\n"
        "    try:\n"
        "        if json.load(u.urlopen('http://127.0.0.1:%d/api/ps' % port, timeout=20))['models']: print(port)\n"
        "    except OSError: pass\n"
    )
    return [int(port) for port in on(HOST, "python3", "-c", script).split()]


def check_intact(moment: str) -> None:
    problems = on(HOST, "sh", "-c", INTACT)
    assert problems == "", (moment, problems)


def check_settled(version: str, output: str) -> None:
    """What a run leaves that has ended well, whatever was killed before it."""
    assert "Verdict: pass" in output
    check_intact("the end")
    assert answering() == [11434, 11435]
    assert on(HOST, "ollama-multigpu", "version") and on(HOST, "ollama-multigpu", "check").count("pass")
    for instance in ("gpu0", "gpu1"):
        assert on(HOST, "readlink", LIB + "/instances/" + instance).endswith("/%s\n" % version)
    assert '"ollama_version": "%s"' % version in on(HOST, "cat", ETC + "/plan.json")
    assert on(HOST, "sh", "-c", "ls %s/before.json 2>/dev/null || true" % ETC) == ""
    assert (
        on(HOST, "sh", "-c", "find / -xdev " + LEFTOVERS.replace("(", "\\(").replace(")", "\\)").replace("*", "'*'"))
        == ""
    )
    assert on(HOST, "sh", "-c", "systemctl is-active ollama-fetch || true").strip() == "inactive"
    assert on(HOST, "find", STORE + "/fetch", "-type", "f", "-not", "-path", "*/.ollama/*") == ""


def fetched() -> dict[str, int]:
    """Bytes of model files and releases that the host has fetched since the log was cleared, by what they are of."""
    found: dict[str, int] = {}
    addresses = on(HOST, "hostname", "--all-ip-addresses").split()
    for request in requests():
        # The controller reads headers too.
        if request["client"] not in addresses:
            continue
        if request["kind"] in ("data", "release") and not request["target"].endswith(".txt"):
            found[request["target"]] = found.get(request["target"], 0) + request["bytes"]
    return found


def check_fetched_once(version: str) -> None:
    """Each model and release was fetched once at most, in one piece or in several."""
    release = "releases/v%s/ollama-linux-amd64.tar.zst" % version
    sizes = {"library/tiny": sum(blob.size for blob in store.blobs("tiny"))}
    for target, size in fetched().items():
        assert target in (*sizes, release), target
        assert size <= sizes.get(target, float("inf")), target
    assert len([one for one in requests() if one["kind"] == "release" and one["target"] == release]) <= 1


def chain(site, version: str, every: int) -> list[list[str]]:
    """Run again and again, killed after so many changing steps, until a run completes; return the steps of each."""
    requests(clear=True)
    served, found = answering(), []
    while True:
        steps, output = steps_of(site, after=every)
        found.append(steps)
        if output:
            break
        assert len(steps) == every and len(found) < 40, found
        check_intact(str(found))
        assert answering() == served or not served, found
    check_settled(version, output)
    check_fetched_once(version)
    return found


def test_a_first_run_that_is_killed_again_and_again(site):
    want(site, OLD, 8192)
    runs = chain(site, OLD, 1 if FULL else 4)
    print("\n".join(map(str, runs)))
    assert len(runs) > (9 if FULL else 2)


def test_a_change_that_is_killed_again_and_again(site):
    want(site, NEW, 4096)
    runs = chain(site, NEW, 1 if FULL else 2)
    print("\n".join(map(str, runs)))
    assert len(runs) > (5 if FULL else 2)
    assert steps_of(site)[0] == []


def other(site) -> str:
    """Let the next runs want the other release, to be installed again, and its models; return its version."""
    applied = json.loads(on(HOST, "cat", ETC + "/plan.json"))["ollama_version"]
    version, context_length = (NEW, 4096) if applied == OLD else (OLD, 8192)
    want(site, version, context_length)
    on(HOST, "rm", "-rf", "%s/releases/%s" % (LIB, version))
    requests(clear=True)
    return version


def complete(site, version: str) -> list[str]:
    """Run to the end; return the steps that changed something."""
    steps, output = steps_of(site)
    check_settled(version, output)
    check_fetched_once(version)
    return steps


@pytest.mark.full
def test_each_next_run_completes_what_a_killed_one_began(site):
    """A change to and fro, killed after each of its steps, and then in the middle of each."""
    chance, steps = random.Random(SEED), {}
    for _direction in range(2):
        version = other(site)
        steps[version] = complete(site, version)
    for number in range(1, max(map(len, steps.values()))):
        for _direction in range(2):
            version = other(site)
            if number < len(steps[version]):
                killed, output = steps_of(site, after=number)
                assert not output and killed == steps[version][:number]
                print("to %s, killed after: %s" % (version, killed[-1]))
                check_intact(killed[-1])
                assert answering() == [11434, 11435]
            complete(site, version)
    for name in max(steps.values(), key=len):
        version, delay = other(site), round(chance.uniform(0.1, 2.5), 2)
        steps_of(site, within=name, delay=delay)
        print("KILL_SEED=%d, to %s, killed %.1f s after the beginning of: %s" % (SEED, version, delay, name))
        complete(site, version)


#: In the middle of a switch of gpu0: (what takes 10 seconds, what is seen then).
SWITCHING = {
    "between stop and start": ("server.start_ms", "is new"),
    "while it stops": ("server.stop_ms", "SubState=stop-sigterm"),
    "while it loads": ("engine.load_ms", "loads"),
}
#: The state of the unit, and whether it runs the new release ({version}) and an engine.
SEEN = """
systemctl show --property=SubState ollama@gpu0.service
cd /sys/fs/cgroup/system.slice/system-ollama.slice/ollama@gpu0.service || exit 0
readlink {lib}/instances/gpu0 | grep -q /{version}$ || exit 0
for pid in $(cat cgroup.procs); do
  echo is new
  if grep -q -e --model /proc/$pid/cmdline; then echo loads; fi
done
"""


@pytest.mark.parametrize("moment", list(SWITCHING) if FULL else list(SWITCHING)[:1])
def test_a_host_is_killed_in_the_middle_of_a_switch(site, moment):
    """It starts what is on its disk, and the next run completes the change."""
    slow, seen = SWITCHING[moment]
    version = other(site)
    gpu(HOST, "set", slow, "10000")
    with open(site.scratch / "run.log", "w", encoding="utf-8") as log:
        run = subprocess.Popen(
            site.command("site"), cwd=site.scratch, env=site.environment(), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        look = SEEN.format(lib=LIB, version=version)
        wait_until(lambda: seen in on(HOST, "sh", "-c", look) or run.poll() is not None, moment, 300)
        assert run.poll() is None, (site.scratch / "run.log").read_text(encoding="utf-8")[-3000:]
        fleet.kill(SET, HOST)
        assert run.wait(300) != 0
    finally:
        run.kill()
    fleet.reboot(SET, HOST)
    wait_until(lambda: answering() == [11434, 11435], "what the host starts and loads by itself", 180)
    check_intact(moment)
    complete(site, version)
