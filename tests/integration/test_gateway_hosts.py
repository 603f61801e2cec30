# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The role ollama_gateway on rig hosts: a gateway on each of two GPU hosts, and two for both of them on others."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import threading
import time

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import changes, fleet, podman
from tests.rig.settings import RigError
from tests.rig.waiting import wait_until

pytestmark = pytest.mark.hosts

FLEET_KEY, USER_KEY = "the-key-of-the-fleet-0123456789", "the-key-of-a-user-0123456789"
CLIENTS, LOAD_SECONDS, KILLS = 200, 300, 3
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
#: What the clients are made of, as they lie below a directory of a host.
CLIENT_FILES = {
    "gateway_load_client.py": CHECKOUT / "tests" / "integration" / "gateway_load_client.py",
    "tests/rig/ollama/streams.py": CHECKOUT / "tests" / "rig" / "ollama" / "streams.py",
}
CLIENT = """
import json, ssl, sys, urllib.error, urllib.request
url, key, ca, model = sys.argv[1:]
context = ssl.create_default_context(cafile=ca) if ca else None
body = json.dumps({"model": model, "prompt": "Hi", "stream": False, "options": {"num_predict": 2}}).encode()
request = urllib.request.Request(url, body, {"Authorization": "Bearer " + key})
try:
    with urllib.request.urlopen(request, timeout=60, context=context) as response:
        print(json.dumps([response.status, json.loads(response.read())]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, json.loads(error.read())]))
"""


#: A playbook of a user, in the same run: the variable of each host that other plays read.
TOLD = """
- hosts: "{{ ollama_multigpu_hosts }}"
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{ ollama_multigpu_endpoints | to_json }}"
        dest: "%s/{{ inventory_hostname }}.json"
      delegate_to: localhost
"""
#: The administrative states of all servers of the gateway on a host; 8 is one that is drained.
STATES = """
import socket
admin = socket.socket(socket.AF_UNIX)
admin.connect("/run/ollama-gateway/admin.sock")
admin.sendall(b"show servers state\\n")
lines = b"".join(iter(lambda: admin.recv(65536), b"")).decode().splitlines()
print(" ".join(line.split()[6] for line in lines if line[:1].isdigit() and len(line.split()) > 6))
"""


def ask(host, model, key, url="https://localhost:11480/api/generate", ca="/etc/ollama-gateway/self-signed.pem"):
    """(status, answer) of a generation, asked for on a host."""
    return json.loads(on(host, "python3", "-c", CLIENT, url, key, ca, model))


def models(host, url, key="none", call="tags"):
    """The models that a server on a host lists; with the call "ps" those that are loaded."""
    ca = "/etc/ollama-gateway/self-signed.pem" if url.startswith("https") else ""
    program = (
        "import json, ssl, sys, urllib.request as u; url, key, ca = sys.argv[1:]\n"
        "request = u.Request(url, headers={'Authorization': 'Bearer ' + key})\n"
        "trusted = ssl.create_default_context(cafile=ca) if ca else None\n"
        "print(json.dumps(json.load(u.urlopen(request, context=trusted, timeout=60))['models']))"
    )
    return json.loads(on(host, "python3", "-c", program, "%s/api/%s" % (url, call), key, ca))


def gateway(site, host, *arguments, expect=0):
    """Run the playbook on one host."""
    return site.play("gateway", "-e", "ollama_gateway_hosts=" + host, *arguments, expect=expect)


@contextlib.contextmanager
def loading(host):
    """Clients on a host that ask the gateway there; what is yielded has what became of their requests afterwards."""
    for name, path in CLIENT_FILES.items():
        place = "/tmp/load/" + name
        on(host, "sh", "-c", "mkdir -p %s; cat > %s" % (pathlib.Path(place).parent, place), stdin=path.read_bytes())
    given = ["localhost", "11480", USER_KEY, "/etc/ollama-gateway/self-signed.pem", "chat", str(CLIENTS)]
    program = ["python3", "/tmp/load/gateway_load_client.py", *given]
    command = [str(podman.wrapper()), "exec", "-i", fleet.container_name(SET, host), *program]
    found = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            time.sleep(3)
            yield found
        finally:
            output, unused_errors = process.communicate(b"", timeout=180)
            on(host, "rm", "-r", "/tmp/load")
    found.update(json.loads(output))


