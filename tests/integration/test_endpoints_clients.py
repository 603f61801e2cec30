# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What reads the file of endpoints: the clients of the guide, LiteLLM's own Router, and nginx."""

from __future__ import annotations

import copy
import json
import os
import subprocess

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import document
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.proxies import litellm_config, nginx_config

from tests import shown
from tests.integration import needed
from tests.integration.gateway_front import Light, ask, listens, until
from tests.integration.support import environment as ansible_environment
from tests.integration.support import run, tool
from tests.integration.test_gateway_clients import CLIENTS
from tests.rig.ollama import running
from tests.rig.ollama.running import free_port
from tests.rig.waiting import PATIENCE
from tests.setup.environment import controller, virtual_environment
from tests.unit.rig import double_content

ROUTERS = ["litellm==1.110.2"]
ROUTER = """
import asyncio, json, sys
import litellm
with open(sys.argv[1]) as stream:
    config = json.load(stream)
router = litellm.Router(model_list=config["model_list"], **config["router_settings"])
async def ask():
    messages = [{"role": "user", "content": "Hi"}]
    for unused in range(4):
        answer = await router.acompletion("chat", messages, max_tokens=4)
        yield answer._hidden_params["model_id"], answer.choices[0].message.content
    parts = [part async for part in await router.acompletion("tiny:latest", messages, stream=True, max_tokens=4)]
    yield "stream", "".join(part.choices[0].delta.content or "" for part in parts)
async def main():
    print(json.dumps([one async for one in ask()]))
asyncio.run(main())
"""


def environment(name, packages):
    """The Python of a virtual environment with packages."""
    version, python = controller()
    return virtual_environment(name + "-" + version, python, packages, constraints=None) / "bin" / "python"


@pytest.fixture(name="servers", scope="module")
def _servers(tmp_path_factory):
    """Two servers of the double, each with the models tiny and chat."""
    program = running.install(tmp_path_factory.mktemp("release"))
    data, found = double_content.tiny(), []
    try:
        for unused in range(2):
            home = tmp_path_factory.mktemp("home")
            found.append(
                running.Server(program, home, home / "models", running.gpus(home / "gpus", "rtx-4090-x2")).wait()
            )
            blob = "sha256:" + double_content.put(home / "unused", data)["digest"].split(":")[1]
            assert found[-1].request("POST", "/api/blobs/" + blob, data)[0] == 201
            for name in ("tiny", "chat"):
                found[-1].request("POST", "/api/create", {"model": name, "files": {"tiny.gguf": blob}, "stream": False})
        yield found
    finally:
        for server in found:
            server.stop()


@pytest.fixture(name="endpoints", scope="module")
def _endpoints(servers):
    """Their document, as the role writes it."""
    return of_ports([server.port for server in servers])


def of_ports(ports, **changed):
    """The document of instances on this machine, or of others with what is changed of each."""
    model = {"slots": 2, "context_length": 8192, "capabilities": ["completion"], "resident": True}
    entries = [
        {
            "instance": "gpu%d" % number,
            "address": "127.0.0.1",
            "listen_address": "127.0.0.1",
            "port": port,
            "gpu_uuids": ["GPU-%d" % number],
            "serves": [{"name": "tiny:latest", "names": ["tiny:latest", "chat:latest"], **model}],
            **changed,
        }
        for number, port in enumerate(ports)
    ]
    return document({"a": {"ollama_version": "0.32.15", "endpoints": entries}})


def from_elsewhere(found):
    """A document as one whose instances other hosts reach; here they are on this machine all the same."""
    changed = copy.deepcopy(found)
    for model in changed["models"].values():
        for one in model["endpoints"]:
            one["host_only"] = False
    return changed


@pytest.fixture(name="guide")
def _guide(tmp_path):
    """Ask with a client of the guide: the output of one that ends with an exit status."""
    python = environment("clients", CLIENTS)
    (tmp_path / "fleet.py").write_text(shown.block("clients", "python", 0))
    (tmp_path / "with_openai.py").write_text(shown.block("clients", "python", 1))

    def ask_with(name, found, *arguments, expect=0):
        (tmp_path / "endpoints.json").write_text(json.dumps(found))
        return run([python, name, *arguments], cwd=tmp_path, timeout=300, expect=expect).strip()

    return ask_with


def test_the_client_of_the_guide(endpoints, guide, tmp_path):
    endpoints = from_elsewhere(endpoints)
    for model in ("tiny", "Chat:latest"):
        assert guide("fleet.py", endpoints, "endpoints.json", model), model
    told = guide("fleet.py", endpoints, "endpoints.json", "nope", expect=1)
    assert "LookupError: nope is not served; there are: chat:latest, tiny:latest" in told
    (tmp_path / "two.py").write_text(
        "import json\nfrom fleet import Fleet\nfleet = Fleet('endpoints.json')\n"
        "with fleet.replica('chat') as one, fleet.replica('tiny') as two:\n    pass\n"
        "with fleet.replica('tiny') as again:\n    print(json.dumps([one, two, again]))\n"
    )
    one, two, again = json.loads(guide("two.py", endpoints))
    assert one != two and again == one


