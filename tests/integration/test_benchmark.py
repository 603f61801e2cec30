# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The benchmark of two replicas: kept, compared with an earlier one and with an untouched Ollama. What is measured is
the time that a token of the rig takes, and not a GPU. The instances are restored also where the measurement is
killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess

import pytest

from tests.integration.acceptance import SET, STORE, Site, gpu, on
from tests.rig.hosts import fleet
from tests.rig.waiting import wait_until
from tests.session import FULL

pytestmark = pytest.mark.hosts

HOST = "a"
SERVED = "tiny:latest-optimized"
UNITS = ("ollama-untouched.service", "ollama-benchmark-restore.service")
PLAN = "/etc/ollama-multigpu/plan.json"
GET = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:%d%s').read().decode())"
#: All files of the stores, with the number of their names and the SHA-256 of manifests.
STORES = (
    "cd %s/instances && find . -type f -printf '%%p %%n %%s\\n' | sort; "
    "find . -path '*manifests*' -type f -exec sha256sum {} + | sort"
)
#: Servers that run a release by its own path, as no instance does.
SERVERS = """
import pathlib
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    words = path.read_bytes().decode(errors="replace").split("\\0")
    if "serve" in words and any("/releases/" in word for word in words[:2]):
        print(words)
"""
#: Sends a signal to what holds the lock of the measurement, and not to what waits for it.
KILL = """
import os, pathlib, sys
for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
    try:
        if os.readlink(link).endswith("/benchmark.lock") and (link.parents[1] / "comm").read_text().strip() != "flock":
            os.kill(int(link.parts[2]), int(sys.argv[1]))
            print("sent")
    except OSError:
        pass
"""
#: What the engines of the untouched Ollama do: "loads" or "generates".
ENGINES = """
import json, pathlib, urllib.request
for path in pathlib.Path("/proc").glob("[0-9]*/cgroup"):
    try:
        words = (path.parent / "cmdline").read_bytes().decode(errors="replace").split("\\0")
        if "ollama-untouched.service" in path.read_text() and "--model" in words:
            print("loads")
            port = words[words.index("--port") + 1]
            slots = json.load(urllib.request.urlopen("http://127.0.0.1:%s/slots" % port, timeout=5))
            print("generates" if any(slot["is_processing"] for slot in slots) else "")
    except (OSError, ValueError):
        pass
"""
#: The module by itself, so that the measurement of the plan need not be waited for.
ALONE = """
- hosts: named
  become: true
  gather_facts: false
  tasks:
    - gpufleet.ollama.host_info:
      register: found
    - gpufleet.ollama.benchmark_untouched:
        plan: "{{ found.host.applied_plan }}"
        may_disturb: true
        repeats: 1
        tokens: 8
        prompts: [16]
        outage_limit: "{{ outage_limit | default(1800) }}"
"""


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("benchmark"))
    try:
        fleet.up(SET, {HOST: "rtx-4090-x2"}, say=lambda text: None)
        fleet.serve(SET, versions=["0.32.15"], say=lambda text: None)
        site.inventory({HOST: {}}, ollama_multigpu_models=[{"name": "tiny", "insecure": True}])
        site.play("site")
        yield site
    finally:
        fleet.down(SET)


def options(directory, **more):
    """Arguments that make a benchmark short."""
    given = {"directory": str(directory), "label": "stand-in", "repeats": 3, "tokens": 8, "prompts": [16], **more}
    return "-e", json.dumps({"ollama_multigpu_benchmark_" + name: value for name, value in given.items()})


def benchmark(site, directory="benchmarks", expect=0, **more):
    """The outcome of a benchmark."""
    return site.play_shown(
        "ansible-playbook -i inventory.yml gpufleet.ollama.benchmark -e ollama_multigpu_benchmark_directory=benchmarks",
        *options(directory, **more),
        expect=expect,
    )


def loaded():
    """Names of the loaded models of both instances."""
    answers = (json.loads(on(HOST, "python3", "-c", GET % (port, "/api/ps"))) for port in (11434, 11435))
    return [[model["name"] for model in answer["models"]] for answer in answers]


