# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""An untouched Ollama in place of the instances, and their way back. What systemd does is played here;
tests/integration/test_benchmark.py has it on a host."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.proof import Proof
from ansible_collections.gpufleet.ollama.plugins.module_utils.apply.steps import SwitchFailed
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark import aside
from ansible_collections.gpufleet.ollama.plugins.module_utils.benchmark.aside import NotAside, NotBack, Source
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import parse
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.run_lock import LockHeld, run_lock
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.units import UnitError
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store

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
        models = tmp_path / "models"

    host, said = Host(), []
    host.said = said
    (host.models / "instances").mkdir(parents=True)
    store.write_into_store("tiny", host.models / "instances" / "gpu0")
    for name in ("LOCK", "ASIDE_LOCK", "UNTOUCHED_UNIT_FILE", "WAY_BACK_UNIT_FILE"):
        monkeypatch.setattr(paths, name, str(tmp_path / "run" / name.lower()))
    monkeypatch.setattr(paths, "USER", pwd.getpwuid(os.geteuid()).pw_name)
    monkeypatch.setattr(aside, "Store", lambda path, user: Store(path))
    monkeypatch.setattr(aside, "run_lock", lambda wait=0, path=None: run_lock(wait, path=path or paths.LOCK))

    def show(units):
        return {unit: {"ActiveState": "active" if unit in host.active else "inactive"} for unit in units}

    def start(unit):
        said.append("serve")
        if host.start_problem:
            raise aside.temporary_server.NotStarted(host.start_problem)
        return "http://127.0.0.1:1"

    def prove(plan, names, accept_unproven):
        said.append("prove %s %s" % (" ".join(names), accept_unproven))
        return host.proof

    monkeypatch.setattr(aside.systemd, "show", show)
    monkeypatch.setattr(aside.units, "stop", lambda units: said.append("stop " + " ".join(units)))
    monkeypatch.setattr(aside.units, "start", lambda units: said.append("start " + " ".join(units)))
    monkeypatch.setattr(aside, "wait_until_ready", lambda instances: said.append("ready %d" % len(instances)))
    monkeypatch.setattr(aside, "prove", prove)
    monkeypatch.setattr(
        aside.temporary_server, "begin", lambda unit: said.append("begin " + unit) or host.begin_problem
    )
    monkeypatch.setattr(aside.temporary_server, "start", start)
    monkeypatch.setattr(aside.temporary_server, "stop", lambda unit, files: said.append("end " + unit))
    return host


def plan(host):
    instances = [
        {"name": name, "unit": "ollama@%s.service" % name, "store": str(host.models / "instances" / name)}
        for name in ("gpu0", "gpu1")
    ]
    return {"ollama_version": "0.32.15", "models_dir": str(host.models), "instances": instances}


def models(host):
    return {TINY: Source(str(host.models / "instances" / "gpu0"), TINY, True)}


BACK = ["end ollama-way-back.service", "start ollama@gpu0.service ollama@gpu1.service", "ready 2"]
BACK += ["prove gpu0 gpu1 True"]


def test_the_way_back_is_there_before_anything_is_stopped(host):
    with aside.untouched_server(plan(host), models(host), 0) as url:
        assert url == "http://127.0.0.1:1"
        assert host.said == ["begin ollama-way-back.service", "stop " + " ".join(host.active), "serve"]
        linked = host.models / "untouched"
        assert linked.stat().st_mode & 0o777 == 0o700
        (blob, *_others) = (path for path in (linked / "blobs").iterdir() if path.stat().st_size > 100)
        assert blob.stat().st_nlink == 2, "no byte twice"
        for path in (paths.LOCK, paths.ASIDE_LOCK):
            with open(path) as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        host.said.clear()
    assert host.said == BACK


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_they_come_back_however_the_measurement_ends(host, error):
    with pytest.raises(error), aside.untouched_server(plan(host), models(host), 0):
        raise error
    assert host.said[-4:] == BACK


