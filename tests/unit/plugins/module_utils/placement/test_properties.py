# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What holds for every host and every set of models, on every release."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import subprocess
import sys

import hypothesis
import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.placement.tell import remedies
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import hosts, models
from tests.unit.plugins.module_utils.placement import strategies
from tests.unit.plugins.module_utils.placement.builders import GIB, MIB, held, outline, plan, settings_of, wanted
from tests.unit.plugins.module_utils.placement.strategies import GPU, GPUS, LINKS, MODELS, VERSIONS, entries


@pytest.fixture(autouse=True, scope="module")
def _without_remedies():
    """What would help is tested elsewhere, and takes most of the time where a model does not fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remedies, "remedies", lambda case: [])
        yield


# GPUFLEET_EXAMPLES=2000 for a long run of new examples; 30 take about a second a property.
EXAMPLES = int(os.environ.get("GPUFLEET_EXAMPLES", "30"))
# Not shrunk: what fails is printed as it was drawn, in seconds instead of minutes.
PHASES = [phase for phase in hypothesis.Phase if phase not in (hypothesis.Phase.shrink, hypothesis.Phase.explain)]
QUICK = hypothesis.settings(max_examples=EXAMPLES, phases=PHASES)
CHANGES = st.lists(st.integers(-200 * MIB, 200 * MIB), min_size=8, max_size=8)


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS)
def test_a_plan_never_puts_more_on_a_gpu_than_it_has(gpus, links, listed, version):
    inventory = strategies.host(gpus, links)
    result = plan(inventory, *entries(listed, gpus), ollama_version=version)
    asked = {}
    for instance in result["instances"]:
        for model in instance["models"]:
            for device in model["predicted"]["devices"]:
                parts = [
                    value
                    for key, value in device.items()
                    if key.endswith("_bytes") and key not in ("total_bytes", "room_bytes")
                ]
                assert device["total_bytes"] == sum(parts) and min(parts) >= 0
                if model["expected"]["outcome"] != "partial":
                    asked[device["uuid"]] = max(asked.get(device["uuid"], 0), model["predicted"]["headroom_bytes"])
    for uuid, size in held(result).items():
        assert size + asked.get(uuid, 0) <= strategies.devices(inventory)[uuid]["free_bytes"]
    served = [
        gpu for instance in result["instances"] for gpu in instance["gpu_uuids"] if strategies.exclusive(inventory, gpu)
    ]
    assert len(served) == len(set(served)) and all(
        len(instance["models"]) == 1 for instance in result["instances"] if set(served) & set(instance["gpu_uuids"])
    )


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS)
def test_every_layer_is_placed_exactly_once(gpus, links, listed, version):
    result = plan(strategies.host(gpus, links), *entries(listed, gpus), ollama_version=version)
    facts = {entry["name"]: entry["model"] for entry in entries(listed, gpus)}
    weights = {
        name: [layer["weight_bytes"] for layer in model["layers"]] + [model["output_bytes"]]
        for name, model in facts.items()
    }
    for instance in result["instances"]:
        assert len(set(instance["gpu_uuids"])) == len(instance["gpu_uuids"])
        assert len(instance["gpu_uuids"]) == 1 or not any(uuid.startswith("MIG") for uuid in instance["gpu_uuids"])
        for model in instance["models"]:
            predicted, sizes = model["predicted"], weights[model["name"]]
            devices = predicted["devices"]
            assert [device["uuid"] for device in devices] == instance["gpu_uuids"]
            assert (
                sum(device["layers"] for device in devices)
                == predicted["gpu_layers"]
                <= predicted["total_layers"]
                == len(sizes)
            )
            on_gpus = sum(device["weight_bytes"] for device in devices)
            assert on_gpus == sum(sizes[len(sizes) - predicted["gpu_layers"] :]) and on_gpus + predicted[
                "host_bytes"
            ] >= sum(sizes)
            if model["expected"]["outcome"] in ("single", "split"):
                assert predicted["gpu_layers"] == len(sizes) and all(device["layers"] for device in devices)
            split = instance["environment"].get("LLAMA_ARG_TENSOR_SPLIT")
            assert split in (None, ",".join(str(device["layers"]) for device in devices))
    if result["feasible"]:
        served = {model["name"] for instance in result["instances"] for model in instance["models"]}
        assert served == {"model%d" % number for number in range(len(listed))}
    else:
        assert result["instances"] == []


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS, st.lists(st.integers(0, 4000 * MIB), min_size=8, max_size=8))
def test_more_memory_never_makes_a_feasible_plan_infeasible(gpus, links, listed, version, more):
    inventory = strategies.host(gpus, links)
    before = False
    for part in (0, 0.05, 0.2, 0.5, 1):
        richer = strategies.with_more_free(inventory, [int(size * part) for size in more])
        now = plan(richer, *entries(listed, gpus), ollama_version=version)["feasible"]
        assert now or not before, "with %d %% of what is more" % (100 * part)
        before = now


@pytest.mark.parametrize("version", ["0.32.15", "0.24.0", "0.11.4"])
@pytest.mark.parametrize(
    "settings", [{}, {"context_length": 40000, "kv_cache_type": "f16"}, {"strategy": "split"}, {"strategy": "single"}]
)
def test_from_the_first_memory_that_does_more_does_too(version, settings):
    """Across the whole range, with what changes on the way: GPUs by the model, the batch, the way it is divided."""

    def feasible(free):
        inventory = hosts.inventory((24564, free), (24564, max(0, free - 3000)))
        return plan(
            inventory,
            wanted("qwen3-14b", **settings),
            wanted("llama3.1-8b", context_length=32768),
            ollama_version=version,
        )["feasible"]

    found = [feasible(free) for free in range(6000, 24500, 500)]
    assert True in found and False in found and found == sorted(found)


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS, GPU)
def test_another_gpu_never_makes_a_feasible_plan_infeasible(gpus, links, listed, version, another):
    listed = [
        dict(settings, strategy="auto" if settings["strategy"] == "spread" else settings["strategy"])
        for settings in listed
    ]
    if plan(strategies.host(gpus, links), *entries(listed, gpus), ollama_version=version)["feasible"]:
        assert plan(strategies.host(gpus + [another], links), *entries(listed, gpus), ollama_version=version)[
            "feasible"
        ]


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS, st.permutations(range(4)))
def test_permuting_the_gpus_permutes_the_plan(gpus, links, listed, version, order):
    inventory = strategies.host(gpus, links)
    turned = [dict(link, uuids=list(reversed(link["uuids"]))) for link in reversed(inventory["topology"])]
    shuffled = dict(inventory, gpus=[inventory["gpus"][place] for place in order if place < len(gpus)], topology=turned)
    assert plan(shuffled, *entries(listed, gpus), ollama_version=version) == plan(
        inventory, *entries(listed, gpus), ollama_version=version
    )


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS, st.permutations(range(4)))
def test_the_order_of_the_models_changes_nothing(gpus, links, listed, version, order):
    listed_ = entries(listed, gpus)
    turned = [listed_[place] for place in order if place < len(listed_)]
    inventory = strategies.host(gpus, links)
    one, other = plan(inventory, *listed_, ollama_version=version), plan(inventory, *turned, ollama_version=version)
    assert one["instances"] == other["instances"] and one["feasible"] == other["feasible"]


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS)
def test_the_same_facts_give_the_same_plan_and_are_left_alone(gpus, links, listed, version):
    inventory, listed_ = strategies.host(gpus, links), entries(listed, gpus)
    facts = copy.deepcopy((inventory, listed_))
    first = plan(inventory, *listed_, ollama_version=version)
    assert (inventory, listed_) == facts
    assert first == plan(inventory, *listed_, ollama_version=version) and json.loads(json.dumps(first)) == first
    applied = copy.deepcopy(first)
    again = plan(inventory, *listed_, ollama_version=version, applied_plan=applied)
    assert applied == first and again == plan(inventory, *listed_, ollama_version=version, applied_plan=applied)


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS, st.sets(st.integers(0, 3)), st.sampled_from(["index", "uuid", "pci_bus_id"]))
def test_a_gpu_that_is_left_alone_is_never_used(gpus, links, listed, version, alone, key):
    """However it is named, and whatever ran there. The plan is that of a host which lists the GPU as not selected."""
    inventory, listed_ = strategies.host(gpus, links), entries(listed, gpus)
    facts = [gpu for gpu in inventory["gpus"] if gpu["index"] in alone]
    applied = plan(inventory, *listed_, ollama_version=version)
    options = {"ollama_version": version, "applied_plan": applied}
    cordoned = plan(inventory, *listed_, cordon=[{"gpu": gpu[key], "reason": "x"} for gpu in facts], **options)
    excluded = plan(inventory, *listed_, exclude=[gpu[key] for gpu in facts], **options)
    others = [gpu["index"] for gpu in inventory["gpus"] if gpu["index"] not in alone]
    selected = plan(inventory, *listed_, selectors=others, **options)
    uuids = [one["uuid"] for gpu in facts for one in [gpu, *gpu["mig"]["devices"]]]
    for result in (cordoned, excluded):
        assert not {uuid for instance in result["instances"] for uuid in instance["gpu_uuids"]} & set(uuids)
        assert not {gpu["uuid"] for gpu in result["gpus"]} & set(uuids)
        assert {out["uuid"] for out in result["left_out"] if out["cause"] != "fault"} <= set(uuids)
        if others:
            assert result["instances"] == selected["instances"] and result["gpus"] == selected["gpus"]


def test_the_same_facts_give_the_same_plan_in_every_process():
    """Also where sets and dictionaries come in another order."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tests.conftest\n"
        "from tests.oracle import hosts\n"
        "from tests.unit.plugins.module_utils.placement.builders import plan, sized\n"
        "host = hosts.inventory(*[hosts.RTX4090] * 4)\n"
        "uuids = [gpu['uuid'] for gpu in host['gpus']]\n"
        "pairs = [[a, b] for a in uuids for b in uuids if a < b]\n"
        "host['topology'] = [{'uuids': pair, 'path': 'SYS', 'nvlinks': None} for pair in pairs]\n"
        "contexts = [4096, 'auto', 4096, 'auto', 4096]\n"
        "entries = [sized('m%d' % n, 3 + 4 * n, context_length=tokens) for n, tokens in enumerate(contexts)]\n"
        "print(plan(host, *entries, environment={'B': 1, 'A': 2, 'CUDA_CACHE_MAXSIZE': '1'}))\n"
    )
    command = [sys.executable, "-c", program, str(pathlib.Path(__file__).resolve().parents[5])]
    said = {
        subprocess.run(command, env=dict(os.environ, PYTHONHASHSEED=seed), stdout=subprocess.PIPE, check=True).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


#: A model that is partly on the CPU, and would be split if it counted on a part of its headroom.
PARTLY = {
    "blocks": 6,
    "replicas": None,
    "ubatch": None,
    "strategy": "auto",
    "kv_cache_type": None,
    "allow_cpu_offload": True,
    "headroom_bytes": 3 * GIB,
}
#: With one GPU and slices beside it: there is nothing to spread over.
SPREAD = {"strategy": "spread", "replicas": None, "ubatch": None, "headroom_bytes": GIB, "allow_cpu_offload": False}


@QUICK
@given(GPUS, LINKS, MODELS, VERSIONS)
@hypothesis.example(
    [(24564, 136, 110, "unusable"), (24564, 1284, 0, ""), (49140, 358, 0, "mig")],
    [],
    [
        dict(SPREAD, kv_cache_type="q8_0", parallel=4, blocks=6, share=0.1, context_length=2048),
        dict(SPREAD, kv_cache_type="f16", parallel=1, blocks=11, share=0.02, context_length="auto"),
        dict(SPREAD, kv_cache_type=None, parallel=4, blocks=11, share=0.5734413864617298, context_length=2048),
    ],
    "0.32.15",
)
@hypothesis.example(
    [(8192, 172, 0, "unusable"), (12288, 0, 316, ""), (8192, 211, 615, "node1"), (24564, 0, 1536, "")],
    [(0, 0, "nvlink"), (3, 2, "SYS")],
    [
        dict(PARTLY, parallel=2, share=1.559706772274655, context_length=2048),
        dict(PARTLY, parallel=4, share=0.5801933856360135, context_length=100000),
        dict(
            PARTLY,
            parallel=4,
            share=0.75,
            context_length=2048,
            strategy="spread",
            kv_cache_type="q8_0",
            allow_cpu_offload=False,
            headroom_bytes=300 * MIB,
            replicas=2,
        ),
        dict(
            PARTLY,
            parallel=1,
            share=0.10444174085146715,
            context_length=32768,
            kv_cache_type="q8_0",
            allow_cpu_offload=False,
            headroom_bytes=GIB,
            ubatch=256,
            replicas=2,
        ),
    ],
    "0.32.15",
)
def test_the_plan_is_the_same_once_it_is_running(gpus, links, listed, version):
    inventory, listed_ = strategies.host(gpus, links), entries(listed, gpus)
    before = plan(inventory, *listed_, ollama_version=version)
    if before["feasible"]:
        after = plan(strategies.running(inventory, before), *listed_, ollama_version=version, applied_plan=before)
        assert settings_of(after) == settings_of(before) and outline(after) == outline(before)


@QUICK
@given(GPUS, LINKS, MODELS, st.sampled_from(["0.30.0", "0.32.15"]), CHANGES)
def test_a_small_change_of_the_free_memory_does_not_flip_a_running_host(gpus, links, listed, version, changes):
    """Up to 200 MiB more or less on every GPU, where models that are wholly on GPUs keep the usual headroom or more.
    Not of earlier releases: where their own estimate leaves nothing over, a MiB less makes them leave layers out."""
    listed = [
        dict(settings, headroom_bytes=max(GIB, settings["headroom_bytes"]), allow_cpu_offload=False)
        for settings in listed
    ]
    inventory, listed_ = strategies.host(gpus, links), entries(listed, gpus)
    before = plan(inventory, *listed_, ollama_version=version)
    if before["feasible"]:
        after = plan(
            strategies.with_more_free(strategies.running(inventory, before), changes),
            *listed_,
            ollama_version=version,
            applied_plan=before,
        )
        assert settings_of(after) == settings_of(before) and outline(after) == outline(before)


@hypothesis.settings(QUICK, max_examples=EXAMPLES // 3)
@given(
    st.sampled_from(models.names()),
    st.lists(st.integers(4, 131072), min_size=2, max_size=2),
    st.sampled_from([1, 1, 2, 4]),
    st.sampled_from([512, 1024]),
    st.sampled_from(["single", "split"]),
    st.sampled_from([None, "q8_0", "q4_0", "f16"]),
    st.sampled_from([None, None, False]),
)
def test_predicted_bytes_never_decrease_with_the_context(name, between, parallel, ubatch, strategy, cache_type, flash):
    """Through the whole plan, for the same GPUs and batch, which Ollama lowers where a longer context leaves less room.

    Compute buffers alone may decrease: the engine's allocator takes the gap that fits best.
    """
    huge = hosts.inventory(*[(8 * 1024 * 1024, 8 * 1024 * 1024)] * (2 if strategy == "split" else 1))
    cache_type = cache_type if flash is None or cache_type == "f16" else None

    def sizes(tokens):
        entry = wanted(
            name,
            context_length=tokens,
            parallel=parallel,
            ubatch=ubatch,
            strategy=strategy,
            kv_cache_type=cache_type,
            flash_attention=flash,
        )
        predicted = plan(huge, entry)["instances"][0]["models"][0]["predicted"]
        return [[device[key] for key in ("kv_bytes", "total_bytes")] for device in predicted["devices"]]

    # From short to long, so that a rule that sets in anywhere on the way is met.
    found = [sizes(tokens) for tokens in sorted(between + [300, 4096, 30000, 50000, 70000, 131072])]
    for shorter, longer in zip(found, found[1:]):
        for less, greater in zip(shorter, longer):
            assert all(one <= other for one, other in zip(less, greater))
