# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The role against a host whose modules lie: it chooses nothing on the controller.

The host is this machine, with a "Python" that answers in the place of the modules; nothing is changed.
"""

from __future__ import annotations

import http.server
import json
import pathlib
import subprocess
import sys
import threading

import pytest

from tests.integration.support import environment, tool
from tests.oracle import hosts
from tests.rig.models import store as rig_models
from tests.rig.registry.server import Registry, serve

LIAR = pathlib.Path(__file__).with_name("liar.py")
EVIDENCE = {"verdict": "pass", "instances": [{"name": "gpu0", "models": []}], "diagnosis": [], "changed": False}
ANSWERS = {
    "setup": {"ansible_facts": {"ansible_distribution": "Debian"}, "changed": False},
    "ping": {"ping": "pong", "changed": False},
    "gpu_facts": {"ansible_facts": {"gpu_inventory": hosts.inventory(hosts.A6000)}, "changed": False},
    "server_info": {"servers": {}, "changed": False},
    "diagnosis_info": {"findings": [], "looked_at": [], "lines": [], "changed": False},
    "release_files": {"directory": "/usr/local/lib/ollama-multigpu/releases/0.32.15", "changed": True},
    "libraries": {"found": {}, "needed": [], "directory": "/x", "python_version": "3.11.2", "changed": False},
    "group": {"changed": True},
    "user": {"changed": True},
    "systemd_service": {"changed": True},
    "systemd": {"changed": True},
    "command": {"changed": True, "rc": 0, "stdout": "", "stderr": ""},
    "instance_files": {"files": [], "changed": True},
    "instance_models": {"models": [], "held_back": [], "changed": True},
    "instance_switch": {
        "seconds_without_answer": {},
        "seconds_until_quiet": 0.0,
        "files": [],
        "models": [],
        "evidence": EVIDENCE,
        "went_back": [],
        "changed": True,
    },
    "program_file": {"path": "/x", "needed": True, "interpreter": "/usr/bin/python3", "changed": True},
    "plan_history": {"number": 1, "path": "/etc/ollama-multigpu/plans/1", "changed": True},
    "placement_check": EVIDENCE,
}
#: An untouched host, whatever this machine is.
UNTOUCHED = {
    "systemd": True,
    "zstd": True,
    "existing": None,
    "groups": ["render", "video"],
    "user": None,
    "command": "absent",
    "instances": [],
    "listeners": [],
    "address_available": True,
    "applied_plan": {},
    "adopted": {},
    "left_behind": None,
    "drop_ins": [],
    "installed": False,
}
VERIFY = {"ansible.builtin.include_role": {"name": "gpufleet.ollama.ollama_multigpu", "tasks_from": "verify"}}
SITE = {"ansible.builtin.include_role": {"name": "gpufleet.ollama.ollama_multigpu"}}
PLAN = {"ansible.builtin.include_role": {"name": "gpufleet.ollama.ollama_multigpu", "tasks_from": "plan"}}
BENCHMARK = {"ansible.builtin.include_role": {"name": "gpufleet.ollama.ollama_multigpu", "tasks_from": "benchmark"}}
PING = {"ansible.builtin.ping": {}}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """The address of a registry with a small model."""
    directory = tmp_path_factory.mktemp("registry")
    rig_models.write_into_store("tiny", directory, registry="")
    listening = serve(Registry(directory, ["127.0.0.1"]), ["127.0.0.1"])
    yield "127.0.0.1:%d" % listening[0].server_address[1]
    for server in listening:
        server.shutdown()
        server.server_close()


@pytest.fixture
def evil():
    """A registry of the liar: its address, and the requests that it got."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "127.0.0.1:%d" % server.server_port, requests
    server.shutdown()
    server.server_close()


@pytest.fixture
def lie(tmp_path, collections, registry, evil):
    """A function that runs tasks against a host that lies: lie(tasks, lies, ...) -> Run."""
    run = Run(tmp_path, collections, registry, evil)
    yield run
    assert run.requests == [], "the host chose the registry"
    assert run.strangers() == [], "the host chose a file"