def processes():
    """Main processes of both instances."""
    return on(HOST, "systemctl", "show", "-p", "MainPID,ActiveState", "ollama@gpu0", "ollama@gpu1")


def left():
    """What a measurement of an untouched Ollama has left on the host."""
    files = on(HOST, "sh", "-c", "ls -d /run/systemd/system/ollama-* %s/untouched 2>/dev/null; true" % STORE)
    units = on(HOST, "systemctl", "list-units", "--all", "--plain", "--no-legend", *UNITS)
    running = on(HOST, "python3", "-c", SERVERS)
    return (files + units + running).strip()


def test_a_benchmark_of_two_replicas_is_kept_and_compared(site):
    directory = site.scratch / "benchmarks"
    outcome = benchmark(site)
    (first,) = directory.iterdir()
    found = json.loads(first.read_text())
    assert (found["host"], found["label"], found["release"]) == (HOST, "stand-in", "0.32.15")
    assert found["plan"]["digest"] == hashlib.sha256(on(HOST, "cat", PLAN).encode()).hexdigest()
    assert found["plan"]["models"][SERVED]["instances"] == 2 and "untouched" not in found
    assert "This is a measurement of: stand-in." in outcome.text and outcome.counts[HOST]["changed"] == 0
    places = [(one["instances"], one["streams"]) for one in found["measurements"]]
    assert places == [(["gpu0"], 1), (["gpu1"], 1), (["gpu0", "gpu1"], 2)]
    assert [one["tokens_per_second"]["median"] for one in found["measurements"]] == [200.0] * 3  # 5 ms a token
    assert [one["instances"] for one in found["loads"]] == [["gpu0"], ["gpu1"]]
    assert loaded() == [[SERVED], [SERVED]]
    gpu(HOST, "set", "engine.token_ms", "100")
    try:
        outcome = benchmark(site, directory)
    finally:
        gpu(HOST, "unset", "engine.token_ms")
        benchmark(site, "", loads=1, repeats=1)  # loads the models again
    assert "It is compared with the benchmark of %s" % found["time"] in outcome.text
    assert "What differs beside the figures" not in outcome.text
    both = r"gpu0 and gpu1, prompts of 16 tokens, 2 requests at a time: [^:]*"
    assert re.search(both + r"each 10\.0 tokens/s \([^)]*, 95\.0 % worse\)", outcome.text), outcome.output
    assert len(list(directory.iterdir())) == 2


def test_an_untouched_ollama_is_measured_only_where_the_host_may_be_disturbed(site):
    before = processes()
    outcome = benchmark(site, "", untouched=True, expect=2)
    assert "Set ollama_multigpu_benchmark_may_disturb to true" in " ".join(outcome.failures[HOST])
    assert processes() == before and left() == ""


def test_the_plan_is_compared_with_an_untouched_ollama(site):
    """It has the model as it was pulled, with a context of its own, and one slot for both requests."""
    stores, directory = on(HOST, "sh", "-c", STORES % STORE), site.scratch / "untouched"
    outcome = site.play_shown(
        "ansible-playbook -i inventory.yml gpufleet.ollama.benchmark --limit gpu-a"
        " -e ollama_multigpu_benchmark_untouched=true -e ollama_multigpu_benchmark_may_disturb=true",
        *options(directory),
        replaced={"gpu-a": HOST},
    )
    (file,) = directory.iterdir()
    found = json.loads(file.read_text())["untouched"]
    assert [(one["model"], one["streams"]) for one in found["measurements"]] == [(SERVED, 1), (SERVED, 2)]
    assert [one["instances"] for one in found["loads"]] == [["untouched Ollama"]]
    (model,) = found["loaded"]
    print(json.dumps(found, indent=1))
    assert model["model"] == SERVED and model["size_vram_bytes"] == model["size_bytes"] > 0
    both = r"on untouched Ollama, prompts of 16 tokens, 2 requests at a time: .* With the plan \(gpu0 and gpu1\):"
    assert re.search(both, outcome.text), outcome.output
    assert loaded() == [[SERVED], [SERVED]] and left() == ""
    assert on(HOST, "sh", "-c", STORES % STORE) == stores
    assert site.play("site").counts[HOST]["changed"] == 0


