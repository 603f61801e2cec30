# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The benchmark of two replicas: kept, compared with an earlier one and with an untouched Ollama. What is measured is
the time that a token of the rig takes, and not a GPU. What serves comes back also where the measurement is killed."""

from __future__ import annotations

import hashlib
import json
import re
import threading

import pytest

from tests.integration.acceptance import SET, STORE, Site, gpu, on
from tests.rig.hosts import fleet
from tests.rig.waiting import wait_until

pytestmark = pytest.mark.hosts

HOST = "a"
SERVED = "tiny:latest-optimized"
UNITS = ("ollama-untouched.service", "ollama-way-back.service")
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
#: Kills what holds the lock of the measurement, and not what waits for it.
KILL = """
import os, pathlib
for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
    try:
        if os.readlink(link).endswith("/aside.lock") and (link.parents[1] / "comm").read_text().strip() != "flock":
            os.kill(int(link.parts[2]), 9)
            print("killed")
    except OSError:
        pass
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


def test_what_serves_comes_back_where_the_measurement_is_killed(site):
    gpu(HOST, "set", "engine.token_ms", "500")
    outcomes = []
    thread = threading.Thread(
        target=lambda: outcomes.append(benchmark(site, "", untouched=True, may_disturb=True, repeats=1, expect=None))
    )
    thread.start()
    try:
        wait_until(lambda: state(UNITS[0]) == "active", "the untouched Ollama runs", 300)
        assert [state("ollama@gpu%d" % number) for number in (0, 1)] == ["inactive", "inactive"]
        assert "ollama-untouched" in left() and "serve" in left()
        assert on(HOST, "python3", "-c", KILL).split() == ["killed"]
    finally:
        gpu(HOST, "unset", "engine.token_ms")
        thread.join()
    assert outcomes[0].failures[HOST]
    wait_until(lambda: loaded_again() == [[SERVED], [SERVED]], "the models are loaded again", 300)
    wait_until(lambda: left() == "", "nothing is left")
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