class Run:
    """Runs of ansible-playbook against the host that lies."""

    def __init__(self, directory, collections, registry, evil):
        self.directory, self.collections, self.registry = directory, collections, registry
        self.evil, self.requests = evil
        self.evidence = directory / "a" / "b" / "evidence"
        self.facts = {
            "ollama_multigpu_evidence_dir": str(directory / "chosen"),
            "ollama_multigpu_registry": self.evil,
            "ollama_multigpu_models": [{"name": "evil", "insecure": True}],
            "inventory_hostname": "../../x",
            "__ollama_multigpu_settings": {"ollama_multigpu_evidence_dir": str(directory / "chosen")},
            "__ollama_multigpu_is_stage": True,
        }

    def __call__(self, plays, lies=None, name="node1", variables=None, **more):
        """Run plays (lists of tasks, with gathered facts where `facts` is the first) and return the outcome."""
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        interpreter = self.directory / "python"
        interpreter.write_text('#!/bin/sh\nexec %s %s "$@"\n' % (sys.executable, LIAR))
        interpreter.chmod(0o755)
        plan = {"answers": ANSWERS, "changes": {"host_info": {"host": UNTOUCHED}}, "lies": lies or {}, "padding": {}}
        (state / "plan.json").write_text(json.dumps(dict(plan, **more)))
        host = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(interpreter),
            "ansible_become": False,
            "ollama_multigpu_models": [{"name": "tiny", "insecure": True}],
            "ollama_multigpu_registry": self.registry,
            "ollama_multigpu_models_dir": "/var/lib/ollama-multigpu-of-a-test",
            "ollama_multigpu_evidence_dir": str(self.evidence),
            **(variables or {}),
        }
        (self.directory / "inventory.json").write_text(json.dumps({"all": {"hosts": {name: host}}}))
        book = [
            {"hosts": "all", "gather_facts": "facts" in tasks, "tasks": [t for t in tasks if t != "facts"]}
            for tasks in plays
        ]
        (self.directory / "book.json").write_text(json.dumps(book))
        return self.command(tool("ansible-playbook"), "-i", "inventory.json", "book.json")

    def command(self, *words, cwd=None):
        """Run a command, which finds the host as the last run has set it up."""
        state = self.directory / "state"
        done = subprocess.run(
            words,
            cwd=cwd or self.directory,
            env=environment(
                self.collections,
                LIAR=str(state / "plan.json"),
                XDG_CACHE_HOME=str(self.directory / "cache"),
                ANSIBLE_HOME=str(self.directory / "home"),
                ANSIBLE_INJECT_FACT_VARS="1",
                ANSIBLE_PIPELINING="0",
                ANSIBLE_DEPRECATION_WARNINGS="0",
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=1800,
            check=False,
        )
        self.output, self.status = done.stdout.decode(), done.returncode
        self.asked = (state / "asked").read_text().split() if (state / "asked").exists() else []
        assert "Traceback" not in self.output, self.output
        return self

    def written(self):
        """The evidence by the names of the files."""
        return {path.name: json.loads(path.read_text()) for path in sorted(self.evidence.glob("*"))}

    def strangers(self):
        """Files outside the directories that were given to Ansible."""
        known = {"state", "cache", "home", "python", "review", "inventory.json", "book.json"}
        found = [path for path in self.directory.rglob("*") if path.is_file()]
        return [
            str(path)
            for path in found
            if path.relative_to(self.directory).parts[0] not in known and path.parent != self.evidence
        ]


def test_the_host_without_lies_gets_its_plan_and_its_evidence(lie):
    """Else the other tests would prove nothing."""
    run = lie([[SITE]])
    assert run.status == 0, run.output
    assert run.written() == {"node1.json": {"host": "node1", **{k: EVIDENCE[k] for k in EVIDENCE if k != "changed"}}}
    for module in (
        "host_info",
        "group",
        "user",
        "instance_files",
        "async_status",
        "instance_switch",
        "placement_check",
    ):
        assert module in run.asked
    assert "Plan for Ollama" in run.output and "feasible" in run.output


@pytest.mark.parametrize(
    "fact",
    ["ollama_multigpu_registry", "inventory_hostname", "__ollama_multigpu_settings", "ansible_python_interpreter"],
)
def test_a_lie_of_setup(lie, fact):
    value = lie.facts.get(fact, "/bin/sh")
    run = lie([["facts", SITE]], {"setup": {"ansible_facts": {fact: value}}})
    assert run.status != 0 and "has the fact %s" % fact in run.output, run.output
    assert run.asked == ["setup"] and run.written() == {}


def test_a_lie_of_a_module_of_ours_is_not_taken(lie):
    run = lie([[SITE], [VERIFY]], {name: {"ansible_facts": lie.facts} for name in ("host_info", "placement_check")})
    assert run.status == 0, run.output
    assert list(run.written()) == ["node1.json"] and run.asked.count("placement_check") == 2


@pytest.mark.parametrize("module", ["group", "user", "systemd_service"])
def test_a_lie_of_a_module_of_ansible_in_the_middle(lie, module):
    run = lie([[SITE]], {module: {"ansible_facts": lie.facts}})
    assert run.status != 0 and "has the fact __ollama_multigpu_is_stage" in run.output, run.output
    assert run.written() == {} and "placement_check" not in run.asked


def test_a_lie_between_two_entry_points(lie):
    run = lie([[SITE], [PING, VERIFY]], {"ping": {"ansible_facts": {"ollama_multigpu_evidence_dir": "/nonexistent"}}})
    assert run.status != 0 and "has the fact ollama_multigpu_evidence_dir" in run.output, run.output
    assert run.asked.count("placement_check") == 1


def test_variables_of_the_user_are_evaluated_once(lie):
    """What the inventory computes from other variables keeps its value, whatever facts come later."""
    place = str(lie.evidence)
    run = lie(
        [[SITE]],
        {"group": {"ansible_facts": {"place": str(lie.directory / "chosen"), "mirror": lie.evil}}},
        variables={
            "place": place,
            "mirror": lie.registry,
            "ollama_multigpu_evidence_dir": "{{ place }}",
            "ollama_multigpu_registry": "{{ mirror }}",
        },
    )
    assert run.status == 0 and list(run.written()) == ["node1.json"], run.output


@pytest.mark.parametrize("name", ["../../x", ".hidden", "a/b"])
def test_names_that_are_no_file(lie, name):
    run = lie([[SITE]], name=name)
    assert run.status != 0 and "cannot be written, because its name" in run.output, run.output
    assert run.asked == []


def test_a_directory_that_cannot_be_written_is_told_before_the_host_is_asked(lie):
    lie.evidence.parent.parent.mkdir()
    lie.evidence.parent.symlink_to("/proc/version")
    run = lie([[SITE]])
    assert run.status != 0 and "is not a directory" in run.output and run.asked == [], run.output
    lie.evidence.parent.unlink()


@pytest.mark.parametrize("module", ["host_info", "gpu_facts", "placement_check"])
def test_an_answer_that_is_too_large(lie, module):
    run = lie([[SITE]], padding={module: 133 * 10**6})
    assert run.status != 0 and "The answer of node1 to the module %s has 133" % module in run.output
    assert len(run.output) < 10**6 and run.written() == {}


def test_an_answer_that_nests_too_deep(lie):
    deep = []
    for _level in range(400):
        deep = [deep]
    run = lie([[SITE]], changes={"host_info": {"host": dict(UNTOUCHED, listeners=deep)}})
    assert run.status != 0 and "nests more than 64 levels deep" in run.output, run.output[-3000:]


def test_escape_sequences_are_not_sent_to_the_terminal(lie):
    wicked = dict(EVIDENCE, verdict="fail\x1b[2J", failed=True, msg="\x1b]0;owned\x07 \x1b[31m", warnings=["\x1b[2J"])
    inventory = hosts.inventory(hosts.A6000)
    inventory["gpus"][0]["name"] = "RTX\x1b[2J\nPLAY RECAP"
    answers = dict(
        ANSWERS, placement_check=wicked, gpu_facts={"ansible_facts": {"gpu_inventory": inventory}, "changed": False}
    )
    run = lie([[SITE]], answers=answers)
    assert run.status != 0 and "owned" in run.output
    assert "\x1b" not in run.output and "\x07" not in run.output and run.output.count("\nPLAY RECAP") == 1


def test_the_summary_for_a_pull_request_holds_no_markup_of_a_host(lie):
    """It is written whatever becomes of the host, and the run ends with status 2 where the host differs."""
    inventory = hosts.inventory(hosts.A6000)
    inventory["gpus"][0]["name"] = "<script>alert(1)</script>|@everyone\n# x"
    answers = dict(ANSWERS, gpu_facts={"ansible_facts": {"gpu_inventory": inventory}, "changed": False})
    review = lie.directory / "review"
    variables = {"ollama_multigpu_plan_dir": str(review), "ollama_multigpu_fail_on_change": True}
    run = lie([[PLAN]], answers=answers, variables=variables)
    assert run.status == 2 and "node1 has no plan in force, and a run would make" in run.output, run.output
    written = (review / "summary.md").read_text()
    assert "| `node1` | 1 × `<script>alert(1)</script>\\|@everyone\\n# x` |" in written
    assert written.count("\n# ") == 0 and "### `node1`" in written
    run = lie([[PLAN]], changes={"host_info": {"host": dict(UNTOUCHED, zstd=False)}}, variables=variables)
    written = (review / "summary.md").read_text()
    assert run.status == 2 and "**The plan of** `node1` **cannot be applied:**\n\n- " in written and "zstd" in written
    run = lie([[PLAN]], {"host_info": {"failed": True, "msg": "x"}}, variables=variables)
    assert run.status == 2 and "**No plan for** `node1`:" in (review / "summary.md").read_text()


def test_lists_of_models_of_several_groups_are_one(lie):
    """No lie, but what a host without podman can show: all lists are planned, and a contradiction is refused."""
    variables = {
        "ollama_multigpu_models": "{{ [] }}",
        "ollama_multigpu_models_common": [{"name": "tiny", "insecure": True}],
        "ollama_multigpu_models_chat": [{"name": "tiny:latest", "context_length": "{{ tokens }}"}],
        "tokens": 512,
    }
    run = lie([[PLAN]], variables=variables)
    assert run.status == 0 and "context 512" in run.output, run.output
    variables["ollama_multigpu_models_common"][0]["context_length"] = 1024
    run = lie([[PLAN]], variables=variables)
    said = "ollama_multigpu_models_chat and ollama_multigpu_models_common say otherwise of tiny"
    assert run.status == 2 and said in run.output, run.output


def test_a_host_that_answers_otherwise_after_the_review(lie):
    """A reviewed plan is applied as it is, and refused where the host or a variable is not what it was then."""
    review = lie.directory / "review"
    assert lie([[PLAN]], variables={"ollama_multigpu_plan_dir": str(review)}).status == 0
    file = {"ollama_multigpu_plan_file": str(review / "plans" / "{{ inventory_hostname }}.json")}
    run = lie([[SITE]], variables=file)
    assert run.status == 0 and run.asked.count("instance_switch") == 1, run.output
    inventory = dict(hosts.inventory(hosts.A6000, hosts.A6000), driver_version="999.1")
    answers = dict(ANSWERS, gpu_facts={"ansible_facts": {"gpu_inventory": inventory}, "changed": False})
    run = lie([[SITE]], answers=answers, variables=file)
    assert run.status == 2 and run.asked.count("instance_switch") == 1, run.output
    assert "the driver is 999.1 instead of" in run.output and "is new" in run.output
    run = lie([[SITE]], variables=dict(file, ollama_multigpu_base_port=11500))
    assert run.status == 2 and "http://127.0.0.1:11500 is new" in run.output, run.output


def test_a_benchmark_that_fails_in_the_middle_keeps_what_was_measured(lie):
    """No lie either. A failure without a figure writes no file, and nothing else is measured."""
    kept = lie.directory / "review"
    load = {"model": "m", "instances": ["gpu0"], "seconds": {"median": 1.5, "q1": 1.0, "q3": 2.0, "repeats": 3}}
    measured = {"release": "0.32.15", "loads": [load], "measurements": [], "notes": ["Not measured: the rest."]}
    failure = {"failed": True, "msg": "A server that was measured has failed: x."}
    variables = {
        "ollama_multigpu_benchmark_directory": str(kept),
        "ollama_multigpu_benchmark_untouched": True,
        "ollama_multigpu_benchmark_may_disturb": True,
    }
    planned = {"host_info": {"host": dict(UNTOUCHED, applied_plan={"instances": []})}}
    run = lie([[BENCHMARK]], answers=dict(ANSWERS, benchmark_info=failure), changes=planned, variables=variables)
    assert run.status == 2 and "has failed: x." in run.output and not list(kept.glob("*")), run.output
    failed = dict(failure, benchmark=measured)
    run = lie([[BENCHMARK]], answers=dict(ANSWERS, benchmark_info=failed), changes=planned, variables=variables)
    (file,) = kept.iterdir()
    assert run.status == 2 and json.loads(file.read_text())["loads"] == [load], run.output
    assert "m on gpu0: a load takes 1.50 s (1.00 to 2.00)." in run.output and "Not measured: the rest." in run.output
    assert "benchmark_untouched" not in run.asked