def test_the_report_draws_what_was_kept(site):
    report, directory = site.scratch / "fleet.html", site.scratch / "untouched"
    variables = {"ollama_multigpu_report": str(report), "ollama_multigpu_benchmark_directory": str(directory)}
    site.play("report", "-e", json.dumps(variables))
    kept = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))["hosts"][0]["benchmark"]
    assert [(row["on"], row["streams"], row["is_untouched"]) for row in kept["rows"]] == [
        (["gpu0"], 1, False),
        (["gpu1"], 1, False),
        (["gpu0", "gpu1"], 2, False),
        (["untouched Ollama"], 1, True),
        (["untouched Ollama"], 2, True),
    ]
    source = report.read_text(encoding="utf-8")
    assert source.count('<svg class="chart"') == 2 and "stand-in" in source
    assert "### Benchmark" in report.with_suffix(".md").read_text(encoding="utf-8")


def test_the_instances_are_started_again_when_the_time_is_over(site):
    """What was measured before is kept, and what was not is said."""
    gpu(HOST, "set", "engine.token_ms", "1000")
    directory = site.scratch / "limited"
    more = {"may_disturb": True, "repeats": 1, "loads": 0, "tokens": 4, "outage_limit": 20}
    try:
        outcome = benchmark(site, directory, untouched=True, prompts=[16, 32], **more)
    finally:
        gpu(HOST, "unset", "engine.token_ms")
    (file,) = directory.iterdir()
    untouched = json.loads(file.read_text())["untouched"]
    assert "because the instances were stopped for 20 seconds (outage_limit): %s with" % SERVED in outcome.text
    assert untouched["notes"][-1].split(":")[0] in outcome.text
    assert loaded() == [[SERVED], [SERVED]] and left() == ""


def is_restored():
    """Whether an instance starts again, before the measurement has ended."""
    return state("ollama@gpu0") == "active" and all(state(unit) == "inactive" for unit in UNITS)


#: Moments of a measurement: (what takes long, what is seen then, whether it is seen only after the start of the other).
MOMENTS = {
    "it generates": ({"engine.token_ms": "2000"}, lambda: "generates" in on(HOST, "python3", "-c", ENGINES), False),
    "the instances stop": ({"server.stop_ms": "10000"}, lambda: state("ollama@gpu0") == "deactivating", False),
    "the untouched one starts": ({"server.start_ms": "10000"}, lambda: state(UNITS[0]) == "active", False),
    "it loads": ({"engine.load_ms": "10000"}, lambda: "loads" in on(HOST, "python3", "-c", ENGINES), False),
    "the instances start again": ({"server.start_ms": "10000"}, is_restored, True),
}
#: How it ends: the process on the host, the controller, or the host.
ENDS = ("SIGKILL", "SIGTERM", "controller", "host")
CASES = [(moment, end) for moment in MOMENTS for end in ENDS]


@pytest.mark.parametrize("moment, end", CASES if FULL else CASES[:1])
def test_the_instances_are_restored_where_the_measurement_is_killed(site, moment, end):
    slow, is_seen, is_after = MOMENTS[moment]
    for name, value in slow.items():
        gpu(HOST, "set", name, value)
    run = begin(site)
    try:
        for wanted in ([lambda: state(UNITS[0]) == "active"] if is_after else []) + [is_seen]:
            wait_until(lambda seen=wanted: seen() or run.poll() is not None, moment, 300)
        assert run.poll() is None, (site.scratch / "alone.log").read_text(encoding="utf-8")[-3000:]
        kill(run, end)
        assert run.wait(300) != 0
    finally:
        for name in slow:
            gpu(HOST, "unset", name)
        run.kill()
    wait_until(lambda: loaded_again() == [[SERVED], [SERVED]], "the models are loaded again", 300)
    # A power cut leaves the store, which is in no use.
    wait_until(lambda: left() in ("", "%s/untouched" % STORE if end == "host" else ""), "nothing is left")


