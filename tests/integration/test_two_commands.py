# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What `status` and `diagnose` say of a planned host of the rig that has a fault: the rows of the guide, and that their
remedies help. The unit test of the same name holds the sizes and the words."""

from __future__ import annotations

import json

import pytest

from tests.integration.acceptance import SEED_STORE, SET, Site, gpu, on, run_shown
from tests.rig.hosts import fleet, seed
from tests.rig.hosts.podman import podman
from tests.unit import two_commands

pytestmark = [pytest.mark.hosts, pytest.mark.full]

HOST, UNIT = "two", "ollama@gpu0-1.service"
#: Not one of the smallest: of those, a GPU holds hardly more than a context.
MODEL = "llama3.1:8b"
ASK = """import sys, urllib.request
urllib.request.urlopen("http://127.0.0.1:11434/api/generate", sys.argv[1].encode()).read()"""


@pytest.fixture(name="host", scope="module")
def _host(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("two-commands"))
    fleet.up(SET, {HOST: "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        seed.seed(fleet.container_name(SET, HOST), MODEL, SEED_STORE, owner="ollama")
        model = {"name": MODEL, "insecure": True, "strategy": "spread", "optimized": {}}
        site.inventory({HOST: {}}, ollama_multigpu_models=[model])
        site.play("site")
        yield HOST
    finally:
        fleet.down(SET)


def ask(**request):
    """Send the model a request, which loads it."""
    on(HOST, "python3", "-c", ASK, json.dumps({"model": MODEL + "-optimized", **request}))


def restart():
    """Restart the instance and load its model, as the remedies say."""
    on(HOST, "systemctl", "restart", UNIT)
    load()


def load():
    """Load and prove the model; where it is not as planned, the exit code is 1."""
    podman("exec", fleet.container_name(SET, HOST), "ollama-multigpu", "load", check=False)


def another_process():
    pid = gpu(HOST, "process", "add", "0", "9G", "--name", "python3").strip()
    return lambda: gpu(HOST, "process", "remove", pid)


def too_hot():
    before = {key: gpu(HOST, "get", key).strip() for key in ("gpu0.throttle", "gpu0.temperature")}
    gpu(HOST, "set", "gpu0.throttle", str(0x40), "gpu0.temperature", "94")
    return lambda: gpu(HOST, "set", *(word for pair in before.items() for word in pair))


def on_the_cpu():
    gpu(HOST, "lie", "nothing")
    restart()

    def remedy():
        gpu(HOST, "lie", "off")
        restart()

    return remedy


def on_one_gpu():
    ask(options={"main_gpu": 0})

    def remedy():
        ask(keep_alive=0)
        load()

    return remedy


#: Each provokes a fault and returns its remedy.
FAULTS = {
    "Another process holds 9 GiB of a GPU": another_process,
    "A GPU is too hot, and its clocks are lowered": too_hot,
    "The engine runs on the CPU": on_the_cpu,
    "The first GPU holds a whole model that is planned over two": on_one_gpu,
}


def answered(command):
    """The answer of a command as data, and its exit code."""
    done = podman("exec", fleet.container_name(SET, HOST), "ollama-multigpu", command, "--json", check=False)
    return json.loads(done.stdout.decode()), done.returncode


def assert_well():
    status, diagnosis = answered("status")[0], answered("diagnose")[0]
    assert status["verdict"] == "pass" and diagnosis["findings"] == [], (status["diagnosis"], diagnosis["findings"])


def test_each_row_of_the_guide_is_tried(host):
    assert list(FAULTS) == list(two_commands.rows())
    assert_well()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_two_commands_say_what_the_guide_says_and_the_remedy_helps(host, fault):
    row, remedy = two_commands.rows()[fault], FAULTS[fault]()
    try:
        status, code = answered("status")
        assert (status["verdict"], code) == (row.verdict, 0 if row.verdict == "pass" else 1), status
        assert "Verdict: %s (" % row.verdict in run_shown("sudo ollama-multigpu status", host, expect=None)
        found = answered("diagnose")[0]["findings"]
        assert list(dict.fromkeys((one["finding"], one["confidence"]) for one in found)) == row.findings, found
        told = " ".join(one["evidence"] for one in found)
        assert {one["finding"] for one in status["diagnosis"]} == row.failed, status["diagnosis"]
        assert ("python3" in told, "94 C" in told) == (fault.startswith("Another"), fault.startswith("A GPU"))
    finally:
        remedy()
    assert_well()
