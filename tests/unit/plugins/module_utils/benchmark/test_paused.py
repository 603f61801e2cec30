# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An untouched Ollama in place of the instances, which are restored. What systemd does is played here;
tests/integration/test_benchmark.py has it on a host."""

from __future__ import annotations

import fcntl
import os
import pwd
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.proof import Proof
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.steps import SwitchFailed
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import paused
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.paused import (
    NotMeasured,
    NotPaused,
    NotRestored,
    Source,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld, run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.units import UnitError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.connection import OllamaError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store, StoreError

from tests.rig.models import store

TINY = parse("tiny:latest")


@pytest.fixture(name="host")
def _host(tmp_path, monkeypatch):
    """A host that notes what is done, in order, in `said`; `active` are the instances that run."""

    class Host:
        said: list = []
        active = ("ollama@gpu0.service", "ollama@gpu1.service")
        begin_problem = start_problem = ""
        proof = Proof({"verdict": "pass"})
        complaint = ""
        processes: list = []
        models = tmp_path / "models"

    host, said = Host(), []
    host.said = said
    (host.models / "instances").mkdir(parents=True)
    store.write_into_store("tiny", host.models / "instances" / "gpu0")
    for name in ("BENCHMARK_LOCK", "UNTOUCHED_UNIT_FILE", "RESTORE_UNIT_FILE"):
        monkeypatch.setattr(paths, name, str(tmp_path / "run" / name.lower()))
    monkeypatch.setattr(paths, "USER", pwd.getpwuid(os.geteuid()).pw_name)
    monkeypatch.setattr(paused, "Store", lambda path, user: Store(path))

    def show(units):
        return {unit: {"ActiveState": "active" if unit in host.active else "inactive"} for unit in units}

    def start(unit):
        said.append("serve")
        if host.start_problem:
            raise paused.temporary_server.NotStarted(host.start_problem)
        return "http://127.0.0.1:1"

    def prove(plan, names, accept_unproven):
        said.append("prove %s %s" % (" ".join(names), accept_unproven))
        return host.proof

    monkeypatch.setattr(paused.systemd, "show", show)
    monkeypatch.setattr(paused.units, "stop", lambda units: said.append("stop " + " ".join(units)))
    monkeypatch.setattr(paused.units, "start", lambda units: said.append("start " + " ".join(units)))
    monkeypatch.setattr(paused, "wait_until_ready", lambda instances: said.append("ready %d" % len(instances)))
    monkeypatch.setattr(paused, "prove", prove)
    monkeypatch.setattr(
        paused.temporary_server, "begin", lambda unit: said.append("begin " + unit) or host.begin_problem
    )
    monkeypatch.setattr(paused.temporary_server, "start", start)
    monkeypatch.setattr(
        paused.temporary_server, "stop", lambda unit, files: said.append("end " + unit) or host.complaint
    )
    monkeypatch.setattr(paused.proc, "unit_processes", lambda unit: host.processes)
    return host


def plan(host):
    instances = [
        {"name": name, "unit": "ollama@%s.service" % name, "store": str(host.models / "instances" / name)}
        for name in ("gpu0", "gpu1")
    ]
    return {"ollama_version": "0.32.15", "models_dir": str(host.models), "instances": instances}


def models(host):
    return {TINY: Source(str(host.models / "instances" / "gpu0"), TINY, True)}


RESTORED = ["end ollama-benchmark-restore.service", "end ollama-untouched.service"]
RESTORED += ["start ollama@gpu0.service ollama@gpu1.service", "ready 2", "prove gpu0 gpu1 True"]


def test_what_restores_the_instances_runs_before_any_is_stopped(host):
    with paused.untouched_server(plan(host), models(host), 60) as pause:
        assert pause.url == "http://127.0.0.1:1" and not pause.is_over()
        assert host.said == ["begin ollama-benchmark-restore.service", "stop " + " ".join(host.active), "serve"]
        linked = host.models / "untouched"
        assert linked.stat().st_mode & 0o777 == 0o700
        (blob, *_others) = (path for path in (linked / "blobs").iterdir() if path.stat().st_size > 100)
        assert blob.stat().st_nlink == 2, "no byte twice"
        with open(paths.BENCHMARK_LOCK) as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        host.said.clear()
    assert host.said == RESTORED and not linked.exists()


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_they_are_restored_however_the_measurement_ends(host, error):
    with pytest.raises(error), paused.untouched_server(plan(host), models(host), 60):
        raise error
    assert host.said[-5:] == RESTORED


@pytest.mark.parametrize("error", [OSError("disk"), StoreError("store"), OllamaError(500, "engine died")], ids=str)
@pytest.mark.parametrize("seconds, timed_out", [(60, False), (0, True)])
def test_what_fails_meanwhile_is_told_with_whether_the_time_was_over(host, error, seconds, timed_out):
    with pytest.raises(NotMeasured) as caught, paused.untouched_server(plan(host), models(host), seconds):
        raise error
    assert str(caught.value) == "%s." % error and caught.value.timed_out is timed_out
    assert host.said[-5:] == RESTORED


def test_they_are_restored_where_the_untouched_one_does_not_start(host):
    host.start_problem = "it does not answer"
    with pytest.raises(NotMeasured, match="it does not answer"):
        with paused.untouched_server(plan(host), models(host), 60):
            pytest.fail("it does not run")
    assert host.said[-5:] == RESTORED


def test_they_are_restored_where_one_cannot_be_stopped(host, monkeypatch):
    def stop(units):
        raise UnitError("x")

    monkeypatch.setattr(paused.units, "stop", stop)
    with pytest.raises(NotMeasured), paused.untouched_server(plan(host), models(host), 60):
        pytest.fail("it does not run")
    assert host.said[-5:] == RESTORED


def test_only_those_that_run_are_stopped_and_started(host):
    host.active = ("ollama@gpu1.service",)
    with paused.untouched_server(plan(host), models(host), 60):
        pass
    assert "stop ollama@gpu1.service" in host.said and "start ollama@gpu1.service" in host.said
    assert host.said[-1] == "prove gpu1 True"


@pytest.mark.parametrize(
    "what, told",
    [
        ("begin", "ollama-benchmark-restore.service, which would start them again, cannot be prepared .no flock."),
        ("store", "cannot be prepared .*gpu7"),
        ("none", "No instance of the plan runs: run the playbook"),
        ("earlier", "ollama-benchmark-restore.service still starts the instances again after an earlier benchmark"),
    ],
)
def test_nothing_is_stopped_where_they_could_not_be_restored(host, what, told):
    found = models(host)
    if what == "begin":
        host.begin_problem = "no flock"
    elif what == "store":
        found = {TINY: Source(str(host.models / "instances" / "gpu7"), TINY, True)}
    elif what == "none":
        host.active = ()
    else:
        host.active = (*host.active, "ollama-benchmark-restore.service")
    with pytest.raises(NotPaused, match=told), paused.untouched_server(plan(host), found, 60):
        pytest.fail("it does not run")
    assert not [one for one in host.said if one.startswith("stop")]
    assert not (host.models / "untouched").exists()


def test_a_store_that_a_loss_of_power_has_left_is_replaced(host):
    (host.models / "untouched").mkdir()
    (host.models / "untouched" / "old").touch()
    with paused.untouched_server(plan(host), models(host), 60):
        assert not (host.models / "untouched" / "old").exists()


@pytest.mark.parametrize("how", ["answer", "proof", "start"])
def test_what_is_not_as_planned_afterwards_is_said(host, monkeypatch, how):
    def fails(error):
        def fail(_instances):
            raise error

        return fail

    if how == "answer":
        monkeypatch.setattr(paused, "wait_until_ready", fails(SwitchFailed("gpu0 does not answer.")))
    if how == "start":
        monkeypatch.setattr(paused.units, "start", fails(UnitError("gpu0 does not answer")))
    host.proof = Proof(problem="gpu0 does not answer.")
    with pytest.raises(NotRestored, match="gpu0 does not answer") as caught:
        with paused.untouched_server(plan(host), models(host), 60):
            pass
    assert caught.value.failure is None


def test_why_the_measurement_failed_is_not_lost_where_they_are_not_restored(host):
    host.proof = Proof(problem="gpu0 does not answer.")
    with pytest.raises(NotRestored) as caught, paused.untouched_server(plan(host), models(host), 60):
        raise OllamaError(500, "engine died")
    assert str(caught.value.failure) == "engine died."


def test_an_untouched_server_that_does_not_end_is_noticed(host):
    """The instances are started and checked all the same."""
    host.processes, host.complaint = [41, 42], "timed out"
    told = r"ollama-untouched.service still run .*\(41, 42; timed out; timed out\): end them with 'systemctl"
    with pytest.raises(NotRestored, match=told), paused.untouched_server(plan(host), models(host), 60):
        pass
    assert host.said[-5:] == RESTORED


def test_the_lock_of_a_benchmark_that_has_not_ended_is_named(host, monkeypatch):
    monkeypatch.setattr(paused, "_LOCK_SECONDS", 0)
    with run_lock(path=paths.BENCHMARK_LOCK):
        with pytest.raises(LockHeld, match="benchmark_lock: an earlier benchmark has not ended"):
            with paused.untouched_server(plan(host), models(host), 60):
                pytest.fail("it does not run")
    assert host.said == []


def test_the_units(host):
    wanted = plan(host)
    server = paused.untouched_text(wanted)
    environment = [line.partition("=")[2] for line in server.splitlines() if line.startswith("Environment")]
    store_path = paths.untouched_store(wanted["models_dir"])
    where = ["HOME=" + store_path, "OLLAMA_MODELS=" + store_path, "OLLAMA_HOST=127.0.0.1:0"]
    assert environment == [*where, "OLLAMA_NOPRUNE=1"], "everything else is the default"
    assert "ExecStart=/usr/local/lib/ollama-multigpu/releases/0.32.15/bin/ollama serve" in server
    assert "ReadWritePaths=%s\n" % store_path in server and "IPAddressDeny=any" in server
    assert "Requisite=ollama-benchmark-restore.service\nAfter=ollama-benchmark-restore.service\n" in server
    restores = paused.restore_text(wanted, ["gpu0", "gpu1"], 90)
    commands = [line for line in restores.splitlines() if line.startswith("Exec")]
    limited = "--timeout 90 --conflict-exit-code 0"
    assert commands[0] == "ExecStart=+/usr/bin/flock %s %s true" % (limited, paths.BENCHMARK_LOCK)
    start = "ExecStopPost=+/usr/bin/systemctl start --no-block ollama@gpu0.service ollama@gpu1.service"
    stop = "ExecStopPost=-+/usr/bin/systemctl stop ollama-untouched.service"
    assert commands.index(stop) < commands.index(start)
    for text in (server, restores):
        assert "[Install]" not in text and not re.search("@[a-z_]+@", text.replace("@gpu", ""))
