# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A small real model on the real llama-server, on the CPU (make engine): measuring, prediction, and one generation.

GPUs are RPC servers of llama.cpp, whose memory is the machine's. Everything else is as on a host: the header is read
from the file in a store, the plan is made, and measure/ asks the engine that plan. The limits of the comparison are
those of the oracle (tests/oracle/table.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.host.as_user import Account
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure import dry_run, memory_table
from ansible_collections.gpufleet.ollama.plugins.module_utils.measure.measure_plan import measure_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf import source
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.store import Store
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.plan import make_plan
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.shapes import PlanRequest

from tests.oracle import hosts, table
from tests.oracle.engine import real_model, sandbox

MIB = 1024 * 1024
GPU_MIB = 12288
LEAST_PREDICTED_MIB = -64  # a prediction is never lower than the engine's figure by more
SECONDS_TO_LOAD = 120
CASES = {
    "one GPU, 8192 tokens": (1, {}),
    "two GPUs": (2, {"strategy": "spread"}),
    "32768 tokens twice, q8_0": (1, {"context_length": 32768, "parallel": 2, "kv_cache_type": "q8_0"}),
    "batch of 512, no flash attention": (1, {"ubatch": 512, "environment": {"OLLAMA_FLASH_ATTENTION": "0"}}),
    "batch of 2048": (1, {"ubatch": 2048}),
}

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        not os.environ.get("GPUFLEET_ENGINE"), reason="NOT RUN with a real engine: it downloads 253 MB (make engine)"
    ),
]


@pytest.fixture(scope="module")
def engine():
    """The path of llama-server; two GPUs run."""
    try:
        real_model.prepare()
        real_model.fetch()
    except real_model.NotToBeHad as error:
        pytest.fail("make engine cannot run here: %s" % error, pytrace=False)
    try:
        print("\n%s" % sandbox.version()["engine"])
        yield str(real_model.program())
    finally:
        sandbox.close()


@pytest.fixture(scope="module")
def store(engine):
    """The path of a models directory that has the model."""
    with real_model.store() as path:
        yield path


@pytest.fixture(scope="module")
def facts(store):
    """What model_info returns for the model."""
    return source.from_store(Store(store), real_model.NAME)[0]


@pytest.fixture(autouse=True)
def as_this_user(monkeypatch):
    """This machine has no service user, and only root can run what lies in the engine's root."""
    monkeypatch.setattr(dry_run, "_user", lambda: Account("root", 0, 0))


def planned(facts, gpus, environment=None, **settings):
    """(inventory, plan) for so many GPUs."""
    inventory = hosts.inventory(*[(GPU_MIB, GPU_MIB - 256)] * gpus)
    models = [dict(settings, name=real_model.NAME, model=facts)]
    return inventory, make_plan(PlanRequest(inventory, models, table.SERVED, environment=environment or {}))


@contextlib.contextmanager
def on_devices(plan, gpus):
    """The plan with RPC servers in place of its GPUs, for as long as the context lasts."""
    with sandbox.Devices([GPU_MIB] * gpus) as devices:
        rpc = {"LLAMA_ARG_RPC": devices.servers([GPU_MIB] * gpus)}
        instances = [dict(one, environment=dict(one["environment"], **rpc)) for one in plan["instances"]]
        yield dict(plan, instances=instances)


def figures(predicted):
    """[[weights, KV, compute] in MiB] of each GPU."""
    return [[device[part] / MIB for part in table.PARTS] for device in predicted["devices"]]


def shown(title, engine, ours):
    """Print what is compared."""
    for name, values in (("engine", engine), ("plan", ours)):
        print("%-34s %-7s weights %7.1f   KV %7.1f   compute %7.1f MiB" % (title, name, *values))


def check(engine, ours):
    """Weights and KV to the MiB, and the sum as near as the oracle asks."""
    assert table.exact(engine, ours), (engine, ours)
    assert table.close(engine, ours) and sum(ours) - sum(engine) >= LEAST_PREDICTED_MIB, (engine, ours)


@pytest.mark.parametrize("case", CASES)
def test_the_engine_measures_what_was_predicted(case, engine, store, facts):
    gpus, settings = CASES[case]
    inventory, plan = planned(facts, gpus, **settings)
    with on_devices(plan, gpus) as asked:
        measured = measure_plan(asked, inventory, engine, [store])
    assert measured["warnings"] == plan["warnings"] == []
    (before,), (after,) = (
        [model["predicted"] for instance in one["instances"] for model in instance["models"]]
        for one in (plan, measured)
    )
    assert after["basis"] == "measured" and len(after["devices"]) == gpus
    for theirs, ours in zip(figures(after), figures(before)):
        shown(case, theirs, ours)
        check(theirs, ours)


def on_the_cpu(engine, store, facts):
    """(the plan's figures of the model, the dry run) where no GPU has room."""
    inventory = hosts.inventory((2048, 600))
    models = [{"name": real_model.NAME, "model": facts, "allow_cpu_offload": True}]
    plan = make_plan(PlanRequest(inventory, models, table.SERVED))
    (instance,) = plan["instances"]
    (model,) = instance["models"]
    assert model["predicted"]["devices"] == []
    path = os.path.join(store, "blobs", "sha256-" + real_model.DIGEST)
    return model["predicted"], dry_run.DryRun(engine, path, instance, model)


def test_the_host_s_memory_is_what_was_predicted(engine, store, facts):
    predicted, run = on_the_cpu(engine, store, facts)
    rows = {}
    with subprocess.Popen(
        run.arguments(), env=run.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        for line in server.stdout:
            row = memory_table.row(line)
            if row and row[1]:
                rows[row[0]] = row[1]
            elif rows:
                break
        server.kill()
    assert memory_table.HOST in rows  # and CPU_REPACK: weights that the CPU has in another order
    theirs = [sum(row.weight_bytes + row.kv_bytes for row in rows.values()) / MIB, 0.0]
    theirs.append(rows[memory_table.HOST].compute_bytes / MIB)
    ours = [predicted["host_bytes"] / MIB, 0.0, predicted["host_compute_bytes"] / MIB]
    shown("CPU alone (weights with KV)", theirs, ours)
    assert -1 < ours[0] - theirs[0] < 1 + 2 * len(rows)  # the engine cuts off each of its figures
    assert table.close(theirs, ours) and sum(ours) - sum(theirs) >= LEAST_PREDICTED_MIB


def test_it_generates(engine, store, facts):
    run = on_the_cpu(engine, store, facts)[1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = run.arguments()
    command[command.index("--port") + 1] = str(port)
    question = json.dumps({"prompt": "The capital of France is", "n_predict": 8, "temperature": 0}).encode()
    with subprocess.Popen(
        command, env=run.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            answer = _answer(server, "http://127.0.0.1:%d/completion" % port, question)
        finally:
            server.kill()
    print("The capital of France is%s (%d tokens)" % (answer["content"], answer["tokens_predicted"]))
    assert answer["tokens_predicted"] >= 1 and answer["content"].strip()


def _answer(server, url, question):
    """What the server answers, as soon as it has loaded."""
    ends = time.monotonic() + SECONDS_TO_LOAD
    while time.monotonic() < ends:
        assert server.poll() is None, "llama-server ended with %s before it answered" % server.returncode
        try:
            with urllib.request.urlopen(urllib.request.Request(url, question), timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            assert error.code == 503, error  # it loads
        except urllib.error.URLError:
            pass  # it does not listen yet
        time.sleep(0.5)
    pytest.fail("llama-server did not answer within %d seconds" % SECONDS_TO_LOAD)
