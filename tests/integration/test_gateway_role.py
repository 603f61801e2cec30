# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The role ollama_gateway on a rig host, for GPU hosts that have nothing but facts: certificates, and hosts that are
gone."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.rig.hosts import fleet
from tests.rig.waiting import wait_until
from tests.unit.plugins.plugin_utils.gateway.builders import endpoint, facts, model

pytestmark = pytest.mark.hosts

PUT_FACTS = "mkdir -p /etc/ansible/facts.d; cat > /etc/ansible/facts.d/ollama_multigpu.fact"
#: Variables of a host that is not there.
GONE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


def gateway(site, *arguments, expect=0):
    """Run the playbook on c."""
    return site.play("gateway", "-e", "ollama_gateway_hosts=c", *arguments, expect=expect)


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("gateway"))
    fleet.up(SET, {"b": "none", "c": "none"}, say=lambda text: None)
    try:
        site.variables = {"ollama_gateway_gpu_hosts": ["b", "c"]}
        site.inventory({"b": {}, "c": site.variables})
        for host in "bc":
            entry = facts(endpoint(host, "gpu0", model("x:latest")))[host]
            on(host, "sh", "-c", PUT_FACTS, stdin=json.dumps(entry).encode())
        gateway(site)
        yield site
    finally:
        fleet.down(SET)


def trusts(name, authority="/tmp/first.pem"):
    """Whether a client on c that trusts an authority accepts the gateway there by a name."""
    command = "openssl s_client -connect localhost:11480 -verify_return_error -verify_hostname %s -CAfile %s"
    told = on("c", "sh", "-c", command % (name, authority) + " </dev/null 2>&1; true")
    return "Verify return code: 0" in told


def hashed(pattern):
    """Files of the gateway on c whose names have a hash."""
    return on("c", "sh", "-c", "ls /etc/ollama-gateway | grep -E '^%s-[0-9a-f]{12}[.]' || true" % pattern).split()


def test_other_names_get_a_certificate_that_clients_trust_already(site):
    on("c", "cp", "/etc/ollama-gateway/self-signed.pem", "/tmp/first.pem")
    (first,) = hashed("self-signed")
    assert trusts("c") and not trusts("llm.example")
    pid = on("c", "systemctl", "show", "-P", "MainPID", "ollama-gateway")
    gateway(site, "-e", json.dumps({"ollama_gateway_host_names": ["llm.example"]}))
    wait_until(lambda: trusts("llm.example"), "the gateway has a certificate for its new name")
    assert on("c", "systemctl", "show", "-P", "MainPID", "ollama-gateway") == pid
    (second,) = hashed("self-signed")
    assert first != second, "the certificate of the former names is gone"
    gateway(site)
    assert hashed("self-signed") == [first]
    wait_until(lambda: trusts("c") and not trusts("llm.example"), "the gateway has the certificate of before")
    assert on("c", "stat", "-c", "%A %U", "/etc/ollama-gateway/self-signed.key").split() == ["-rw-------", "root"]


def test_an_authority_of_which_half_is_there_is_made_anew(site):
    """As a run leaves it that is stopped in between. Key and certificate belong together afterwards."""
    for half in ("key", "pem"):
        on("c", "sh", "-c", "cd /etc/ollama-gateway && openssl ecparam -name prime256v1 -genkey -out self-signed.key")
        on("c", "rm", "/etc/ollama-gateway/self-signed." + ("pem" if half == "key" else "key"))
        gateway(site)
        keys = [
            on("c", "openssl", *command, "-in", "/etc/ollama-gateway/self-signed." + ending)
            for ending, command in (("key", ("pkey", "-pubout")), ("pem", ("x509", "-noout", "-pubkey")))
        ]
        assert keys[0] == keys[1]
        wait_until(lambda: trusts("c", "/etc/ollama-gateway/self-signed.pem"), "clients trust the new authority")
        assert len(hashed("self-signed")) == 1
    assert on("c", "sh", "-c", "ls /etc/ollama-gateway | grep '[.]new$' || true") == ""
    on("c", "cp", "/etc/ollama-gateway/self-signed.pem", "/tmp/first.pem")


def test_a_certificate_that_no_run_has_reloaded_is_taken_over(site):
    """As a run leaves it that is killed after it has made the authority anew and before the reload. The name of the
    certificate stays, so that the configuration is the same."""
    (name,) = hashed("self-signed")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=%s %s"
    authority = make % ("new", "-addext basicConstraints=critical,CA:TRUE -keyout self-signed.key -out self-signed.pem")
    signed = "-CA self-signed.pem -CAkey self-signed.key -addext subjectAltName=DNS:c -keyout %s -out %s" % (name, name)
    on("c", "sh", "-ec", "cd /etc/ollama-gateway; %s; %s" % (authority, make % ("ollama-gateway", signed)))
    assert trusts("c") and not trusts("c", "/etc/ollama-gateway/self-signed.pem"), "HAProxy has the one of before"
    gateway(site)
    wait_until(lambda: trusts("c", "/etc/ollama-gateway/self-signed.pem"), "the gateway has the new certificate")
    assert "changed=0" in gateway(site).output
    on("c", "cp", "/etc/ollama-gateway/self-signed.pem", "/tmp/first.pem")