def test_they_come_back_where_the_untouched_one_does_not_start(host):
    host.start_problem = "it does not answer"
    with pytest.raises(aside.temporary_server.NotStarted), aside.untouched_server(plan(host), models(host), 0):
        pytest.fail("it does not run")
    assert host.said[-4:] == BACK


def test_they_come_back_where_one_cannot_be_stopped(host, monkeypatch):
    def stop(units):
        raise UnitError("x")

    monkeypatch.setattr(aside.units, "stop", stop)
    with pytest.raises(UnitError), aside.untouched_server(plan(host), models(host), 0):
        pytest.fail("it does not run")
    assert host.said[-4:] == BACK


def test_only_those_that_run_are_stopped_and_started(host):
    host.active = ("ollama@gpu1.service",)
    with aside.untouched_server(plan(host), models(host), 0):
        pass
    assert "stop ollama@gpu1.service" in host.said and "start ollama@gpu1.service" in host.said
    assert host.said[-1] == "prove gpu1 True"


@pytest.mark.parametrize("what", ["begin", "store", "none"])
def test_nothing_is_stopped_without_a_way_back(host, what):
    found = models(host)
    if what == "begin":
        host.begin_problem = "no flock"
    elif what == "store":
        found = {TINY: Source(str(host.models / "instances" / "gpu7"), TINY, True)}
    else:
        host.active = ()
    with pytest.raises(NotAside), aside.untouched_server(plan(host), found, 0):
        pytest.fail("it does not run")
    assert not [one for one in host.said if one.startswith("stop")]
    assert not (host.models / "untouched").exists()


def test_a_store_that_a_loss_of_power_has_left_is_replaced(host):
    (host.models / "untouched").mkdir()
    (host.models / "untouched" / "old").touch()
    with aside.untouched_server(plan(host), models(host), 0):
        assert not (host.models / "untouched" / "old").exists()


@pytest.mark.parametrize("how", ["answer", "proof"])
def test_what_is_not_as_planned_afterwards_is_said(host, monkeypatch, how):
    def not_ready(instances):
        raise SwitchFailed("gpu0 does not answer.")

    if how == "answer":
        monkeypatch.setattr(aside, "wait_until_ready", not_ready)
    host.proof = Proof(problem="gpu0 does not answer.")
    with pytest.raises(NotBack, match="gpu0 does not answer"), aside.untouched_server(plan(host), models(host), 0):
        pass


def test_a_run_that_works_on_the_host_is_not_disturbed(host):
    with contextlib.ExitStack() as stack:
        stack.enter_context(run_lock(path=paths.LOCK))
        with pytest.raises(LockHeld), aside.untouched_server(plan(host), models(host), 0):
            pytest.fail("it does not run")
    assert host.said == []


def test_the_units(host):
    wanted = plan(host)
    server = aside.untouched_text(wanted)
    environment = [line.partition("=")[2] for line in server.splitlines() if line.startswith("Environment")]
    store_path = paths.untouched_store(wanted["models_dir"])
    where = ["HOME=" + store_path, "OLLAMA_MODELS=" + store_path, "OLLAMA_HOST=127.0.0.1:0"]
    assert environment == [*where, "OLLAMA_NOPRUNE=1"], "everything else is the default"
    assert "ExecStart=/usr/local/lib/ollama-multigpu/releases/0.32.15/bin/ollama serve" in server
    assert "ReadWritePaths=%s\n" % store_path in server and "IPAddressDeny=any" in server
    back = aside.way_back_text(wanted, ["gpu0", "gpu1"])
    commands = [line for line in back.splitlines() if line.startswith("Exec")]
    assert commands[0] == "ExecStart=+/usr/bin/flock %s true" % paths.ASIDE_LOCK
    start = "ExecStopPost=+/usr/bin/systemctl start --no-block ollama@gpu0.service ollama@gpu1.service"
    stop = "ExecStopPost=-+/usr/bin/systemctl stop ollama-untouched.service"
    assert commands.index(stop) < commands.index(start)
    for text in (server, back):
        assert "[Install]" not in text and not re.search("@[a-z_]+@", text.replace("@gpu", ""))