def is_back(host, port):
    """Whether an instance that was killed has its model loaded again."""
    try:
        return models(host, "http://127.0.0.1:%d" % port, call="ps") != []
    except RigError:
        return False


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("gateway"))
    try:
        fleet.up(SET, {"a": "rtx-4090-x2", "b": "rtx-a6000", "c": "none", "d": "none"}, say=lambda text: None)
        fleet.serve(SET, say=lambda text: None)
        address = {host: on(host, "hostname", "-I").split()[0] for host in "abcd"}
        # Of the networks for measurements (RFC 2544), and nobody else's: the end of it is that of a host.
        site.shared = "198.18." + address["c"].split(".", 2)[2]
        models = [{"name": "tiny", "insecure": True, "aliases": ["chat"]}]
        of_a_host = {
            "ollama_multigpu_models": models,
            "ollama_gateway_listen_address": "0.0.0.0",
            "ollama_gateway_keys": [{"name": "fleet", "key": FLEET_KEY}],
        }
        of_the_fleet = {
            "ollama_gateway_gpu_hosts": ["a", "b"],
            "ollama_gateway_queue": 1000,
            "ollama_gateway_listen_address": "0.0.0.0",
            "ollama_gateway_virtual_address": {
                "address": site.shared,
                "interface": "eth0",
                "hosts": ["c", "d"],
                "addresses": address,
            },
            "ollama_gateway_keys": [{"name": "user", "key": USER_KEY, "models": ["chat"]}],
            "ollama_gateway_upstream": {
                "port": 11480,
                "key": FLEET_KEY,
                "ca": str(site.scratch / "ca.pem"),
                "addresses": address,
            },
        }
        open_host = {"ollama_multigpu_listen_address": "0.0.0.0", "ollama_multigpu_acknowledged": ["listen_address"]}
        site.of_the_fleet = of_the_fleet
        told = {"ollama_multigpu_endpoints_file": str(site.scratch / "out" / "endpoints.json")}
        inventory = {"a": of_a_host, "b": {**of_a_host, **open_host}, "c": of_the_fleet, "d": of_the_fleet}
        site.without_b = {
            **inventory,
            "b": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
        }
        site.inventory(inventory, **told)
        (site.scratch / "told.yml").write_text(TOLD % (site.scratch / "out"), encoding="utf-8")
        site.play("site", str(site.scratch / "told.yml"), "-e", "ollama_multigpu_hosts=a:b")
        yield site
    finally:
        fleet.down(SET)


def test_the_endpoints_are_told_on_the_controller(site):
    found = json.loads((site.scratch / "out" / "endpoints.json").read_text(encoding="utf-8"))
    address = on("b", "hostname", "-I").split()[0]
    assert {name: one["replicas"] for name, one in found["models"].items()} == {
        "chat:latest": 3,
        "tiny:latest": 3,
        "tiny:latest-optimized": 3,
    }
    one, unused_second, other = found["models"]["chat:latest"]["endpoints"]
    assert (one["host"], one["url"], one["host_only"]) == ("a", "http://127.0.0.1:11434", True)
    assert (other["host"], other["url"], other["host_only"]) == ("b", "http://%s:11434" % address, False)
    for host in "ab":
        assert found["hosts"][host] == json.loads(on(host, "cat", "/etc/ansible/facts.d/ollama_multigpu.fact"))
        assert found["hosts"][host] == json.loads((site.scratch / "out" / (host + ".json")).read_text(encoding="utf-8"))
    assert "chat:latest" in [one["name"] for one in models("a", other["url"])]


def test_two_levels_of_gateways(site):
    gateway(site, "a:b")
    status, found = ask("a", "chat", FLEET_KEY)
    assert (status, found["done"]) == (200, True)
    assert ask("a", "chat", "another")[0] == 401
    listed = {one["name"]: one for one in models("a", "https://localhost:11480", FLEET_KEY)}
    own = {one["name"]: one for one in models("a", "http://127.0.0.1:11434")}
    assert listed.keys() == own.keys()
    assert all(listed[name]["size"] > 100000 and int(listed[name]["digest"], 16) for name in own)
    assert ask("a", "nope", FLEET_KEY)[1] == {
        "error": "model 'nope' not found; served are: chat:latest, tiny:latest, tiny:latest-optimized"
    }
    files = [on(host, "cat", "/etc/ollama-gateway/self-signed.pem") for host in "ab"]
    certificates = [text[text.index("-----BEGIN CERTIFICATE") :] for text in files]
    (site.scratch / "ca.pem").write_text("".join(certificates), encoding="utf-8")

    site.before = changes.snapshot(fleet.container_name(SET, "c"))
    gateway(site, "c")
    for unused in range(4):
        assert ask("c", "tiny:latest", USER_KEY)[0] == 200  # the same model as chat
    log = on("a", "journalctl", "-u", "ollama-gateway", "-o", "cat") + on(
        "b", "journalctl", "-u", "ollama-gateway", "-o", "cat"
    )
    lines = [
        json.loads(line) for line in log.splitlines() if line.startswith("{") and '"/api' in line.replace("\\", "")
    ]
    assert {line["key"] for line in lines if line["status"] == 200} == {"fleet"}
    assert "user" in on("c", "journalctl", "-u", "ollama-gateway", "-o", "cat")

    unchanged = gateway(site, "a:b:c")
    assert {host: counts["changed"] for host, counts in unchanged.counts.items()} == {"a": 0, "b": 0, "c": 0}
    assert max(counts["executions"] for counts in unchanged.counts.values()) <= 12

    certificate = on("c", "sha256sum", "/etc/ollama-gateway/self-signed.pem")
    pid = on("c", "systemctl", "show", "-P", "MainPID", "ollama-gateway")
    drained = site.play_shown(
        """ansible-playbook -i inventory.yml gpufleet.ollama.gateway -e '{"ollama_gateway_drain": ["gpu1/gpu0"]}'""",
        *("-e", "ollama_gateway_hosts=c"),
        replaced={"gpu1/gpu0": "a/gateway"},
    )
    assert drained.counts["c"]["changed"] > 0
    assert " weight 0" in on("c", "cat", "/run/ollama-gateway/running.cfg")
    assert on("c", "systemctl", "show", "-P", "MainPID", "ollama-gateway") == pid
    assert on("c", "sha256sum", "/etc/ollama-gateway/self-signed.pem") == certificate
    assert ask("c", "chat", USER_KEY)[0] == 200

    # Nothing is drained any more.
    site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.gateway", "-e", "ollama_gateway_hosts=c")