def begin(site, *arguments):
    """Begin a measurement with the module alone. Its results are in alone.log."""
    playbook = site.scratch / "alone.yml"
    playbook.write_text(ALONE, encoding="utf-8")
    command = [
        str(playbook) if one == "gpufleet.ollama.site" else one for one in site.command("site", "-v", *arguments)
    ]
    with open(site.scratch / "alone.log", "w", encoding="utf-8") as log:
        output = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
        return subprocess.Popen(command, cwd=site.scratch, env=site.environment(), **output)


def kill(run, end):
    """End a measurement: by a signal to the module, or by an end of the controller or the host."""
    if end == "controller":
        os.killpg(run.pid, signal.SIGKILL)
    elif end == "host":
        fleet.kill(SET, HOST)
        run.wait(300)
        fleet.reboot(SET, HOST)
    else:
        send(end)


def send(name):
    """Send a signal to the module."""
    assert on(HOST, "python3", "-c", KILL, str(int(signal.Signals[name]))).split() == ["sent"]


@contextlib.contextmanager
def hanging(site):
    """A measurement whose module is stopped while it measures. At the end of the block it has to end."""
    gpu(HOST, "set", "engine.token_ms", "2000")
    run = begin(site, "-e", "outage_limit=60")
    try:
        wait_until(lambda: "generates" in on(HOST, "python3", "-c", ENGINES) or run.poll() is not None, "it runs", 300)
        send("SIGSTOP")
        yield run
    finally:
        gpu(HOST, "unset", "engine.token_ms")
        run.wait(300)


@pytest.mark.full
def test_the_instances_are_started_again_in_time_where_the_measurement_hangs(site):
    """The module is stopped, and so does nothing itself. It goes on after that, and says what was not measured."""
    with hanging(site) as run:
        wait_until(is_restored, "the instances are started again", 300)
        send("SIGCONT")
    told = (site.scratch / "alone.log").read_text(encoding="utf-8")
    assert run.returncode == 0 and "because the instances were stopped for 60 seconds" in told, told[-3000:]
    assert loaded() == [[SERVED], [SERVED]] and left() == ""


@pytest.mark.full
def test_the_models_are_loaded_again_where_the_measurement_is_killed_late(site):
    """After the instances have started: it would load the models itself, so the units that load wait for its end."""
    with hanging(site) as run:
        wait_until(lambda: is_restored() and ready_for() > 10, "no load would have waited so long for a run", 300)
        assert loaded() == [[], []]
        send("SIGKILL")
    assert run.returncode != 0
    wait_until(lambda: loaded_again() == [[SERVED], [SERVED]], "the models are loaded again", 300)
    wait_until(lambda: left() == "", "nothing is left")


def ready_for():
    """Seconds since the last load of an instance began; 0 where that was before the start of the instance."""
    show = ("systemctl", "show", "-p", "ExecMainStartTimestampMonotonic", "--value")
    load, start = (int(on(HOST, *show, unit)) / 1e6 for unit in ("ollama-ready@gpu0", "ollama@gpu0"))
    return float(on(HOST, "python3", "-c", "import time; print(time.monotonic())")) - load if load > start else 0


def test_a_run_finds_nothing_to_change_afterwards(site):
    assert site.play("site").counts[HOST]["changed"] == 0


def state(unit):
    """ActiveState of a unit."""
    return on(HOST, "systemctl", "show", "-p", "ActiveState", "--value", unit).strip()


def loaded_again():
    """As `loaded`; None while an instance does not answer."""
    if [state("ollama@gpu%d" % number) for number in (0, 1)] != ["active", "active"]:
        return None
    try:
        return loaded()
    except Exception:  # pylint: disable=broad-except  # it does not listen yet
        return None
