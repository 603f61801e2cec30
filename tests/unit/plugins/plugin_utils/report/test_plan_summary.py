# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What changes on which hosts: data for pipelines, a sentence, and Markdown for the comment on a pull request."""

from __future__ import annotations

import copy
import json
import random

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell.written import as_written
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_record import (
    Planned,
    drift_sentence,
    plan_record,
    short_record,
)
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_summary import LONGEST, plan_summary

from tests.unit.plugins.plugin_utils.report.made_plans import planned
from tests.unit.plugins.plugin_utils.report.test_changes_lines import CHANGES, GEMMA
from tests.unit.plugins.plugin_utils.report.test_markdown import rendered

SWITCHES = [{"instances": [name], "restart": [name], "stop": [], "title": name, "why": []} for name in ("gpu0", "gpu1")]
HISTORY = {"plans": [{"seconds_without_answer": {"gpu0": 12.5}, "load_seconds": {}}]}


def new_plan(**changes):
    plan = dict(planned(GEMMA), **changes)
    for instance in plan["instances"]:
        instance["models"][0]["size_bytes"] = 16 * 1024**3
    return plan


def record(name, applied=None, changes=None, obstacles=(), plan=None, notes=()):
    plan = plan or new_plan()
    applied = {} if applied is None else applied
    difference = {
        "changes": [dict(change, details={"a": 1}) for change in (CHANGES if changes is None else changes)],
        "summary": ["Warning: %s" % note for note in notes] + ["not a warning"],
        "obstacles": list(obstacles),
        "work": {"switches": SWITCHES},
    }
    names = [one["name"] for one in applied.get("instances", [])]
    host = {
        "applied_plan": applied,
        "instances": [{"name": one, "active": True} for one in names],
        "history": HISTORY if applied else {"plans": []},
    }
    return plan_record(name, Planned(plan, difference, host))


def summary(*records):
    return plan_summary([short_record(one) for one in records])


def test_the_data_of_a_host():
    found = record("gpu-a")
    assert (found["format"], found["host"], found["state"]) == (1, "gpu-a", "differs")
    assert found["to_fetch"] == {
        "release": "0.32.15",
        "models": [{"name": "gemma3:27b", "size_bytes": 16 * 1024**3}],
        "size_bytes": 16 * 1024**3,
    }
    assert found["plan"] == as_written(new_plan()) and found["applied"] == {} and "details" not in found["changes"][0]
    assert "gemma3:27b is new, 2 replicas on GPU 0 and 1" in found["differences"]
    assert json.loads(json.dumps(found)) == found
    assert not {"plan", "applied", "changes"} & set(short_record(found))


def test_a_host_that_stays_as_it_is():
    plan = new_plan()
    found = record("gpu-a", applied=plan, changes=[])
    assert found["state"] == "same" and drift_sentence(found) == ""
    text = summary(found)
    assert text == ("## Plan for Ollama on 1 host\n\n0 of 1 change.\n\n**Nothing changes on** `gpu-a`.\n")


def test_the_sentence_says_what_differs():
    before = new_plan(ollama_version="0.32.14")
    said = drift_sentence(record("gpu-a", applied=before))
    assert said.startswith("gpu-a differs from its plan, and a run would make 8 changes: Ollama 0.32.14 -> 0.32.15; ")
    assert "; and " in said and said.endswith("because ollama_multigpu_fail_on_change is true.")
    said = drift_sentence(record("gpu-a"))
    assert said.startswith("gpu-a has no plan in force, and a run would make 8 changes: Fetch release 0.32.15: ")


def test_only_the_host_differs_and_not_the_plan():
    plan = new_plan()
    said = drift_sentence(record("gpu-a", applied=plan, changes=CHANGES[1:2]))
    assert "would make 1 change: Write directory /etc/ollama-multigpu: It is not there. Apply" in said


def test_a_plan_that_cannot_be_applied_is_no_drift():
    found = record("gpu-a", obstacles=["There is no room."])
    assert found["state"] == "refused" and drift_sentence(found) == ""
    assert "**The plan of** `gpu-a` **cannot be applied:**\n\n- There is no room.\n" in summary(found)


