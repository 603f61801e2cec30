# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host that serves, whose driver or GPUs are then broken: the run is refused with fault and remedy, and what serves
stays, although the models may run on the CPU.

make test tries one fault of each kind and make test-full all of them; the unit tests have them all.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.integration.acceptance import SET, Site, gpu, on
from tests.rig.gpus import state
from tests.rig.hosts import fleet, image

pytestmark = pytest.mark.hosts

#: fault: (changes of the GPU state, words of the message)
FAULTS = {
    "mismatch": ({"fault.nvmlInit": "18"}, ["version_mismatch", "different versions", "Reboot the host"]),
    "lost": ({"gpu1.fault": "15"}, ["fallen off the bus", "reboot the host"]),
    "debugger": ({"gpu0.compute_mode": "2"}, ["compute mode is prohibited", "nvidia-smi"]),
    "not listed": ({"gpus": "1"}, ["driver does not list it", "0000:41:00.0", "Xid"]),
    "not loaded": ({"fault.nvmlInit": "9"}, ["driver_not_loaded", "GPUs are on the PCI bus", "modprobe nvidia"]),
    "no permission": ({"fault.nvmlInit": "4"}, ["no_permission", "/dev/nvidia"]),
    "unknown": ({"fault.nvmlInit": "999"}, ["nvml_error", "nvidia-smi"]),
    "no devices": ({"gpus": "0"}, ["no_devices", "GPUs are on the PCI bus", "lspci"]),
    "hangs": ({"delay.nvmlInit": "60000"}, ["timeout", "no answer within 30 seconds", "hung driver"]),
    "reset": ({"gpu1.fault": "16"}, ["requires a reset", "nvidia-smi --gpu-reset"]),
    "MIG": ({"gpu0.mig": "1"}, ["MIG", "disable MIG"]),
    "processes": ({"gpu0.fault.nvmlDeviceGetComputeRunningProcesses": "999"}, ["fails to tell its processes"]),
}
ALWAYS = ("mismatch", "lost", "debugger", "not listed")
TRIED = [*ALWAYS, *(pytest.param(fault, marks=pytest.mark.full) for fault in FAULTS if fault not in ALWAYS)]


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    """A host that serves one model on each of two GPUs."""
    site = Site(collections, tmp_path_factory.mktemp("faults"))
    fleet.up(SET, {"a": "rtx-4090-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory(
            {"a": {}}, ollama_multigpu_models=[{"name": "tiny", "insecure": True, "allow_cpu_offload": True}]
        )
        site.play("site")
        yield site
    finally:
        fleet.down(SET)


def serving():
    """What tells whether a service is the same as before: state, process and number of restarts, of both instances."""
    return on(
        "a", "systemctl", "show", "-p", "ActiveState,MainPID,NRestarts", "ollama@gpu0.service", "ollama@gpu1.service"
    )


def refused(site, words):
    """Run the site playbook: it fails with these words and changes nothing, and both instances serve on."""
    before = serving()
    assert before.count("ActiveState=active") == 2
    with site.untouched("a"):
        outcome = site.play("site", expect=2)
    message = outcome.failures["a"][-1]
    for word in (*words, "Nothing is planned, and what serves now stays as it is"):
        assert word in message, message
    assert outcome.counts["a"]["changed"] == 0 and serving() == before


@pytest.mark.parametrize("fault", TRIED)
def test_a_fault_stops_the_run_and_nothing_else(site, fault):
    changes, words = FAULTS[fault]
    whole = state.parse(on("a", "cat", "/dev/gpu-rig/state"))
    kept = {key: whole[key] for key in changes if key in whole}
    gpu("a", "set", *(word for pair in changes.items() for word in pair))
    try:
        refused(site, words)
    finally:
        gpu("a", "unset", *changes)
        if kept:
            gpu("a", "set", *(word for pair in kept.items() for word in pair))


@pytest.mark.full
def test_a_driver_without_its_library(site):
    on("a", "mv", image.library_path(), "/root/library")
    try:
        refused(site, ["no_library", "libnvidia-ml.so.1", "GPUs are on the PCI bus"])
    finally:
        on("a", "mv", "/root/library", image.library_path())


def test_what_the_user_says_is_planned_and_said_first(site):
    """The user gives the GPUs up: a plan for the CPU, which says first what it takes away."""
    gpu("a", "set", "fault.nvmlInit", "18")
    try:
        outcome = site.play("plan", "-e", '{"ollama_multigpu_gpus": []}')
    finally:
        gpu("a", "unset", "fault.nvmlInit")
    plan = outcome.plans["a"]
    assert [instance["name"] for instance in plan["instances"]] == ["cpu"]
    assert "runs on 2 GPUs now and would run on the CPU" in plan["warnings"][0]
    assert "Warning: " + plan["steps_down"][0] in outcome.text


def test_a_models_directory_that_the_service_user_cannot_enter(site):
    """As in models-dir-unreachable.json."""
    on("a", "install", "-d", "-m", "0700", "/srv/closed")
    before = serving()
    outcome = site.play("site", "-e", "ollama_multigpu_models_dir=/srv/closed/models", expect=2)
    assert "The user ollama cannot enter /srv/closed" in outcome.failures["a"][-1]
    assert outcome.counts["a"]["changed"] == 0 and serving() == before


def test_a_service_that_ends_at_once_is_said_at_once(site):
    """A damaged program: systemd cannot run it, and the run does not wait for an answer."""
    program = "/usr/local/lib/ollama-multigpu/current/bin/ollama"
    on("a", "sh", "-c", "systemctl stop ollama@gpu1; cd $(dirname %s); mv ollama kept; echo x > ollama" % program)
    on("a", "chmod", "0755", program)
    try:
        begin = time.monotonic()
        outcome = site.play("site", expect=2)
        message = " ".join(outcome.failures["a"])  # a rescue says less than the task that failed
        assert "ollama@gpu1.service ended right after its start" in message
        assert "Exec format error" in message and "another kind of machine, or damaged" in message
        assert "Connection refused" not in message and time.monotonic() - begin < 60 * max(1, os.getloadavg()[0])
    finally:
        on("a", "sh", "-c", "cd $(dirname %s); mv kept ollama" % program)
    assert "Verdict: pass" in site.play("site").output


def test_without_the_fault_the_next_run_changes_nothing(site):
    before = serving()
    assert site.play("site").counts["a"]["changed"] == 0 and serving() == before
