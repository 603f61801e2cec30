# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A plan that was reviewed is applied as it is, or refused with what has changed since."""

from __future__ import annotations

import copy
import json

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.plan_files import PlanFiles, PlanFilesError, read_plan
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report.plan_record import Planned, plan_record
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.reviewed_plan import obstacles

from tests.oracle import hosts
from tests.unit.plugins.plugin_utils.report.made_plans import planned

GEMMA = {"name": "gemma3:27b", "context_length": 8192}
SCOUT = {"name": "llama4:16x17b", "context_length": 8192}


def record(
    *wanted,
    applied=None,
    release="0.32.14",
    driver="570.86.15",
    gpus=(hosts.A6000, hosts.A6000),
    settings=None,
    advertise_address=None,
    **more,
):
    """What is written of a host, as it is read again."""
    inventory = dict(hosts.inventory(*gpus), driver_version=driver)
    host = {"applied_plan": applied or {}, "release": {"current": release}, "instances": []}
    plan = planned(*(wanted or (GEMMA,)), gpus=gpus)
    for instance in plan["instances"]:
        instance["models"][0].update(more)
    plan["advertise_address"] = advertise_address
    given = Planned(plan, {"changes": [], "work": {}}, host, inventory, settings=settings or {})
    found = plan_record("gpu-a", given)
    return json.loads(json.dumps(found))


def said(before, after):
    found = obstacles(before, after)
    assert len(found) <= 1
    return found[0] if found else ""


def test_the_same_host_takes_its_plan():
    assert obstacles(record(), record()) == []


def test_what_others_use_of_a_gpu_changes_no_plan_that_still_fits():
    free = record(gpus=(hosts.A6000, (49140, 40600)))
    assert free["plan"] != record()["plan"] and obstacles(record(), free) == []


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"driver": "575.57.08"}, "the driver is 575.57.08 instead of 570.86.15"),
        ({"driver": None}, "the driver is not known instead of 570.86.15"),
        ({"release": "0.32.13"}, "the host runs Ollama 0.32.13 instead of 0.32.14"),
        ({"release": None}, "the host runs Ollama not known instead of 0.32.14"),
        ({"planned_digest": "sha256:b"}, "the manifest of gemma3:27b is sha256:b instead of not known"),
        ({"headers": ["x"]}, "the header of gemma3:27b is another one"),
        ({"draft": {"name": "d", "planned_digest": "e"}}, "a plan that is made now says otherwise: instance gpu0"),
        ({"create_as": "other"}, "a plan that is made now says otherwise: gemma3:27b: served as"),
    ],
)
def test_what_has_changed_is_told(changed, told):
    text = said(record(), record(**changed))
    assert text.startswith(
        "The reviewed plan of gpu-a cannot be applied, because the host or its variables have changed"
    )
    assert told in text and text.endswith("Make the plan again and have it reviewed.")


def on_basis(basis, *wanted, more=0, layers=0):
    """A record whose figures have this basis; of the first GPU, bytes and layers are so many more."""
    found = record(*wanted)
    for instance in found["plan"]["instances"]:
        predicted = instance["models"][0]["predicted"]
        predicted["basis"] = basis
        predicted["devices"][0]["total_bytes"] += more
        predicted["devices"][0]["layers"] += layers
    return found


def test_figures_of_another_basis_are_no_change():
    """Nothing is measured for a reviewed plan, whose figures may be measured, and the other way round."""
    one, other = on_basis("measured", more=2**30), on_basis("predicted")
    assert obstacles(one, other) == [] and obstacles(other, one) == []
    assert "memory" in said(other, on_basis("predicted", more=2**30))


def test_another_division_of_the_layers_is_a_change_on_any_basis():
    assert "layers" in said(on_basis("measured", layers=1), on_basis("predicted"))
    assert "gemma3:27b is gone" in said(on_basis("measured"), on_basis("predicted", SCOUT))


def test_gpus_that_come_go_and_change():
    one, two = record(gpus=(hosts.A6000,)), record()
    gone = "GPU-00000002-1111-2222-3333-444444444444 (GPU of 49140 MiB) is "
    assert gone + "gone" in said(two, one) and gone + "new" in said(one, two)
    other = copy.deepcopy(two)
    gpu = other["basis"]["gpus"]["GPU-00000002-1111-2222-3333-444444444444"]
    gpu.update(total_bytes=24 * 1024**3, mig=["MIG-a"], name="RTX 4090")
    text = said(two, other)
    assert "has 24.0 GiB instead of 48.0 GiB" in text and "is RTX 4090 instead of GPU of 49140 MiB" in text
    assert "has MIG devices MIG-a instead of none" in text