def test_a_host_without_a_plan():
    none = plan_record("gpu-b", Planned())
    refused = plan_record("gpu-c", Planned(obstacles=["It has no zstd."]))
    assert (none["state"], refused["state"]) == ("unplanned", "refused")
    text = summary(none, refused)
    assert "**No plan for** `gpu-b`:\n\n- No plan was made. The output" in text and "It has no zstd" in text
    assert "0 of 2 change, 1 cannot be applied, 1 without a plan." in text


def test_the_summary_of_an_upgrade():
    before = new_plan(ollama_version="0.32.14")
    text = summary(record("gpu-b", applied=before, notes=["mind the gap"]), record("gpu-a", applied=before))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[2:] == [
        "| `gpu-%s` | 2 × `GPU of 49140 MiB` | 8 | Ollama 0.32.15 and 16.0 GiB of models "
        "| `gpu0` about 12 s, `gpu1` for an unknown time |" % name
        for name in "ab"
    ]
    assert "- Ollama 0.32.14 -> 0.32.15\n" in text
    assert "- `gpu0` gives no answer for about 12 s, as long as its last switch took. Other instances serve" in text
    assert "- `gpu1` gives no answer while it is switched. How long is not known" in text
    assert "- mind the gap\n" in text and "**Differs from the plan in force**" in text and "**New plan**" not in text


def test_that_others_serve_meanwhile_is_said_only_where_they_serve_everything():
    before = new_plan(ollama_version="0.32.14")
    dropped = copy.deepcopy(before["instances"][0]["models"][0])
    before["instances"][0]["models"].append(dict(dropped, name="qwen3:8b", create_as=None))
    text = summary(record("gpu-a", applied=before))
    (gpu0,) = [line for line in text.splitlines() if line.startswith("- `gpu0`")]
    (gpu1,) = [line for line in text.splitlines() if line.startswith("- `gpu1`")]
    assert gpu0 == "- `gpu0` gives no answer for about 12 s, as long as its last switch took."
    assert gpu1.endswith("Other instances serve its models meanwhile.")


def test_what_is_fetched_is_that_of_hosts_that_change():
    text = summary(record("gpu-a"), record("gpu-b", obstacles=["There is no room."]))
    assert "1 of 2 change, 1 cannot be applied, 16.0 GiB of models are fetched." in text and "**New plan**" in text


def test_hosts_with_the_same_changes_share_a_section():
    hosts = [record("gpu-%02d" % number) for number in range(40)]
    text = summary(*hosts)
    (title,) = [line for line in text.splitlines() if line.startswith("### ")]
    assert title.startswith("### `gpu-00`, `gpu-01`, ") and title.endswith(" and 20 more")


def test_the_same_hosts_give_the_same_text_in_any_order():
    plans = [new_plan(ollama_version="0.32.1%d" % number) for number in range(3)]
    hosts = [record("gpu-%d" % number, applied=plans[number % 3]) for number in range(9)]
    texts = set()
    for seed in range(3):
        shuffled = copy.deepcopy(hosts)
        random.Random(seed).shuffle(shuffled)
        texts.add(summary(*shuffled))
    assert len(texts) == 1


def test_a_fleet_fits_into_a_comment():
    plans = [dict(new_plan(), warnings=["%d %s" % (number, "x" * 390)]) for number in range(400)]
    text = summary(*[record("gpu-%03d" % number, plan=plan) for number, plan in enumerate(plans)])
    assert LONGEST * 0.9 < len(text) <= LONGEST and "parts of this summary are left out" in text
    assert "And 350 more hosts." in text


@pytest.mark.parametrize("hostile", ["<script>x</script>", "a|b`c", "](http://203.0.113.1)", "x\n# y", "@everyone"])
def test_what_a_host_says_is_text(hostile):
    plan = new_plan(warnings=[hostile], ollama_version=hostile)
    for gpu in plan["gpus"]:
        gpu["name"] = hostile
    change = dict(CHANGES[0], what=hostile, reason=hostile)
    applied = copy.deepcopy(new_plan())
    applied["instances"][0]["name"] = hostile
    found = record(hostile, applied=applied, changes=[change], plan=plan, notes=[hostile])
    page = rendered(summary(found, record("other", obstacles=[hostile])))
    assert "<script" not in page and "<a " not in page and "<img" not in page
    assert page.count("<h2>") == 1 and page.count("<h3>") == 1
    (row,) = page.split("<tbody>")[1].split("</tbody>")[0].strip().split("<tr>")[1:]
    assert row.count("<td>") == 5