def test_clients_get_answers_while_an_untouched_ollama_is_measured(site):
    """As the guide to the benchmark says: the host is drained at the gateway of the fleet before, and comes back."""
    at_the_gateway = ("-e", "ollama_gateway_hosts=c")
    site.play_shown(
        """ansible-playbook -i inventory.yml gpufleet.ollama.gateway -e '{"ollama_gateway_drain": ["gpu-a"]}'""",
        *at_the_gateway,
        replaced={"gpu-a": "a"},
    )
    given = {"untouched": True, "may_disturb": True, "repeats": 1, "tokens": 4, "prompts": [16], "loads": 0}
    variables = {"ollama_multigpu_benchmark_" + name: value for name, value in given.items()}
    ended, answers = threading.Event(), []

    def asking():
        while not ended.is_set():
            answers.append(ask("c", "chat", USER_KEY)[0])

    client = threading.Thread(target=asking)
    client.start()
    try:
        outcome = site.play("benchmark", "-e", "ollama_multigpu_hosts=a", "-e", json.dumps(variables))
    finally:
        ended.set()
        client.join()
    assert "on untouched Ollama" in outcome.text and set(answers) == {200}, (answers, outcome.output)
    assert " weight 0" in on("c", "cat", "/run/ollama-gateway/running.cfg")
    site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.gateway", *at_the_gateway)
    assert " weight 0" not in on("c", "cat", "/run/ollama-gateway/running.cfg")


def drains():
    """How often the servers of b were drained by module gateway_drain, at its own gateway and at that of the fleet."""
    return {
        host: on(host, "journalctl", "-u", "ollama-gateway", "-o", "cat").count("/%s enters drain state" % server)
        for host, server in (("b", "b_gpu0"), ("c", "b_gateway"))
    }


def is_back_in_rotation(host):
    """Whether no server of the gateway on a host is drained."""
    states = on(host, "python3", "-c", STATES).split()
    return states != [] and "8" not in states


def test_a_change_of_a_host_drains_it_and_says_that_its_gateways_have_to_know(site):
    """The variable lets the instance be switched: while it is, neither gateway sends it requests."""
    models = [{"name": "tiny", "insecure": True, "aliases": ["chat", "talk"]}]
    given = {"ollama_multigpu_gateways": "b:c", "ollama_multigpu_models": models}
    given["ollama_multigpu_environment"] = {"OLLAMA_LOAD_TIMEOUT": "7m"}
    change = ("site", "-e", "ollama_multigpu_hosts=b", "-e", json.dumps(given))
    words = "What this host serves has changed. Run the playbook gpufleet.ollama.gateway on b, c:"
    before = drains()
    assert words in site.play(*change).text
    during = drains()
    assert all(during[host] > before[host] for host in "bc"), (before, during)
    assert is_back_in_rotation("b") and is_back_in_rotation("c")
    assert ask("b", "talk", FLEET_KEY)[0] == 404
    gateway(site, "b")
    assert ask("b", "talk", FLEET_KEY)[0] == 200
    assert words not in site.play(*change).text


def has_address(site, host):
    """Whether a host has the address that the gateways of the fleet share."""
    return site.shared in on(host, "hostname", "-I").split()


def answers(site):
    """Whether a client on another host gets an answer at the shared address."""
    try:
        return ask("a", "chat", USER_KEY, "https://%s:11480/api/generate" % site.shared, "/tmp/fronts.pem")[0] == 200
    except RigError:
        return False


