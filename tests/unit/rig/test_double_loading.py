# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compares the double, with the engine stand-in, with every entry of ollama-0.32.15-loading.json, in its order."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.rig.ollama import running
from tests.rig.waiting import wait_until
from tests.unit.rig import double_compare, double_content

ENTRIES = double_content.recorded("ollama-0.32.15-loading.json")
# Entries before which the recorder left the loaded models alone; before all others they were unloaded.
GOES_ON = re.compile(r"generate-|chat|openai-models|load-second-model|unload|ps-|delete-while-loaded|reload-")
ENVIRONMENT_LEFT_OUT = {
    "GGML_VK_VISIBLE_DEVICES": "the double has CUDA devices: the number of ids in CUDA_VISIBLE_DEVICES is compared "
    "with it",
    "LD_LIBRARY_PATH": "another installation, with a CUDA directory: its last part must be lib/ollama first",
    "OLLAMA_HOST": "the port of this run",
}
# Messages of the journal that are not compared -> why.
MESSAGES_LEFT_OUT = {
    "template selection": "the double renders no templates",
    "waiting for llama-server to become available": "timing decides which states are seen",
    "updated VRAM based on existing loaded models": "follows the number of GPUs",
    "llama-server started in # seconds": "written twice by the real server: compared once",
}
FIELDS_LEFT_OUT = (
    "digits are replaced by #, digests by <hex>, Vulkan by CUDA; values of the fields are not compared, their names are"
)


def _environment(recorded):
    """The recorded environment of the service, for CUDA devices."""
    found = {key: value for key, value in recorded.items() if key != "GGML_VK_VISIBLE_DEVICES"}
    if recorded.get("GGML_VK_VISIBLE_DEVICES") == "-1":
        found["CUDA_VISIBLE_DEVICES"] = "-1"
    return found


def _create(server, optimized_context):
    """Create the models of the recording that do not exist yet: tiny, tiny2 and tiny-optimized."""
    for name, data in (("tiny", double_content.tiny()), ("tiny2", double_content.tiny2())):
        if server.request("POST", "/api/show", {"model": name})[0] == 404:
            digest = "sha256:" + double_content.hashlib.sha256(data).hexdigest()
            assert server.request("POST", "/api/blobs/" + digest, data)[0] in (200, 201)
            assert (
                server.request("POST", "/api/create", {"model": name, "files": {"m.gguf": digest}, "stream": False})[0]
                == 200
            )
    body = {
        "model": "tiny-optimized",
        "from": "tiny",
        "parameters": {"num_gpu": 999, "num_ctx": optimized_context},
        "stream": False,
    }
    assert server.request("POST", "/api/create", body)[0] == 200


def _between(name, server):
    """What the recorder did before an entry."""
    if name == "ps-after-recreate-while-loaded":
        _create(server, 1024)
    elif name == "ps-after-engine-killed":
        before = len(server.log())
        os.kill(server.engines()[0], signal.SIGKILL)
        wait_until(
            lambda: not server.engines() and any("no longer running" in line for line in server.log()[before:]),
            "a line about the killed engine",
        )
    elif not GOES_ON.match(name):
        server.unload_all()


def _children(server):
    found = []
    for pid in server.engines():
        words = server.arguments(pid)
        start = next(index for index, word in enumerate(words) if word.endswith("llama-server"))
        found.append({"argv": words[start:], "environment": server.variables(pid)})
    return found