def test_a_unit_that_no_run_has_restarted_is_taken_over(site):
    """As a run leaves it that is killed after it has written the unit: the gateway runs as a former one says."""
    unit, limit = "/etc/systemd/system/ollama-gateway.service", ("systemctl", "show", "-P", "LimitNOFILE")
    change = "sed -i 's/^LimitNOFILE=%s$/LimitNOFILE=%s/' " + unit
    restart = "; systemctl daemon-reload; systemctl restart ollama-gateway; "
    on("c", "sh", "-ec", change % (65536, 4096) + restart + change % (4096, 65536))
    assert on("c", *limit, "ollama-gateway").strip() == "4096"
    gateway(site)
    assert on("c", *limit, "ollama-gateway").strip() == "65536"
    assert "changed=0" in gateway(site).output


def test_a_reload_that_haproxy_cannot_do_fails_and_is_done_by_the_next_run(site):
    """The port for metrics is in use, which no check of the configuration sees."""
    wanted = ("-e", json.dumps({"ollama_gateway_metrics_port": 11999}))
    on(
        "c",
        "systemd-run",
        "--quiet",
        "--unit=in-the-way",
        "python3",
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "11999",
    )
    wait_until(lambda: "11999" in on("c", "ss", "-tln"), "the port is in use")
    pid = on("c", "systemctl", "show", "-P", "MainPID", "ollama-gateway")
    for again in range(2):
        told = gateway(site, *wanted, expect=2).output
        assert "does not run with its new configuration" in told and "cannot bind socket" in told, again
        assert on("c", "systemctl", "show", "-P", "MainPID", "ollama-gateway") == pid and trusts("c")
    on("c", "systemctl", "stop", "in-the-way")
    gateway(site, *wanted)
    metrics = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:11999/metrics').read().decode())"
    assert "haproxy_process_uptime_seconds" in on("c", "python3", "-c", metrics)
    gateway(site)
    assert "changed=0" in gateway(site).output


def test_files_of_former_configurations_are_gone(site):
    """A key that is not valid any more among them."""
    before = hashed("keys")
    key = {"name": "late", "key": "0123456789abcdef0123456789abcdef"}
    gateway(site, "-e", json.dumps({"ollama_gateway_keys": [key]}))
    during = hashed("keys")
    assert during and during != before
    gateway(site)
    assert hashed("keys") == before
    assert "changed=0" in gateway(site).output


def test_a_given_certificate_stays_as_it_is(site):
    """Whatever the names of the gateway are; and its key is not shown."""
    pem = [str(site.scratch / name) for name in ("given.pem", "given.key")]
    names = ["-subj", "/CN=given.example", "-addext", "subjectAltName=DNS:given.example"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *names]
    subprocess.run([*made, "-out", pem[0], "-keyout", pem[1]], check=True, stderr=subprocess.DEVNULL)
    on("c", "sh", "-c", "cat > /tmp/given.pem", stdin=pathlib.Path(pem[0]).read_bytes())
    given = {"ollama_gateway_tls": "given", "ollama_gateway_certificate": pem[0]}
    given["ollama_gateway_certificate_key"] = pem[1]
    for more in ([], ["llm.example"]):
        told = json.dumps({**given, "ollama_gateway_host_names": more})
        assert "PRIVATE KEY" not in gateway(site, "--diff", "-vv", "-e", told).output
        wait_until(lambda: trusts("given.example", "/tmp/given.pem"), "the gateway has the given certificate")
        assert not trusts("llm.example", "/tmp/given.pem") and not trusts("c")
    gateway(site)
    wait_until(lambda: trusts("c"), "the gateway has its own certificate again")


def test_a_gpu_host_that_is_gone_keeps_its_place(site):
    """The gateway can be changed all the same. A host of which nothing is known yet is left out."""
    site.inventory({"b": GONE, "c": site.variables})
    found = gateway(site, "-e", json.dumps({"ollama_gateway_queue": 999}))
    assert "The GPU host b cannot be reached. Its endpoints are those of the run before." in found.text, found.output
    configuration = on("c", "cat", "/run/ollama-gateway/running.cfg")
    assert "server b_gpu0" in configuration and "queue ge 999" in configuration

    on("c", "rm", "/etc/ollama-gateway/endpoints.json")
    found = gateway(site)
    words = "The GPU host b cannot be reached, and no run has read its endpoints yet. It is left out."
    assert words in found.text, found.output
    assert "server b_gpu0" not in on("c", "cat", "/run/ollama-gateway/running.cfg")

    found = gateway(site, "-e", json.dumps({"ollama_gateway_gpu_hosts": ["b"]}), expect=2)
    assert "None of the hosts in ollama_gateway_gpu_hosts can be reached: b." in found.text, found.output
