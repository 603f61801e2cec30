# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A host with an Ollama of its own, where the role never ran: nothing is found, then each fault is provoked."""

from __future__ import annotations

import json

import pytest

from tests.integration.acceptance import SET, Site, on
from tests.integration.diagnose_cases import GROUPS, KEPT_STATE
from tests.integration.support import run, tool
from tests.rig.gpus import state
from tests.rig.hosts import fleet, seed

pytestmark = pytest.mark.hosts
HOST = "g"
PROGRAM = "/usr/local/lib/ollama-multigpu/program/bin/ollama-multigpu"
STORE = "/usr/share/ollama/.ollama/models"
UNIT = """[Unit]
Description=Ollama Service
[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=60
StartLimitIntervalSec=0
"""
#: Words of the shell lines of diagnose_cases.
WORDS = """
wait-for() { for n in $(seq 1000); do "$@" && return; sleep 0.1; done; false; }
wait-for-server() { wait-for ask-get /api/version; }
ended() { [ $(systemctl show -P SubState ollama.service) = auto-restart ]; }
ask-get() { python3 -c 'import sys, urllib.request
urllib.request.urlopen("http://127.0.0.1:" + sys.argv[2] + sys.argv[1]).read()' "$1" "${PORT:-11434}" 2>/dev/null; }
ask() { wait-for-server; python3 -c 'import sys, urllib.request
url = "http://127.0.0.1:%s/api/%s" % (sys.argv[2], sys.argv[3])
urllib.request.urlopen(url, sys.argv[1].encode()).read()' "$1" "${PORT:-11434}" "${API:-generate}"; }
"""


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    site = Site(collections, tmp_path_factory.mktemp("diagnose"))
    fleet.up(SET, {HOST: "rtx-a6000-x2"}, say=lambda text: None)
    try:
        fleet.serve(SET, say=lambda text: None)
        site.inventory({HOST: {}})
        on(HOST, "sh", "-c", "cat > /opt/state.py", stdin=open(state.__file__, "rb").read())
        for model in ("tiny", "vectors", "llama3.1:8b"):
            seed.seed(fleet.container_name(SET, HOST), model, STORE, owner="ollama")
        on(HOST, "chown", "-R", "ollama:ollama", "/usr/share/ollama")
        put_release(site)
        on(HOST, "sh", "-c", "cat > /etc/systemd/system/ollama.service", stdin=UNIT.encode())
        shell(
            "cp /dev/gpu-rig/state /opt/kept; systemctl daemon-reload; systemctl start ollama.service; wait-for-server"
        )
        yield site
    finally:
        fleet.down(SET)


def put_release(site):
    """Unpack the release as Ollama's installer does."""
    arguments = "src={{ rig_release_url }}/ollama-linux-amd64.tar.zst dest=/usr/local remote_src=true"
    module(site, "ansible.builtin.unarchive", arguments)


def module(site, name, arguments=""):
    """Run a module on the host."""
    command = [tool("ansible"), "-i", fleet.write_inventory(SET), "-i", site.scratch / "hosts.yml", "named", "-b"]
    run([*command, "-m", name, "-a", arguments], cwd=site.scratch, env=site.environment(), timeout=300)


def shell(*lines):
    """Run shell lines on the host; one that fails fails the test."""
    return on(HOST, "bash", "-ec", WORDS + "\n".join(lines))


def diagnosis(option=""):
    """The answer of the program on the host."""
    answer = on(HOST, "sh", "-c", "%s diagnose --seconds 0.6 --json %s || true" % (PROGRAM, option))
    return json.loads(answer)


def test_a_healthy_host_where_the_role_never_ran(site):
    """The playbook needs nothing there, finds nothing, and changes nothing."""
    with site.untouched(HOST):
        outcome = site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.diagnose")
    assert "No cause was found" in outcome.text and outcome.counts[HOST]["changed"] == 0
    assert "ollama.service: Ollama" in outcome.text and "RTX A6000" in outcome.text


def test_the_program_says_the_same(site):
    module(site, "gpufleet.ollama.libraries", "state=present")
    module(site, "gpufleet.ollama.program_file")
    found = diagnosis()
    assert found["findings"] == [] and found["exit_code"] == 0


@pytest.mark.parametrize("name", GROUPS)
def test_what_is_provoked_is_found_and_gone_afterwards(site, name):
    group = GROUPS[name]
    shell(*group.do)
    try:
        found = diagnosis(group.option)
    finally:
        shell(*group.undo)
    kinds = {one["finding"] for one in found["findings"]}
    assert set(group.kinds) <= kinds, found
    assert all(one["evidence"] and one["remedy"] for one in found["findings"])


def test_afterwards_nothing_is_left(site):
    shell("""ask '{"model": "tiny"}'""")
    told = diagnosis("--answers")
    assert {one["finding"] for one in told["findings"]} <= {"fits_on_one_gpu"}
    assert any("with log-probabilities" in line for line in told["looked_at"])
    shell("""ask '{"model": "tiny", "keep_alive": 0}'""")
    assert diagnosis()["findings"] == []


def test_the_playbook_finds_it_too(site):
    shell("python3 /opt/state.py set gpu0.pcie.width 4")
    try:
        outcome = site.play("diagnose")
    finally:
        shell(KEPT_STATE)
    assert "pcie_narrow (likely)" in outcome.text and "1 finding (1 likely)" in outcome.text


def test_the_playbook_asks_the_models_on_request(site):
    """A model that answers garbage is found only so, as a question uses the GPUs; and the time is given on."""
    shell("python3 /opt/state.py lie not_a_number", """ask '{"model": "tiny"}'""")
    try:
        silent, asking = (
            site.play("diagnose", *more) for more in ((), ("-e", "ollama_multigpu_diagnose_answers=true"))
        )
        refused = site.play("diagnose", "-e", "ollama_multigpu_diagnose_seconds=601", expect=2)
    finally:
        shell("""ask '{"model": "tiny", "keep_alive": 0}'""", "python3 /opt/state.py lie off")
    assert "answer_no_number" not in silent.text and "log-probabilities" not in silent.text
    assert "answer_no_number (certain)" in asking.text and "This can explain: the answers are garbage." in asking.text
    assert asking.counts[HOST]["changed"] == 0
    assert "seconds is 601: give a number from 0 to 600." in refused.text


@pytest.mark.parametrize("playbook", ["diagnose", "benchmark", "verify", "remove"])
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(site, playbook):
    """Also by playbooks that use few of the variables. Nothing runs on the host."""
    outcome = site.play(playbook, "-e", "ollama_multigpu_diagnose_answer=true", expect=2)
    assert (
        "diagnose_answer is not a variable of this role: did you mean ollama_multigpu_diagnose_answers?" in outcome.text
    )
    assert HOST not in outcome.counts
