# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Changes while clients ask: with two replicas one of them always answers, with one instance the gap is said. Releases
that fail go back."""

from __future__ import annotations

import json
import re

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.integration.asking import asking
from tests.rig.hosts import fleet

pytestmark = pytest.mark.hosts

OLD, GOOD = "0.32.15", "0.32.21"
#: host: (version, how it fails, words of the message)
FAILING = {
    "b": ("0.32.16", "does-not-start", "ended right after its start"),
    "c": ("0.32.17", "answers-500", "answers with an error: this release answers nothing else"),
    "d": ("0.32.18", "loads-onto-the-cpu", "gpu0"),
    "e": ("0.32.19", "engine-dies", "gpu0"),
    "f": ("0.32.20", "wrong-version", "is Ollama 0.0.1, and the plan is made for 0.32.20"),
}
HOSTS = ("a", *FAILING)
RELEASE = {
    "ollama_multigpu_release_url": "{{ rig_release_url | dirname }}/v{{ ollama_multigpu_version }}",
    "ollama_multigpu_release_checksum": "{{ rig_checksums[ollama_multigpu_version] }}",
}
SERVED = "tiny:latest-optimized"
LINKS = "/usr/local/lib/ollama-multigpu/instances"


def inventory(site, **hosts):
    """Hosts with their variables; those that are not given run the first release."""
    given = {name: {"ollama_multigpu_version": OLD, **hosts.get(name, {})} for name in HOSTS}
    site.inventory(given, ollama_multigpu_models=[{"name": "tiny", "insecure": True}], **RELEASE)


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    """One host that serves with two replicas, and five that serve with one instance each."""
    site = Site(collections, tmp_path_factory.mktemp("acceptance-switch"))
    try:
        fleet.up(SET, {name: "rtx-4090-x2" if name == "a" else "rtx-a6000" for name in HOSTS}, say=lambda text: None)
        failing = ["%s=%s" % (version, fault) for version, fault, _words in FAILING.values()]
        fleet.serve(SET, versions=[OLD, GOOD, *failing], say=lambda text: None)
        inventory(site)
        site.play("site")
        yield site
    finally:
        fleet.down(SET)


def said(outcome, host, instance):
    """Seconds without an answer that the run says."""
    (seconds,) = re.findall(r"\b%s: %s gave no answer for ([0-9.]+) s" % (host, instance), outcome.text)
    return float(seconds)


def serves(host):
    """(version, names of the loaded models) of the first instance of a host."""
    version, loaded = (json.loads(on(host, "python3", "-c", GET % path)) for path in ("/api/version", "/api/ps"))
    return version["version"], [model["name"] for model in loaded["models"]]


GET = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:11434%s').read().decode())"


def test_an_environment_is_changed_while_clients_ask(site):
    """With two replicas one answers at any time; with one instance the gap is that of the restart and the load."""
    before = on("a", "systemctl", "show", "-p", "MainPID", "ollama@gpu0", "ollama@gpu1")
    changed = {"ollama_multigpu_environment": {"OLLAMA_KEEP_ALIVE": "24h"}}
    inventory(site, a=changed, b=changed)
    with asking("a", 11434, 11435) as replicas, asking("b", 11434) as single:
        outcome = site.play("site", "--limit", "a,b")
    assert len(replicas.notes) > 50 and replicas.without_any() == []
    seconds = said(outcome, "b", "gpu0")
    print("one instance: no answer for %.1f s, the run says %.1f s" % (single.gap(), seconds))
    assert 0 < single.gap() <= seconds + 3
    assert on("a", "systemctl", "show", "-p", "MainPID", "ollama@gpu0", "ollama@gpu1") != before
    assert outcome.output.count("Verdict: pass") == 2
    again = site.play("site", "--limit", "a,b,c", callback="gpufleet.ollama.fleet")
    assert [again.counts[host]["changed"] for host in ("a", "b", "c")] == [0, 0, 0]
    # Warnings are of ansible-core and have any length.
    lines = [line for line in again.output.splitlines() if not line.startswith("[")]
    assert 3 < len(lines) < 40 and max(map(len, lines)) <= 80, again.output
    assert "Overview: 3 hosts, 3 proven" in lines


def test_releases_that_fail_go_back_and_others_are_upgraded_while_clients_ask(site):
    inventory(
        site,
        a={"ollama_multigpu_version": GOOD, "ollama_multigpu_environment": {"OLLAMA_KEEP_ALIVE": "24h"}},
        **{host: {"ollama_multigpu_version": version} for host, (version, _fault, _words) in FAILING.items()},
    )
    with asking("a", 11434, 11435) as replicas:
        outcome = site.play("site", expect=2)
    assert replicas.without_any() == [] and "a" not in outcome.failures
    version, loaded = serves("a")
    # A client may have been the first to load it, under the plain name.
    assert version == GOOD and loaded in ([SERVED], ["tiny:latest"])
    assert on("a", "readlink", LINKS + "/gpu1").endswith("/%s\n" % GOOD)
    for host, (version, fault, words) in FAILING.items():
        message = " ".join(outcome.failures[host])
        assert "The switch of gpu0 to Ollama %s failed" % version in message and words in message, (fault, message)
        assert "gpu0 went back to Ollama %s" % OLD in message and "proven again: %s on gpu0: pass" % SERVED in message
        assert serves(host) == (OLD, [SERVED]), fault
        assert on(host, "readlink", LINKS + "/gpu0").endswith("/%s\n" % OLD)
        assert json.loads(on(host, "cat", "/etc/ollama-multigpu/plan.json"))["ollama_version"] == OLD
        assert on(host, "sh", "-c", "ls /etc/ollama-multigpu/before.json 2>/dev/null; true") == ""


def test_a_way_back_that_is_gone_is_said_and_what_serves_is_left(site):
    """The release of before was removed: the new one, which is not as planned, goes on serving."""
    version = FAILING["f"][0]
    inventory(site, f={"ollama_multigpu_version": version})
    on("f", "mv", "/usr/local/lib/ollama-multigpu/releases/" + OLD, "/root/old")
    try:
        outcome = site.play("site", "--limit", "f", expect=2)
        message = " ".join(outcome.failures["f"])
        assert "Going back to Ollama %s failed" % OLD in message and "is not there any more" in message
        assert on("f", "systemctl", "is-active", "ollama@gpu0").strip() == "active"
    finally:
        on("f", "mv", "/root/old", "/usr/local/lib/ollama-multigpu/releases/" + OLD)
    inventory(site)
    assert "Verdict: pass" in site.play("site", "--limit", "f").output
    assert serves("f") == (OLD, [SERVED])
