# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The libraries come along: Ansible runs the modules with a Python that has neither requests nor nvidia-ml-py."""

from __future__ import annotations

import http.server
import json
import pathlib
import subprocess
import sys
import threading
from unittest import mock

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils import with_libraries


@pytest.fixture
def ollama():
    """The address of a server that answers what server_info asks."""
    answers = {"/api/version": {"version": "0.32.15"}, "/api/tags": {"models": []}, "/api/ps": {"models": []}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "http://127.0.0.1:%d" % server.server_port
    server.shutdown()


PIPELINING = {"ANSIBLE_PIPELINING": "1"}


@pytest.mark.parametrize("environment", [{}, PIPELINING], ids=["files", "pipelining"])
def test_requests_comes_along(play, bare_python, ollama, environment):
    outcome, output = play(bare_python, "server_info", {"url": ollama}, options=["-vvv"], environment=environment)
    assert outcome["server"]["version"] == "0.32.15"
    assert outcome["changed"] is False
    assert output.count("libraries.zip") >= 1
    assert not set(outcome) & {"missing_library", "missing_reason", "python_version"}


def test_it_comes_along_for_a_list_of_models(play, bare_python, ollama):
    models = [{"instance": "gpu0", "name": "tiny", "state": "unloaded", "url": ollama}]
    outcome, output = play(bare_python, "instance_models", {"models": models})
    assert not outcome["failed"] and outcome["models"][0]["action"] == "none", outcome


def test_it_comes_along_in_check_mode(play, bare_python, ollama):
    outcome, output = play(bare_python, "server_info", {"url": ollama}, options=["--check"])
    assert outcome["server"]["reachable"] is True


def test_it_comes_along_under_async(play, bare_python, ollama):
    outcome, output = play(bare_python, "server_info", {"url": ollama}, keywords={"async": 30, "poll": 1})
    assert outcome["server"]["version"] == "0.32.15"


def test_it_comes_along_for_each_item_of_a_loop(play, bare_python, ollama):
    outcome, output = play(bare_python, "server_info", {"url": "{{ item }}"}, keywords={"loop": [ollama, ollama]})
    assert [result["server"]["reachable"] for result in outcome["results"]] == [True, True]


def test_nothing_is_sent_where_the_library_is(play, ollama):
    outcome, output = play(sys.executable, "server_info", {"url": ollama}, options=["-vvv"])
    assert outcome["server"]["reachable"] is True
    assert "libraries.zip" not in output
    assert output.count("modules/server_info.py") == 1


def test_nothing_is_left_in_the_remote_directory(play, bare_python, ollama, tmp_path):
    play(bare_python, "server_info", {"url": ollama})
    assert list((tmp_path / "remote").glob("*")) == []


def test_facts_are_nothing_but_facts_and_the_binding_comes_along(play, bare_python):
    outcome, output = play(bare_python, "gpu_facts", {}, options=["-vvv"])
    assert set(outcome) == {"ansible_facts", "changed", "failed"}
    assert outcome["ansible_facts"]["gpu_inventory"]["state"] not in ("no_binding", None)
    assert "libraries-nvidia-ml-py.zip" in output


def test_a_controller_without_the_library_says_what_to_install(play, bare_python, ollama, tmp_path):
    """What finds the library on the controller is replaced, so that it finds nothing."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(
        "import importlib.util as util\nreal = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name in ('requests', 'pynvml') else real(name, package)\n"
        "import importlib.metadata as metadata\nrealone = metadata.distribution\n"
        "def distribution(name):\n    if name == 'nvidia-ml-py':\n        raise metadata.PackageNotFoundError(name)\n"
        "    return realone(name)\n"
        "metadata.distribution = distribution\n"
    )
    hidden = {"PYTHONPATH": str(tmp_path / "hide")}
    outcome, output = play(bare_python, "server_info", {"url": ollama}, environment=hidden)
    assert outcome["failed"] is True
    assert "requests" in outcome["msg"] and "python3-requests" in outcome["msg"]
    assert "Traceback" not in output
    outcome, output = play(bare_python, "gpu_facts", {}, environment=hidden)
    assert outcome["failed"] is False
    inventory = outcome["ansible_facts"]["gpu_inventory"]
    assert inventory["state"] == "no_binding"
    assert "the controller has no nvidia-ml-py to send along" in inventory["reason"]
    assert inventory["remedy"].startswith("Install nvidia-ml-py into the Python that runs Ansible")
    assert "python3-pynvml" in inventory["remedy"]


def test_a_host_whose_python_is_too_old_for_the_copy_is_told_the_package(play, ollama):
    """requests 2.34 needs Python 3.10."""
    old = sorted(pathlib.Path.home().glob(".pyenv/versions/3.9.*/bin/python"))
    if not old:
        pytest.skip("no Python 3.9 on this machine")
    outcome, output = play(old[0], "server_info", {"url": ollama})
    if not outcome["failed"]:
        pytest.skip("the controller's copy runs on Python 3.9, or that Python has its own")
    assert "too new" in outcome["msg"] and "python3-requests" in outcome["msg"]


# -- for good ----------------------------------------------------------------------------------------------------------


def test_libraries_are_put_down_once(play, bare_python, tmp_path):
    place = tmp_path / "python"
    arguments = {"path": str(place)}
    outcome, output = play(bare_python, "libraries", arguments, options=["--check", "--diff"])
    assert outcome["changed"] is True and not place.exists()
    assert outcome["diff"]["before"]["libraries"] == {"nvidia-ml-py": None, "requests": None}
    assert outcome["diff"]["after"]["libraries"]["requests"].startswith("sha256:")

    outcome, output = play(bare_python, "libraries", arguments)
    assert outcome["changed"] is True
    assert sorted(outcome["needed"]) == ["nvidia-ml-py", "requests"]
    assert (place / "pynvml.py").stat().st_mode & 0o777 == 0o644
    assert list(place.rglob("*.so")) == []
    code = "import sys; sys.path.insert(0, %r); import requests, pynvml; print(requests.__file__)" % str(place)
    assert (
        str(place) in subprocess.run([str(bare_python), "-c", code], stdout=subprocess.PIPE, check=True).stdout.decode()
    )

    # Running it leaves byte code behind, which is no difference.
    outcome, output = play(bare_python, "libraries", arguments, options=["-vvv"])
    assert outcome["changed"] is False and "libraries.zip" not in output

    (place / "requests" / "api.py").write_text("broken")
    outcome, output = play(bare_python, "libraries", arguments)
    assert outcome["changed"] is True and outcome["needed"] == ["requests"]
    assert (place / "requests" / "api.py").read_text() != "broken"

    outcome, output = play(bare_python, "libraries", dict(arguments, state="absent"), options=["--check"])
    assert outcome["changed"] is True and place.exists()
    outcome, output = play(bare_python, "libraries", dict(arguments, state="absent"))
    assert outcome["changed"] is True and not place.exists()
    assert not list(tmp_path.glob(".libraries-*"))
    outcome, output = play(bare_python, "libraries", dict(arguments, state="absent"))
    assert outcome["changed"] is False


def test_an_interpreter_that_has_the_libraries_is_left_alone(play, tmp_path):
    place = tmp_path / "python"
    outcome, output = play(sys.executable, "libraries", {"path": str(place)})
    assert outcome["changed"] is False and not place.exists()
    assert all(outcome["found"].values())


def test_a_library_that_the_controller_lacks_is_said_of_the_controller(monkeypatch):
    """A task that is delegated to the controller concerns no host."""

    def unavailable(name):
        raise with_libraries.CopyUnavailable("the controller has no %s to send along" % name)

    monkeypatch.setattr(with_libraries, "LibraryCopy", unavailable)
    plugin = with_libraries.WithLibraries(mock.Mock(delegate_to="localhost"), *[mock.Mock()] * 5)
    plugin._host_name = "gpu-node1"
    told = plugin._send({"missing_library": "requests"}, {})
    assert told == (
        "The Python library requests is missing on the controller: install requests into the Python that runs Ansible."
    )
    plugin._task.delegate_to = None
    assert plugin._send({"missing_library": "requests"}, {}).startswith(
        "The Python library requests is missing on gpu-node1, and the controller has no requests to send along"
    )
