# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A registry that serves another header than the file has, which then needs more memory than the plan says.

The steps are those of the role: read, plan, bring; where a header differs, read it on the host, plan and bring again.
"""

from __future__ import annotations

import copy
import struct

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.headers_to_read import headers_to_read

from tests.oracle import hosts
from tests.rig.models import store as rig_models
from tests.unit.plugins.module_utils.changes.builders import entry, host
from tests.unit.plugins.modules.ollama_rig import TINY_DIGEST
from tests.unit.plugins.modules.run_module import run_module

KEY = b"llama.attention.head_count_kv" + struct.pack("<I", 4)
# One KV head in place of two: the same tensors, the same size, half the KV cache.
LIE = {"old": (KEY + struct.pack("<I", 2)).hex(), "new": (KEY + struct.pack("<I", 1)).hex()}
BIG = hosts.inventory(hosts.RTX4090)


@pytest.fixture(name="lying")
def _lying(rig):
    rig.registry.faults.add(dict(LIE, target="library/tiny", fault="lie"))
    return rig


def offered(rig, **options):
    args = {"name": "tiny", "registry": rig.host, "insecure": True, "timeout": 5}
    return run_module("model_info", dict(args, **options))["model"]


def on_host(rig, store=None):
    return run_module("model_info", {"name": "tiny", "source": "store", "store": str(store or rig.store())})["model"]


def planned(*headers, inventory=BIG):
    args = {"gpu_inventory": inventory, "ollama_version": "0.32.15", "headroom_bytes": 0, "headers": list(headers)}
    return run_module("placement_info", dict(args, models=[{"name": "tiny", "context_length": 2048}]))["placement"]


def total(plan):
    return plan["instances"][0]["models"][0]["predicted"]["devices"][0]["total_bytes"]


def bring(rig, plan):
    """The models of a plan as the role brings and loads them."""
    model = plan["instances"][0]["models"][0]
    place = {"instance": "gpu0", "url": rig.url(), "store": str(rig.store())}
    base = dict(place, name="tiny", insecure=True, planned_digest=model["planned_digest"], headers=model["headers"])
    optimized = dict(
        place, **{"name": model["create_as"], "from": "tiny", "parameters": model["parameters"], "insecure": True}
    )
    loaded = dict(place, name=model["create_as"], state="loaded")
    return run_module("instance_models", {"models": [base, optimized, loaded], "registry": rig.host, "timeout": 5})


def differs(result):
    return [model["name"] for model in result["models"] if model["header_differs"]]


def test_the_plan_is_made_again_before_anything_is_loaded(lying):
    lie = offered(lying)
    first = planned(lie)
    result = bring(lying, first)
    assert not result.get("failed") and differs(result) == ["tiny:latest"] and lying.loaded() == []
    assert len(result["held_back"]) == 1
    true = on_host(lying)
    assert true["digest"] == lie["digest"] == TINY_DIGEST and true["headers"] != lie["headers"]
    second = planned(lie, true)
    assert total(second) > total(first)
    assert "The registry served another header for tiny than its file on the host has" in second["warnings"][-1]
    result = bring(lying, second)
    assert differs(result) == [] and result["held_back"] == []
    assert lying.loaded() == ["tiny:latest-optimized"]


def test_a_plan_that_the_true_header_makes_infeasible_loads_nothing(lying):
    lie = offered(lying)
    rig_models.write_into_store("tiny", lying.directory / "true")
    true = on_host(lying, lying.directory / "true")
    tight = copy.deepcopy(BIG)
    tight["gpus"][0]["memory"]["free_bytes"] = (total(planned(lie)) + total(planned(true))) // 2
    first = planned(lie, inventory=tight)
    assert first["feasible"]
    assert differs(bring(lying, first)) == ["tiny:latest"]
    second = planned(lie, on_host(lying), inventory=tight)
    assert not second["feasible"] and second["models"][0]["shortfall_bytes"] > 0 and lying.loaded() == []


def test_a_cache_that_lies_is_read_again_and_the_next_plan_is_right(lying, tmp_path):
    cache = {"cache_dir": str(tmp_path)}
    lie = offered(lying, **cache)
    lying.registry.faults.clear()
    assert offered(lying, **cache) == lie, "the lie outlives the liar"
    assert differs(bring(lying, planned(lie))) == ["tiny:latest"]
    true = offered(lying, refresh=True, **cache)
    assert true["headers"] == on_host(lying)["headers"]
    assert offered(lying, **cache) == true
    assert differs(bring(lying, planned(true))) == [] and lying.loaded() == ["tiny:latest-optimized"]


def test_the_next_run_does_not_believe_a_registry_that_goes_on_lying(lying):
    """What was compared with the file is in the applied plan, and the plan comes out as it was."""
    lie = offered(lying)
    bring(lying, planned(lie))
    applied = planned(lie, on_host(lying))
    store = "/models/instances/gpu0"
    held = {"same_file_system": True, "models": [{"name": "tiny:latest", "digest": TINY_DIGEST}], "problems": []}
    there = host(applied_plan=applied, instances=[entry("gpu0")], stores={store: held})
    assert headers_to_read([lie], [{"name": "tiny"}], there, "/models") == [{"name": "tiny", "store": store}]
    again = planned(lie, on_host(lying))
    assert again["instances"] == applied["instances"]
    honest = on_host(lying) | {"source": "registry"}
    assert headers_to_read([honest], [{"name": "tiny"}], there, "/models") == []


def test_a_moved_tag_is_planned_from_what_the_host_has(rig):
    rig.model()
    new = offered(rig) | {"digest": "sha256:" + "1" * 64, "block_count": 16}
    store = "/models/instances/gpu0"
    held = {"same_file_system": True, "models": [{"name": "tiny:latest", "digest": TINY_DIGEST}], "problems": []}
    there = host(instances=[entry("gpu0")], stores={store: held})
    assert headers_to_read([new], [{"name": "tiny"}], there, "/models") == [{"name": "tiny", "store": store}]
    plan = planned(new, on_host(rig))
    assert plan["instances"][0]["models"][0]["planned_digest"] == TINY_DIGEST
    assert "tiny on the host has the digest %s, and the registry now has" % TINY_DIGEST in plan["warnings"][-1]
    assert [model["action"] for model in bring(rig, plan)["models"]] == ["none", "create", "load"]