def test_the_client_of_the_guide_leaves_out_what_only_a_host_itself_reaches(endpoints, guide):
    """At that address, the client's own host would answer, or nobody."""
    hidden = of_ports([free_port()])
    told = guide("fleet.py", hidden, "endpoints.json", "tiny", expect=1)
    assert "LookupError: tiny is only served to programs on its own host" in told
    both = from_elsewhere(endpoints)
    both["models"]["tiny:latest"]["endpoints"].insert(0, hidden["models"]["tiny:latest"]["endpoints"][0])
    assert guide("fleet.py", both, "endpoints.json", "tiny")


def test_the_client_of_the_guide_with_openai(guide):
    light = Light("one", ["tiny:latest", "chat:latest"])
    try:
        assert (
            guide("with_openai.py", from_elsewhere(of_ports([light.port])), "endpoints.json", "chat") == "one one one"
        )
    finally:
        light.kill()


def test_the_tasks_of_the_guide(collections, tmp_path):
    """The file of endpoints, the configuration and the snippet lie elsewhere than in the guide."""
    endpoints = of_ports([11434, 11435], address="gpu1.example.org", listen_address="0.0.0.0")
    text = shown.block("clients", "yaml+jinja")
    for place, model in (("/etc/litellm/config.yaml", ""), ("/etc/nginx/conf.d/ollama.conf", "llama3.1:8b")):
        assert place in text and model in text
        text = text.replace(place, str(tmp_path / place.rpartition("/")[2])).replace(model or place, "tiny")
    tasks = yaml.safe_load(text.replace("/srv/ollama", str(tmp_path)))
    (tmp_path / "endpoints.json").write_text(json.dumps(endpoints))
    (tmp_path / "book.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    command = [tool("ansible-playbook"), "-i", "localhost,", "-c", "local", "book.yml"]
    run(command, cwd=tmp_path, env=ansible_environment(collections))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == litellm_config(endpoints)
    assert (tmp_path / "ollama.conf").read_text() == nginx_config(endpoints, "tiny")


@pytest.mark.full
def test_the_router_of_litellm(endpoints, tmp_path):
    python = environment("litellm", ROUTERS)
    config = litellm_config(endpoints, here="a")
    assert {one["litellm_params"]["max_parallel_requests"] for one in config["model_list"]} == {2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "ask.py").write_text(ROUTER)
    told = run([python, "ask.py", "config.json"], cwd=tmp_path, timeout=120)
    answers = json.loads(told.strip().splitlines()[-1])
    assert {name for name, unused in answers[:-1]} == {"a/gpu0/chat:latest", "a/gpu1/chat:latest"}
    assert all(text for unused, text in answers)


def nginx_program():
    """Path of nginx. It may lack a library: only its package is unpacked, and not what that depends on."""
    found = needed.program("nginx", {"nginx": "nginx"})
    tried = subprocess.run([found, "-v"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if tried.returncode:
        needed.not_run("nginx does not start: %s" % tried.stdout.strip())
    return found


def test_nginx_takes_the_snippet_and_refuses_what_changes_models(endpoints, servers, tmp_path):
    port, nginx = free_port(), nginx_program()
    snippet = nginx_config(endpoints, "tiny", here="a", listen="127.0.0.1:%d" % port)
    assert "nginx does not read the model of a request" in snippet
    (tmp_path / "ollama.conf").write_text(snippet)
    head = "pid %s/pid; error_log %s/error.log; daemon off; worker_processes 1; %sevents {}\n"
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        "%s_temp_path %s; " % (one, tmp_path) for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        head % (tmp_path, tmp_path, user)
        + "http { access_log off; %sinclude %s/ollama.conf; }\n" % (temporary, tmp_path)
    )
    run([nginx, "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], cwd=tmp_path)
    process = subprocess.Popen([nginx, "-p", tmp_path, "-c", tmp_path / "nginx.conf"])
    try:
        until(lambda: listens(port))
        body = {"model": "tiny", "prompt": "Hi", "options": {"num_predict": 4}}
        assert all(ask(port, "POST", "/api/generate", json.dumps(body).encode()).status == 200 for unused in range(4))
        assert {len(server.request("GET", "/api/ps")[2]["models"]) for server in servers} == {1}
        assert ask(port, "POST", "/api/generate", json.dumps(dict(body, model="nope")).encode()).status == 404
        for path in ("/api/delete", "/api/pull", "//api/pull", "/API/pull", "/api/chat/../pull"):
            assert ask(port, "POST", path, b'{"model": "tiny"}').status == 403, path
    finally:
        process.terminate()
        process.wait(PATIENCE)