def _commands(lines):
    """The argument lists of the `starting llama-server` lines."""
    return [line.split('cmd="', 1)[1].rstrip('"').split() for line in lines if 'msg="starting llama-server"' in line]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """{name: {"answer", "children", "ps", "log"}}, with one server per environment of the service."""
    home = tmp_path_factory.mktemp("home")
    program = running.install(tmp_path_factory.mktemp("release"))
    gpus = running.gpus(home / "gpus", "rtx-4090-x2")
    server, environment, found = None, None, {}
    for entry in ENTRIES:
        if entry["service_environment"] != environment:
            if server:
                assert server.stop() == 0
            environment = entry["service_environment"]
            server = running.Server(program, home, home / "models", gpus, _environment(environment)).wait()
            _create(server, 2048)
        before = len(server.log())
        _between(entry["name"], server)
        begun = len(server.log())
        if entry["name"] == "ps-after-engine-killed":
            found["killing"] = server.log()[before:]
        request = entry["request"]
        answer = server.request(request["method"], request["path"], request.get("json"))
        found[entry["name"]] = {
            "answer": answer,
            "children": _children(server),
            "ps": server.request("GET", "/api/ps")[2],
            "log": server.log()[begun:],
        }
    server.stop()
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_response(entry, replayed):
    """Status, content type and body; generated text if there was a prompt."""
    status, kind, body = replayed[entry["name"]]["answer"]
    want = entry["response"]
    request = entry["request"].get("json") or {}
    assert (status, kind) == (want["status"], want["content_type"])
    generated = bool(request.get("prompt") or request.get("messages"))
    wanted, got = want["body"], body
    if generated and isinstance(wanted, list):  # how many pieces a text comes in is the engine's business
        wanted, got = [wanted[0], wanted[-1]], [got[0], got[-1]]
    assert double_compare.differences(wanted, got, {}, generated=generated) == []


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if "child_processes" in entry], ids=lambda entry: entry["name"]
)
def test_engine(entry, replayed):
    """The engines that run afterwards: all arguments, the environment, the number of GPUs."""
    got = replayed[entry["name"]]["children"]
    assert [_arguments(child["argv"]) for child in got] == [
        _arguments(child["argv"]) for child in entry["child_processes"]
    ]
    for child, want in zip(got, entry["child_processes"]):
        for name, value in want["environment"].items():
            if name not in ENVIRONMENT_LEFT_OUT:
                assert child["environment"][name] == value
        assert child["environment"]["LD_LIBRARY_PATH"].split(":")[0].endswith("lib/ollama")
        ids = child["environment"].get("CUDA_VISIBLE_DEVICES", "0,1")
        assert len(ids.split(",")) == len(want["environment"]["GGML_VK_VISIBLE_DEVICES"].split(","))


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if _commands(entry.get("server_log", []))], ids=lambda entry: entry["name"]
)
def test_started_engines(entry, replayed):
    """The engines that were started according to the journal, also those that exited at once."""
    want, got = _commands(entry["server_log"]), _commands(replayed[entry["name"]]["log"])
    assert [_arguments(words) for words in got] == [_arguments(words) for words in want]


def _arguments(words):
    """A list of arguments without the values that differ between runs."""
    found = list(words)
    found[0] = "llama-server"
    left_out = ["--port", "--model"]
    if found[found.index("--flash-attn") + 1] == "off":
        # Smaller on CUDA devices without flash attention than on the recorded Vulkan ones; compared by placement rows.
        left_out += ["-b", "-ub"]
    for option in left_out:
        found[found.index(option) + 1] = "<%s>" % option
    return found


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "ps_after" in entry], ids=lambda entry: entry["name"])
def test_ps(entry, replayed):
    """/api/ps afterwards.

    The sizes are those of the stand-in: compared is whether they are 0, and whether size and size_vram are equal.
    """
    want, got = entry["ps_after"], replayed[entry["name"]]["ps"]
    assert double_compare.differences(want, got, {}) == []
    for one, other in zip(
        sorted(want["models"], key=lambda model: model["name"]), sorted(got["models"], key=lambda model: model["name"])
    ):
        for name in ("size", "size_vram"):
            assert (one[name] == 0) == (other[name] == 0)
        assert (one["size"] == one["size_vram"]) == (other["size"] == other["size_vram"])


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if "server_log" in entry], ids=lambda entry: entry["name"]
)
def test_journal(entry, replayed):
    """The double writes every line that the server itself wrote: level, source, message and names of the fields."""
    lines = replayed[entry["name"]]["log"]
    if (
        entry["name"] == "generate-after-engine-killed"
    ):  # the recorder cut its log a moment later: the death is among this entry's lines
        lines = lines + replayed["killing"]
    got = {_line(text) for text in lines if text.startswith("time=")}
    want = {_line(text) for text in entry["server_log"] if text.startswith("time=")}
    assert {line for line in want - got if line[2] not in MESSAGES_LEFT_OUT} == set()


def _line(text):
    fields = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', text)
    values = dict(fields)
    return (
        values["level"],
        values["source"].split(":")[0],
        re.sub(r"[\d.]+", "#", values["msg"].strip('"')),
        tuple(name for name, _value in fields),
    )


def test_digest_of_a_loaded_model_changes_with_the_next_request(replayed):
    """Re-created while it is loaded: /api/ps keeps the old digest until a request reloads the model."""
    before, while_loaded, after = (
        replayed[name]["ps"]["models"][0]["digest"]
        for name in ("load-optimized", "ps-after-recreate-while-loaded", "generate-after-recreate")
    )
    assert before == while_loaded != after