def test_an_address_is_shared_by_two_gateways(site):
    """It moves with HAProxy, stays where it works, and moves with the host; and it goes with its variable."""
    assert has_address(site, "c"), "the first one has it alone"
    with site.untouched("d"):
        gateway(site, "d", "--check")
    gateway(site, "d")
    assert gateway(site, "d").counts["d"]["changed"] == 0
    files = [on(host, "cat", "/etc/ollama-gateway/self-signed.pem") for host in "cd"]
    certificates = "".join(text[text.index("-----BEGIN CERTIFICATE") :] for text in files)
    on("a", "sh", "-c", "cat > /tmp/fronts.pem; ip route add %s dev eth0" % site.shared, stdin=certificates.encode())
    wait_until(
        lambda: has_address(site, "c") and not has_address(site, "d") and answers(site), "the first one still has it"
    )

    on("c", "systemctl", "stop", "ollama-gateway")
    wait_until(lambda: has_address(site, "d") and not has_address(site, "c"), "the second gateway has the address")
    wait_until(lambda: answers(site), "the second gateway answers")
    on("c", "systemctl", "start", "ollama-gateway")
    told = ("journalctl", "-u", "ollama-gateway-address", "-o", "cat")
    wait_until(lambda: on("c", *told).split("FAULT STATE")[-1].count("BACKUP STATE"), "the first one works again")
    assert has_address(site, "d") and not has_address(site, "c") and answers(site)

    fleet.kill(SET, "d")
    wait_until(lambda: has_address(site, "c"), "the first gateway has the address again")
    wait_until(lambda: answers(site), "the first gateway answers")

    elsewhere = {**site.of_the_fleet["ollama_gateway_virtual_address"], "interface": "eth9"}
    for unused in range(2):
        found = gateway(site, "c", "-e", json.dumps({"ollama_gateway_virtual_address": elsewhere}), expect=2)
        assert "eth9" in found.text and "doesn't exist" in found.text, found.output
    wait_until(lambda: has_address(site, "c") and answers(site), "the first gateway goes on")

    gateway(site, "c", "-e", json.dumps({"ollama_gateway_virtual_address": {}}))
    assert not has_address(site, "c") and "ollama-gateway-address" not in on("c", "systemctl", "list-unit-files")
    assert on("c", "systemctl", "is-active", "ollama-gateway").strip() == "active"
    gateway(site, "c")
    wait_until(lambda: has_address(site, "c") and answers(site), "it is shared again")


@pytest.mark.full
def test_nothing_is_lost_in_an_upgrade_or_with_what_is_gone(site):
    """200 clients stream from the gateway of the fleet for five minutes.

    Meanwhile a host is upgraded, an instance of the other one is drained, another is killed, and a host is gone.
    """
    switched = {"ollama_multigpu_gateways": "b:c", "ollama_multigpu_watch_time": 3}
    switched["ollama_multigpu_environment"] = {"OLLAMA_LOAD_TIMEOUT": "6m"}
    begin, before = time.monotonic(), drains()
    with loading("c") as found:
        site.play("upgrade", "-e", "ollama_multigpu_hosts=b", "-e", json.dumps(switched))
        during = drains()
        assert all(during[host] > before[host] for host in "bc"), (before, during)
        assert is_back_in_rotation("b") and is_back_in_rotation("c")
        gateway(site, "a", "-e", json.dumps({"ollama_gateway_drain": ["gpu1"]}))
        gateway(site, "a")
        for unused in range(KILLS):
            on("a", "systemctl", "kill", "--signal", "KILL", "ollama@gpu0.service")
            wait_until(lambda: is_back("a", 11434), "the instance that was killed serves again", 120)
        fleet.kill(SET, "b")
        time.sleep(max(60, LOAD_SECONDS - (time.monotonic() - begin)))
    counts = found["counts"]
    assert counts["whole"] > CLIENTS and not counts.get("lost") and not counts.get("refused"), found
    assert counts.get("broken", 0) <= CLIENTS * (KILLS + 1), found


def test_a_removal_leaves_nothing(site):
    site.play("gateway_remove", "-e", "ollama_gateway_hosts=a:c")
    left = changes.compare(site.before, changes.snapshot(fleet.container_name(SET, "c")))
    assert left == []


def test_mistakes_are_one_sentence(site):
    for given, words in (
        ({"ollama_gateway_keys": []}, "has no authentication; set ollama_gateway_keys"),
        ({"ollama_gateway_drain": ["z"]}, "ollama_gateway_drain has z, which is neither a host nor an instance"),
        ({"ollama_gateway_gpu_hosts": ["c"]}, "The facts of c are no JSON object"),
    ):
        found = site.play("gateway", "-e", "ollama_gateway_hosts=a", "-e", json.dumps(given), expect=2)
        assert words in found.failures["a"][0], found.failures
