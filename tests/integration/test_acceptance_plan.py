# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The plan is complete on a host without anything installed, and the same for the same GPUs in any order, before and
after loading. A second run changes nothing.
"""

from __future__ import annotations

import copy
import json
import re

import pytest
import yaml

from tests import shown
from tests.integration.acceptance import SEED_STORE, SET, Site, gpu, on, requests
from tests.integration.support import run
from tests.rig.hosts import fleet, seed

pytestmark = pytest.mark.hosts

MODEL = "llama4:16x17b"
MIB = 1024**2
FOREIGN = 10 * 1024**3
LIKE_A = ["like-a-%d" % number for number in range(5)]
HOSTS = {
    "a": {},
    **{name: {"ansible_host": fleet.container_name(SET, "a")} for name in LIKE_A},
    "layers": {
        "ansible_host": fleet.container_name(SET, "a"),
        "ollama_multigpu_models": [
            {"name": "tiny", "insecure": True, "optimized": {"parameters": {"num_gpu": 2}}, "allow_cpu_offload": True}
        ],
    },
    "by-index": {},
    "by-uuid": {},
    "by-address": {},
    "occupied": {},
}
REAL_HOSTS = [name for name, variables in HOSTS.items() if "ansible_host" not in variables]


@pytest.fixture(name="site", scope="module")
def _site(podman_hosts, collections, tmp_path_factory):
    """Hosts with the same two GPUs in different orders, and one whose second GPU is half used by another process."""
    site = Site(collections, tmp_path_factory.mktemp("acceptance-plan"))
    fleet.up(SET, {name: "rtx-a6000-x2" for name in REAL_HOSTS}, say=lambda text: None)
    fleet.serve(SET, say=lambda text: None)
    gpu("by-index", "permute", "1,0")
    for host, key in (("by-uuid", "uuid"), ("by-address", "pci")):
        first, second = (gpu(host, "get", "gpu%d.%s" % (number, key)).strip() for number in (0, 1))
        gpu(host, "set", "gpu0." + key, second, "gpu1." + key, first)
    gpu("occupied", "process", "add", "1", "10G")
    model = {"name": MODEL, "context_length": 32768, "insecure": True, "optimized": {}}
    site.inventory(HOSTS, ollama_multigpu_models=[model])
    yield site
    fleet.down(SET)


@pytest.fixture(name="ten", scope="module")
def _ten(site):
    """The plans of ten new hosts with the large model and one with a small one, computed in one run, and the log of
    requests.
    """
    requests(clear=True)
    with site.untouched(*REAL_HOSTS):
        outcome = site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.plan")
    return outcome, requests()


@pytest.fixture(name="checked", scope="module")
def _checked(site, ten):
    """A run in check mode on a new host."""
    with site.untouched("a"):
        return site.play_shown(
            "ansible-playbook -i inventory.yml gpufleet.ollama.site --check --diff", "-v", "--limit", "a"
        )


@pytest.fixture(name="applied", scope="module")
def _applied(site, checked):
    """The first run on that host, with the model already in the store (it is never pulled)."""
    seed.seed(fleet.container_name(SET, "a"), MODEL, SEED_STORE, owner="ollama")
    return site.play_shown("ansible-playbook -i inventory.yml gpufleet.ollama.site", "--limit", "a", "-vvv")


@pytest.fixture(name="second", scope="module")
def _second(site, applied):
    """The run after that, with its whole output and the log of requests."""
    requests(clear=True)
    return site.play("site", "--limit", "a", "-vvv"), requests()


def by_place(plan):
    """The plan with GPUs named by their position, without their NVML indices."""
    named = copy.deepcopy(plan)
    for device in named["gpus"]:
        del device["index"]
    text = json.dumps(named, sort_keys=True)
    for place, device in enumerate(plan["gpus"]):
        text = text.replace(device["uuid"], "GPU-at-%d" % place)
    return json.loads(text)


def test_the_tasks_of_the_guide_make_the_same_plan(site, ten):
    """They read the registry of the rig, which has no certificate."""
    tasks = yaml.safe_load(shown.block("placement", "yaml+jinja"))
    tasks[1]["gpufleet.ollama.model_info"].update(registry="{{ rig_registry }}", insecure=True)
    path = site.scratch / "planned.json"
    told = {"ansible.builtin.copy": {"content": "{{ planned.placement | to_json }}", "dest": str(path)}}
    tasks.append({**told, "delegate_to": "localhost"})
    book = [{"hosts": "{{ ollama_multigpu_hosts }}", "gather_facts": False, "tasks": tasks}]
    (site.scratch / "tasks.yml").write_text(yaml.safe_dump(book))
    words = ["tasks.yml" if word == "gpufleet.ollama.plan" else word for word in site.command("plan")]
    run([*words, "--limit", "by-uuid"], cwd=site.scratch, env=site.environment())
    (model,) = json.loads(path.read_text())["instances"][0]["models"]
    assert model["predicted"] == ten[0].plans["by-uuid"]["instances"][0]["models"][0]["predicted"]


def test_a_header_is_read_once_for_ten_hosts_and_never_the_model(ten):
    served = [entry for entry in ten[1] if entry["target"] == "library/llama4"]
    pieces = [entry for entry in served if entry["kind"] == "data"]
    assert 0 < sum(entry["bytes"] for entry in pieces) <= 16 * MIB
    for blob in {entry["path"] for entry in pieces}:  # of the model, and of its parameters
        ranges = sorted(tuple(entry["range"]) for entry in pieces if entry["path"] == blob)
        assert len(ranges) == len(set(ranges)), "a piece was read twice"
        assert all(before[1] < after[0] for before, after in zip(ranges, ranges[1:])), "pieces overlap"


def test_ten_hosts_with_the_same_gpus_get_the_same_plan(ten):
    plans = ten[0].plans
    assert plans["a"]["feasible"] and plans["a"]["models"][0]["strategy"] == "split"
    for name in LIKE_A:
        assert plans[name] == plans["a"], name


@pytest.mark.parametrize("host", ["by-index", "by-uuid", "by-address"])
def test_the_order_of_the_gpus_changes_nothing_but_the_order(ten, host):
    plans = ten[0].plans
    assert by_place(plans[host]) == by_place(plans["a"])
    assert plans[host]["gpus"] != plans["a"]["gpus"]


def test_a_stranger_on_a_gpu_changes_the_plan_which_names_it(ten):
    plan = ten[0].plans["occupied"]
    free, taken = plan["gpus"]
    assert (free["foreign_bytes"], taken["foreign_bytes"]) == (0, FOREIGN)
    assert taken["available_bytes"] == free["available_bytes"] - FOREIGN
    layers = [
        [device["layers"] for device in one["instances"][0]["models"][0]["predicted"]["devices"]]
        for one in (plan, ten[0].plans["a"])
    ]
    assert layers[0] != layers[1]
    assert [warning for warning in plan["warnings"] if "10.0 GiB" in warning and taken["uuid"] in warning]
    assert all(warning in ten[0].text for warning in plan["warnings"])


def test_a_number_of_layers_is_taken_where_the_cpu_may_serve(ten):
    model = ten[0].plans["layers"]["instances"][0]["models"][0]
    assert (model["parameters"]["num_gpu"], model["predicted"]["gpu_layers"], model["expected"]["outcome"]) == (
        2,
        2,
        "partial",
    )


def test_check_mode_shows_the_whole_plan_and_what_would_change(checked, ten):
    """The fixture checks that nothing was changed; this test also checks that --limit gives the host the same plan."""
    assert checked.plans["a"] == ten[0].plans["a"]
    for told in (
        "planned split over GPU 0 and 1, 25 + 24 layers, context 32768",
        "weights 31659 MiB",
        "weights 30105 MiB",
        "untouched split over GPU 0 and 1",
        "OLLAMA_SCHED_SPREAD=1: the model goes to all visible GPUs",
        "address http://127.0.0.1:11434 is new and serves llama4:16x17b-optimized",
        "to fetch Ollama 0.32.15",
        '+CUDA_VISIBLE_DEVICES="GPU-',
        "+ExecStart=",
        "+PARAMETER num_gpu 999",
        "+PARAMETER num_ctx 32768",
    ):
        assert told in checked.text, told
    lines = re.findall(r"^ {2,}(?:[a-z]+ +)?((?:Fetch|Create|Write|Link|Enable|Start|Load) .*)$", checked.output, re.M)
    assert len(lines) >= 10 and checked.counts["a"]["changed"] >= 5, lines


def test_the_plan_is_the_same_before_and_after_loading(checked, applied, second):
    loaded = [process for device in json.loads(gpu("a", "dump"))["gpus"] for process in device["processes"]]
    assert len(loaded) == 2 and min(process["bytes"] for process in loaded) > 30000 * MIB
    written = json.loads(on("a", "cat", "/etc/ollama-multigpu/plan.json"))
    moving = {"available_bytes": None, "swap_bytes": None}  # they are others in every run
    for outcome in (checked, applied, second[0]):
        plan = outcome.plans["a"]
        assert plan["host_memory"]["available_bytes"] > 0
        assert {**plan, "host_memory": {**plan["host_memory"], **moving}} == written


def test_a_second_run_changes_nothing_in_twelve_remote_steps(second):
    assert second[0].counts["a"]["changed"] == 0
    assert second[0].counts["a"]["executions"] <= 12, second[0].counts["a"]["tasks"]


def test_a_second_run_brings_nothing_to_the_host(applied, second):
    """Neither models nor releases are downloaded, and the libraries that the first run copied are not copied again."""
    assert {entry["kind"] for entry in second[1]} <= {"manifest", "head"}
    sent = [re.findall(r"PUT \S*/(libraries\S*)\.zip TO ", outcome.output) for outcome in (applied, second[0])]
    assert sent[0] and not sent[1]


def test_the_host_has_none_of_the_libraries_of_its_own(applied):
    assert (
        on(
            "a",
            "python3",
            "-c",
            "import importlib.util as u; print([n for n in ('requests', 'pynvml') if u.find_spec(n)])",
        ).strip()
        == "[]"
    )


def test_verifying_alone_and_planning_for_a_loaded_host(site, applied):
    """Both read the current state of the GPUs: the plan accounts for a process that started after loading."""
    before = len(requests())
    verified = site.play("site", "--limit", "a", "--tags", "verify")
    assert "Verdict: pass" in verified.output and verified.counts["a"]["changed"] == 0
    assert len(requests()) == before, "verifying alone asks no registry"
    pid = gpu("a", "process", "add", "0", "10G").strip()
    try:
        changed = site.play("plan", "--limit", "a").plans["a"]
    finally:
        gpu("a", "process", "remove", pid)
    now, then = changed["gpus"][0], applied.plans["a"]["gpus"][0]
    assert (now["foreign_bytes"], now["available_bytes"]) == (FOREIGN, then["available_bytes"] - FOREIGN)


def test_a_pipeline_learns_what_differs(site, applied, tmp_path):
    """By the status, a sentence, and a summary for the comment on a pull request; also in check mode."""
    options = ["--limit", "a:by-index", "-e", "ollama_multigpu_fail_on_change=true"]
    texts = []
    for number, arguments in enumerate((["plan"], ["site", "--check"])):
        place = tmp_path / str(number)
        failed = site.play(*arguments, *options, "-e", "ollama_multigpu_plan_dir=%s" % place, expect=2)
        assert "by-index has no plan in force, and a run would make " in failed.text
        assert set(failed.failures) == {"by-index"}
        kept = json.loads((place / "plans" / "by-index.json").read_text())
        assert kept["plan"]["gpus"] == failed.plans["by-index"]["gpus"] and kept["state"] == "differs"
        texts.append((place / "summary.md").read_text())
    assert texts[0] == texts[1]
    assert "**Nothing changes on** `a`." in texts[0] and "### `by-index`" in texts[0]
    site.play("site", "--check", "--limit", "a", "-e", "ollama_multigpu_fail_on_change=true")


def test_a_reviewed_plan_is_applied_again_and_refused_for_other_gpus(site, applied, tmp_path):
    site.play("plan", "--limit", "a", "-e", "ollama_multigpu_plan_dir=%s" % tmp_path)
    reviewed = ["-e", "ollama_multigpu_plan_file=%s/plans/{{ inventory_hostname }}.json" % tmp_path]
    assert site.play("site", "--limit", "a", *reviewed).counts["a"]["changed"] == 0
    kept = json.loads((tmp_path / "plans" / "a.json").read_text())
    assert kept["plan"] == kept["applied"] == json.loads(on("a", "cat", "/etc/ollama-multigpu/plan.json"))
    refused = site.play(
        "plan", "--limit", "by-index", "-e", "ollama_multigpu_plan_file=%s" % (tmp_path / "plans/a.json"), expect=2
    )
    assert "it is the plan of 'a'" in refused.text