def test_a_variable_that_was_changed():
    assert "gemma3:27b: context length 8192 -> 4096" in said(record(), record(dict(GEMMA, context_length=4096)))
    assert "gemma3:27b is gone" in said(record(), record(SCOUT))


def test_another_address_for_clients():
    one, other = record(), record(advertise_address="ai.example.org")
    assert obstacles(other, record(advertise_address="ai.example.org")) == []
    assert "ollama_multigpu_advertise_address not set -> ai.example.org" in said(one, other)


NO_PLAN_HAS = {
    "ollama_multigpu_allow_from": ["192.0.2.0/24", "198.51.100.7"],
    "ollama_multigpu_sandbox": "strict",
    "ollama_multigpu_peers": [],
    "ollama_multigpu_devices": ["/dev/dri"],
    "ollama_multigpu_heal": False,
    "ollama_multigpu_unproven": "fail",
    "ollama_multigpu_check_interval": 600,
    "ollama_multigpu_metrics_directory": "",
    "ollama_multigpu_release_url": "https://me:hidden@mirror.example.org/v1?key=hidden",
    "ollama_multigpu_release_checksum": "",
}


@pytest.mark.parametrize("name", NO_PLAN_HAS)
def test_a_variable_that_is_in_no_plan(name):
    changed = dict(NO_PLAN_HAS, **{name: "https://other.example.org" if name.endswith("url") else "new"})
    text = said(record(settings=NO_PLAN_HAS), record(settings=changed))
    assert "%s was changed" % name in text and text.count("ollama_multigpu_") == 1 and "new" not in text


def test_the_same_values_in_other_forms_are_no_change():
    """As -e gives them, and lists in another order."""
    same = dict(
        NO_PLAN_HAS,
        ollama_multigpu_allow_from=["198.51.100.7", "192.0.2.0/24"],
        ollama_multigpu_heal="false",
        ollama_multigpu_check_interval="600",
    )
    assert obstacles(record(settings=NO_PLAN_HAS), record(settings=same)) == []


def test_only_these_variables_are_written_and_no_credentials():
    written = record(settings=dict(NO_PLAN_HAS, ollama_multigpu_registry_password="hidden"))
    assert set(written["basis"]["settings"]) == set(NO_PLAN_HAS)
    assert "hidden" not in json.dumps(written) and "mirror.example.org" in json.dumps(written)


def test_a_plan_that_was_applied_meanwhile():
    before, other = record(), record(SCOUT)["plan"]
    assert "there is a plan in force, and there was none" in said(before, record(applied=other))
    before = record(applied=other)
    assert "the plan in force is gone" in said(before, record())
    again = dict(other, ollama_version="0.32.13")
    assert "another plan was applied: Ollama 0.32.15 -> 0.32.13" in said(before, record(applied=again))
    assert "it was made anew" in said(before, record(applied=dict(other, warnings=["x"])))


def test_a_plan_that_is_in_force_is_applied_again():
    """A second run with the same file, also after one that was killed between the release and the plan."""
    before = record()
    assert obstacles(before, record(applied=before["plan"], release="0.32.15")) == []
    assert obstacles(before, record(release="0.32.15")) == []


def test_no_memory_is_left():
    full = ((49140, 2000), (49140, 2000))
    assert "the new plan has no place for every model" in said(record(), record(gpus=full))


def test_a_file_is_read_for_its_host_alone(tmp_path):
    PlanFiles(str(tmp_path), "gpu-a").write(record(), [])
    path = str(tmp_path / "plans" / "gpu-a.json")
    assert read_plan(path, "gpu-a") == record()
    with pytest.raises(
        PlanFilesError, match="gpu-a.json of ollama_multigpu_plan_file .* gpu-b: it is the plan of 'gpu-a'"
    ):
        read_plan(path, "gpu-b")


@pytest.mark.parametrize(
    "content, told",
    [
        (None, "cannot be read: No such file or directory. Write it with"),
        ("{", "cannot be read: it is no JSON"),
        ("[]", "it is no plan that the playbook gpufleet.ollama.plan has written"),
        ('{"plan": {}}', "it is no plan that the playbook"),
        ('{"format": 2, "host": "a"}', "it has the format 2, and this version of the collection takes 1"),
        (
            '{"format": 1, "host": "a", "state": "refused", "obstacles": ["No room."]}',
            "its state is 'refused': No room.",
        ),
        ('{"format": 1, "host": "a", "state": "same", "plan": {}, "applied": {}}', "because it has no basis"),
    ],
)
def test_what_is_no_plan_is_told(tmp_path, content, told):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PlanFilesError) as error:
        read_plan(str(path), "a")
    assert told in str(error.value) and "ollama_multigpu_plan_file" in str(error.value)
