# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compares running doubles with what was seen of Ollama 0.32.15: ollama-0.32.15-operations.json, and more."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.rig.gpus import state
from tests.rig.models import store as rig_models
from tests.rig.ollama import running
from tests.rig.ollama.double import gguf
from tests.rig.waiting import PATIENCE, wait_until
from tests.unit.rig import double_content

FACTS = {entry["name"]: entry for entry in double_content.recorded("ollama-0.32.15-operations.json")}
BAD_SETTINGS = [entry for entry in FACTS.values() if "environment" in entry]
LEFT_OUT = {
    "shared-store-tags-3s-after": "the store is read at every call: what is true at once is true three seconds later",
    "seconds": "times",
    "blobs": "digests of the recorder's tiny: their number is compared",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """An installed double."""
    return running.install(tmp_path_factory.mktemp("release"))


@pytest.fixture
def rig(program, tmp_path):
    """start(environment, models) -> Server. All servers are stopped afterwards."""
    gpus, servers = running.gpus(tmp_path / "gpus", "rtx-4090-x2"), []

    def start(environment=None, models=tmp_path / "models"):
        servers.append(running.Server(program, tmp_path, models, gpus, environment).wait())
        return servers[-1]

    yield start
    for server in servers:
        server.stop(signal.SIGKILL)
        for pid in server.engines():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def generate(server, model, **more):
    """Load a model: (status, body)."""
    status, _kind, body = server.request("POST", "/api/generate", dict({"model": model}, **more))
    return status, body


def names(server):
    """The names of /api/tags."""
    return sorted(model["name"] for model in server.request("GET", "/api/tags")[2]["models"])


def create(server, context):
    """Create tiny-optimized from tiny."""
    body = {
        "model": "tiny-optimized",
        "from": "tiny",
        "parameters": {"num_gpu": 999, "num_ctx": context},
        "stream": False,
    }
    return server.request("POST", "/api/create", body)[2]


def test_two_servers_on_one_store(rig, tmp_path):
    """What one server creates, changes or deletes, the other one sees at once."""
    first, second = rig(), rig()
    data = double_content.tiny()
    digest = "sha256:" + double_content.hashlib.sha256(data).hexdigest()
    assert first.request("POST", "/api/blobs/" + digest, data)[0] == 201
    fact = FACTS["shared-store-create-on-A"]["a"]
    status, _kind, body = first.request(
        "POST", "/api/create", {"model": "tiny", "files": {"m": digest}, "stream": False}
    )
    assert (status, body) == (fact["status"], fact["body"])
    fact = FACTS["shared-store-tags-right-after"]
    assert (names(first), names(second)) == (fact["A"], fact["B"])
    fact = FACTS["shared-store-load-on-B"]["b"]
    status, body = generate(second, "tiny")
    assert (status, set(body), body["done_reason"]) == (fact["status"], set(fact["body"]), "load")
    assert create(first, 2048) == FACTS["shared-store-recreate-on-A"]["a"]["body"]
    assert names(second) == sorted(FACTS["shared-store-recreate-on-A"]["B"])
    assert (
        FACTS["shared-store-show-on-B"]["b"]
        in second.request("POST", "/api/show", {"model": "tiny-optimized"})[2]["parameters"]
    )
    create(first, 1024)
    shown = second.request("POST", "/api/show", {"model": "tiny-optimized"})[2]["parameters"]
    assert sorted(shown.splitlines()) == sorted(FACTS["shared-store-show-on-B-after-change-on-A"]["b"].splitlines())
    fact = FACTS["shared-store-delete-on-A-while-loaded-on-B"]
    assert first.request("DELETE", "/api/delete", {"model": "tiny"})[0] == fact["status"]
    assert (names(first), names(second), generate(second, "tiny")[0]) == (fact["A"], fact["B"], fact["b"])
    # The uploaded file was never a layer, so it stays, as it stayed in the recording: model, parameters, config and
    # that one.
    assert len(os.listdir(tmp_path / "models" / "blobs")) == len(FACTS["blobs-after-delete"]["blobs"])


def test_hard_linked_stores_are_independent(rig, tmp_path):
    """14.17: a model that is linked into the store of a running server is listed and loads.

    Deleting it in one store does not affect the other store.
    """
    rig_models.write_into_store("tiny", tmp_path / "models")
    second_store = tmp_path / "second"
    first, second = rig(), rig(models=second_store)
    assert generate(second, "tiny")[0] == 404
    shutil.copytree(tmp_path / "models" / "blobs", second_store / "blobs", copy_function=os.link, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "models" / "manifests", second_store / "manifests", dirs_exist_ok=True)
    digests = [server.request("GET", "/api/tags")[2]["models"][0]["digest"] for server in (first, second)]
    assert digests[0] == digests[1] == rig_models.manifest_digest("tiny")
    first.request("DELETE", "/api/delete", {"model": "tiny"})
    assert (generate(first, "tiny")[0], generate(second, "tiny")[0]) == (404, 200)


FRESH, OLD = ["sha256-1111111111111", "sha256-22222-partial"], ["sha256-3333333333333", "sha256-44444-partial"]


@pytest.mark.parametrize("environment, left", [({}, FRESH), ({"OLLAMA_NOPRUNE": "1"}, FRESH + OLD)])
def test_prune_at_start(rig, tmp_path, environment, left):
    """Unreferenced blobs and partial files older than an hour are deleted, new and referenced ones are kept."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    referenced = set(os.listdir(tmp_path / "models" / "blobs"))
    marks = {"1": 0, "3": 7200}
    for digit, age in marks.items():
        for name in ("sha256-" + digit * 64, "sha256-" + str(int(digit) + 1) * 64 + "-partial"):
            path = tmp_path / "models" / "blobs" / name
            path.write_bytes(b"x")
            os.utime(path, (time.time() - age,) * 2)
    for name in referenced:
        os.utime(tmp_path / "models" / "blobs" / name, (time.time() - 7200,) * 2)
    server = rig(environment)
    found = set(os.listdir(tmp_path / "models" / "blobs"))
    short = sorted(
        re.sub(r"(\d)\1{63}", lambda match: match.group(1) * (5 if "partial" in name else 13), name)
        for name in found - referenced
    )
    assert referenced <= found and short == left
    if not environment:
        assert left == FACTS["prune-at-start"]["left"]
        wanted = [re.search(r'msg="(.*)"', line).group(1) for line in FACTS["prune-at-start"]["log"][:2]]
        assert [text for text in wanted if any(text in line for line in server.log())] == wanted


@pytest.mark.parametrize("environment, kept", [({}, 0), ({"OLLAMA_NOPRUNE": "1"}, 1)])
def test_what_a_recreated_model_does_not_use_any_more(rig, tmp_path, environment, kept):
    """Its old parameters are deleted, unless the server prunes nothing (server/create.go)."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    server = rig(environment)
    create(server, 1024)
    before = set(os.listdir(tmp_path / "models" / "blobs"))
    create(server, 2048)
    after = set(os.listdir(tmp_path / "models" / "blobs"))
    assert len(after - before) == 1 and len(before & after) == len(before) - 1 + kept


def test_kill_of_the_server_leaves_the_engine(rig, tmp_path):
    """After SIGKILL of the server, the engine keeps running."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    server = rig()
    generate(server, "tiny")
    fact = FACTS["server-killed-9"]
    assert len(server.engines()) == fact["engine_processes"]
    server.stop(signal.SIGKILL)
    time.sleep(0.3)
    assert len(server.engines()) == fact["engines_still_running_after_2s"]


def test_sigterm_ends_server_and_engine(rig, tmp_path):
    """SIGTERM with a loaded model: exit status 0, and the engine has exited."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    server = rig()
    generate(server, "tiny")
    fact = FACTS["server-sigterm"]
    assert (server.stop(), len(server.engines())) == (fact["exit"], fact["engines_left"])


def test_port_in_use(rig):
    """Exit status 1 and one message."""
    first = rig()
    second = rig({"OLLAMA_HOST": first.environment["OLLAMA_HOST"]})
    fact = FACTS["port-in-use"]
    assert second.process.wait(PATIENCE) == fact["exit"]
    assert second.log()[-1:] == [
        line.replace("127.0.0.1:11450", first.environment["OLLAMA_HOST"]) for line in fact["log"]
    ]


def _port(text):
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:<port>", text)


@pytest.mark.parametrize("entry", BAD_SETTINGS, ids=lambda entry: entry["name"])
def test_bad_settings(entry, rig, tmp_path):
    """The server runs; the effective values and the warnings are as recorded."""
    models = tmp_path / "none" / "models" if entry["models_dir"] else tmp_path / "models"
    if "OLLAMA_HOST" in entry["environment"]:
        return _bad_port(entry)
    server = rig(entry["environment"], models)
    assert (server.process.poll() is None) == entry["running"]
    config = next(line for line in server.log() if "server config" in line)
    for name, value in entry["effective"].items():
        assert _port("%s:%s " % (name, value)) in _port(config)
    wanted = [
        re.search(r"level=(\w+) source=(\S+) msg=(.*)", line).groups() for line in entry["log"] if "level=WARN" in line
    ]
    got = [
        re.search(r"level=(\w+) source=(\S+) msg=(.*)", line).groups() for line in server.log() if "level=WARN" in line
    ]
    assert set(got) == set(wanted)
    if entry["models_dir_created"]:
        assert models.is_dir()


def _bad_port(entry):
    """A port above 65535 becomes 11434. The test does not bind it, because that port may be in use."""
    code = "from double import settings; print(settings.host()); print(settings.as_map()['OLLAMA_HOST'])"
    done = subprocess.run(
        ["python3", "-c", code],
        cwd=running.build_archive.HERE,
        env=dict(os.environ, **entry["environment"]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["('http', '127.0.0.1', 11434)", entry["effective"]["OLLAMA_HOST"]]
    want = next(line for line in entry["log"] if "invalid port" in line)
    assert re.search(r"level=.*", want).group(0) in done.stderr


def test_sigterm_while_a_model_loads(rig, tmp_path):
    """An engine that is still loading is stopped as well; /api/ps and loaded models answer in the meantime."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    server = rig()
    with state.edit(server.environment["GPU_RIG_STATE"]) as values:
        values["engine.load_ms"] = "60000"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        load = pool.submit(generate, server, "tiny")
        wait_until(server.engines, "an engine that loads")
        assert server.request("GET", "/api/ps")[0] == 200
        assert (server.stop(), server.engines()) == (0, [])
        assert load.exception() is not None


def test_a_store_with_a_missing_blob(rig, tmp_path):
    """One message that names the file, without a traceback."""
    path = rig_models.write_into_store("tiny", tmp_path / "models")
    assert path.exists()
    for blob in (tmp_path / "models" / "blobs").iterdir():
        blob.unlink()
    server = rig()
    status, body = generate(server, "tiny")
    assert status == 500 and "no such file or directory" in body["error"]
    assert not [line for line in server.log() if "Traceback" in line]


def test_queue_of_one_with_twelve_clients(rig, tmp_path):
    """The limit counts waiting loads, not requests to a loaded engine: all twelve get status 200."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    server = rig({"OLLAMA_MAX_QUEUE": "1"})
    generate(server, "tiny")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        statuses = list(
            pool.map(
                lambda _number: generate(server, "tiny", prompt="a", stream=False, options={"num_predict": 2})[0],
                range(12),
            )
        )
    assert {str(status): statuses.count(status) for status in statuses} == FACTS["queue-of-1-with-12-clients"]["counts"]


def test_engine_that_dies_while_generating(rig, tmp_path):
    """The answer is an error with its status, the journal reports the
    exit, and the next request loads the model again.
    """
    rig_models.write_into_store("tiny", tmp_path / "models")
    server = rig()
    with state.edit(server.environment["GPU_RIG_STATE"]) as values:
        values["engine.lie"] = "die_generating"
    status, body = generate(server, "tiny", prompt="a", stream=False)
    assert status == 500 and "error" in body
    with state.edit(server.environment["GPU_RIG_STATE"]) as values:
        del values["engine.lie"]
    assert generate(server, "tiny", prompt="a", stream=False, options={"num_predict": 1})[0] == 200


def test_main_gpu_beyond_the_last(rig, tmp_path):
    """14.2: the value is passed through, and the engine exits."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    status, body = generate(rig(), "tiny", options={"main_gpu": 5})
    assert status == 500 and body["error"].startswith("llama-server process has terminated: exit status 1")


def test_projector_and_uuids(rig, tmp_path):
    """5.2: the child gets the user's own values, the model file as its projector, and a margin of projector + 1 GiB."""
    rig_models.write_into_store("llama4:16x17b", tmp_path / "models")
    running.gpus(tmp_path / "gpus", "rtx-a6000-x2")
    uuids = ",".join(gpu["uuid"] for gpu in reversed(state.gpus(state.load(str(tmp_path / "gpus")))))
    server = rig({"CUDA_VISIBLE_DEVICES": uuids, "OLLAMA_CONTEXT_LENGTH": "32768"})
    assert generate(server, "llama4:16x17b")[0] == 200
    (pid,) = server.engines()
    words, variables = server.arguments(pid), server.variables(pid)
    assert variables["CUDA_VISIBLE_DEVICES"] == uuids
    assert words[words.index("--mmproj") + 1] == words[words.index("--model") + 1]
    assert words[words.index("-b") + 1] == "1024" and "--split-mode" not in words
    projector = sum(
        tensor.bytes
        for tensor in gguf.read(words[words.index("--model") + 1]).tensors
        if tensor.name.startswith(("v.", "mm."))
    )
    assert int(variables["LLAMA_ARG_FIT_TARGET"]) == -(-(projector + 2**30) // 2**20)
    (loaded,) = server.request("GET", "/api/ps")[2]["models"]
    assert loaded["size"] == loaded["size_vram"] > 60 * 2**30 and loaded["context_length"] == 32768


def test_limit_of_loaded_models_and_expiry(rig, tmp_path):
    """OLLAMA_MAX_LOADED_MODELS=1 evicts. A model is unloaded after its keep_alive."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    server = rig({"OLLAMA_MAX_LOADED_MODELS": "1"})
    data = double_content.tiny2()
    digest = "sha256:" + double_content.hashlib.sha256(data).hexdigest()
    server.request("POST", "/api/blobs/" + digest, data)
    server.request("POST", "/api/create", {"model": "tiny2", "files": {"m": digest}, "stream": False})
    generate(server, "tiny")
    generate(server, "tiny2")
    assert [model["name"] for model in server.request("GET", "/api/ps")[2]["models"]] == ["tiny2:latest"]
    generate(server, "tiny2", keep_alive="200ms")
    wait_until(lambda: server.request("GET", "/api/ps")[2]["models"] == [], "a server without models")
    wait_until(lambda: server.engines() == [], "the end of the engine")


def test_version(rig, program):
    """With a server its version, without one a warning and the version of the program."""
    server = rig()
    call = dict(args=[str(program), "--version"], env=server.environment, capture_output=True, text=True)
    assert subprocess.run(check=True, **call).stdout == "ollama version is 0.32.15\n"
    server.stop()
    assert (
        subprocess.run(check=True, **call).stdout
        == "Warning: could not connect to a running Ollama instance\nWarning: client version is 0.32.15\n"
    )


def test_unknown_field_is_an_error(rig):
    """The real server ignores unknown fields. The double does not, so that misspelt ones are found."""
    status, _kind, body = rig().request("POST", "/api/generate", {"model": "tiny", "keepalive": 5})
    assert status == 501 and "keepalive" in body["error"]


def test_every_fact_is_compared():
    """Each entry of the recording is used above or listed in LEFT_OUT."""
    with open(__file__, encoding="utf-8") as stream:
        text = stream.read()
    unused = [name for name in FACTS if '"%s"' % name not in text and FACTS[name] not in BAD_SETTINGS]
    assert unused == []


@pytest.mark.parametrize("asked", [{}, {"num_ctx": 1024}, {"num_ctx": 1 << 30}], ids=str)
def test_a_request_for_the_context_that_a_model_has_loads_nothing(rig, tmp_path, asked):
    """sched.go, needsReload: the server compares what both get, and not what they ask for."""
    rig_models.write_into_store("tiny", tmp_path / "models")
    server = rig()
    generate(server, "tiny", options=asked)
    (pid,) = server.engines()
    (entry,) = server.request("GET", "/api/ps")[2]["models"]
    generate(server, "tiny", options={"num_ctx": entry["context_length"]})
    assert server.engines() == [pid]
    generate(server, "tiny", options={"num_ctx": entry["context_length"] - 8})
    assert len(server.engines()) == 1 and server.engines() != [pid]
