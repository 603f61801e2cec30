# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The public filters: a plan and evidence as text, and the endpoints of a plan."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.filter.evidence_lines import evidence_lines
from ansible_collections.gpufleet.ollama.plugins.filter.plan_endpoints import plan_endpoints
from ansible_collections.gpufleet.ollama.plugins.filter.plan_lines import plan_lines
from ansible_collections.gpufleet.ollama.plugins.filter.with_credentials import FilterModule as WithCredentials
from ansible_collections.gpufleet.ollama.plugins.filter.with_secrets import FilterModule as WithSecrets
from ansible_collections.gpufleet.ollama.plugins.filter.without_credentials import FilterModule as WithoutCredentials

MIB = 1024**2


def model(name="llama3.1:8b", create_as=None, **more):
    device = {
        "uuid": "GPU-a",
        "layers": 33,
        "weight_bytes": 4000 * MIB,
        "kv_bytes": 500 * MIB,
        "compute_bytes": 100 * MIB,
        "projector_bytes": 0,
        "overhead_bytes": 300 * MIB,
        "total_bytes": 4900 * MIB,
        "room_bytes": 24000 * MIB,
    }
    return dict(
        {
            "name": name,
            "create_as": create_as,
            "from": name,
            "digest": None,
            "insecure": False,
            "parameters": {"num_ctx": 4096},
            "system": None,
            "template": None,
            "keep_alive": -1,
            "context_length": 4096,
            "kv_cache_type": "f16",
            "predicted": {"gpu_layers": 33, "total_layers": 33, "host_bytes": 0, "ubatch": 512, "devices": [device]},
        },
        **more,
    )


def plan(*models, name="gpu0", port=11434):
    instance = {
        "name": name,
        "unit": "ollama@%s.service" % name,
        "address": "127.0.0.1",
        "port": port,
        "url": "http://127.0.0.1:%d" % port,
        "store": "/models/instances/" + name,
        "gpu_uuids": ["GPU-a"],
        "environment": {},
        "models": list(models),
    }
    return {
        "ollama_version": "0.32.15",
        "feasible": True,
        "models_dir": "/models",
        "warnings": ["mind the gap"],
        "instances": [instance],
        "gpus": [
            {
                "uuid": "GPU-a",
                "index": 0,
                "number": 0,
                "pci_bus_id": "0000:01:00.0",
                "name": "RTX",
                "total_bytes": 24564 * MIB,
                "available_bytes": 24000 * MIB,
                "foreign_bytes": 0,
            }
        ],
        "models": [
            {
                "name": "llama3.1:8b",
                "strategy": "single",
                "reason": "It fits.",
                "shortfall_bytes": None,
                "remedies": [],
                "default_behaviour": {
                    "outcome": "single",
                    "gpu_uuids": ["GPU-a"],
                    "layers": [33],
                    "context_length": 4096,
                    "settings": [{"name": "num_gpu", "value": 999, "effect": "no fallback to the CPU"}],
                },
            }
        ],
    }


def test_gpus_that_the_user_leaves_alone_are_told_with_their_reason():
    out = {"uuid": "GPU-b", "number": 1, "pci_bus_id": "0000:02:00.0", "name": "RTX", "reason": "it is cordoned (fan)"}
    told = dict(
        plan(model()),
        left_out=[dict(out, cause="cordon"), dict(out, uuid="GPU-c", number=2, cause="fault")],
        without_effect=["The cordon of GPU-z has no effect.", "mind the gap"],
    )
    lines = plan_lines(told)
    assert "  GPU 1 RTX is left alone: it is cordoned (fan)" in lines
    assert not any("GPU 2" in line for line in lines)
    assert [line for line in lines if "Note" in line] == ["  Note: The cordon of GPU-z has no effect."]


def test_a_plan_reads_as_text():
    text = "\n".join(plan_lines(plan(model(create_as="llama3.1:8b-optimized"))))
    assert "4.8 GiB predicted" in " ".join(text.split()) and "weights 4000 MiB" not in text
    measured = model()
    measured["predicted"]["basis"] = "measured"
    assert "4.8 GiB measured by the engine" in " ".join("\n".join(plan_lines(plan(measured))).split())
    for word in ("feasible", "GPU 0", "llama3.1:8b-optimized at http", "33 layers", "Warning: mind the gap"):
        assert word in text
    text = "\n".join(plan_lines(plan(model(create_as="llama3.1:8b-optimized")), host="a", width=120, details=True))
    for word in ("on a: feasible", "0000:01:00.0 GPU-a", "weights 4000 MiB", "num_gpu=999: no fallback"):
        assert word in text


def evidence_device(uuid, layers):
    return {
        "uuid": uuid,
        "layers": layers,
        "predicted_bytes": 100 * MIB,
        "engine_bytes": None,
        "observed_bytes": 90 * MIB,
        "context_bytes": 20 * MIB,
        "projector_bytes": 0,
        "least_bytes": 70 * MIB,
        "most_bytes": 130 * MIB,
        "utilization_peak": 40,
    }


def evidence(*devices, layers=(49, 49), **more):
    """What placement_check returns of one model."""
    one = {
        "name": "m",
        "verdict": "pass",
        "checks": [],
        "layers_offloaded": layers[0],
        "layers_total": layers[1],
        "devices": list(devices),
        "notes": [],
    }
    checks = [{"name": "only_engines", "passed": True}]
    return {
        "verdict": "pass",
        "instances": [{"name": "gpu0", "checks": checks, "models": [dict(one, **more)]}],
        "diagnosis": [],
    }


def test_evidence_reads_as_a_table_with_a_verdict():
    found = evidence(evidence_device("GPU-a", 25), evidence_device("GPU-b", 24), notes=["It was loaded again."])
    found["diagnosis"] = [{"finding": "foreign_process", "evidence": "x", "remedy": "y."}]
    lines = evidence_lines(found, "a")
    assert lines[0] == "Evidence on a. Verdict: pass"
    assert lines[1].split() == "MiB layers predicted engine observed allowed busy".split()
    assert lines[2].split() == "m on gpu0: pass".split()
    assert lines[3].split() == "GPU-a 25/49 100 - 90 70 to 130 40 %".split()
    assert lines[4].split()[:2] == ["GPU-b", "24/49"]
    assert lines[5:] == ["  It was loaded again.", "  foreign_process: x. Remedy: y."]


def test_a_model_on_the_cpu_has_no_layer_on_a_gpu():
    assert evidence_lines(evidence(layers=(0, 9)))[3].split() == "CPU 0/9 - - - - -".split()


def test_a_model_is_not_shown_as_passed_where_its_instance_fails():
    found = evidence(evidence_device("GPU-a", 9), verdict="unproven")
    assert evidence_lines(found)[2].split()[-1] == "unproven"
    found["instances"][0]["checks"][0]["passed"] = False
    assert evidence_lines(found)[2].split()[-1] == "fail"


def test_endpoints_name_the_models_as_clients_do():
    assert plan_endpoints(plan(model(create_as="x:y-optimized")))["endpoints"][0]["models"] == ["x:y-optimized"]


def test_secrets_are_put_into_environment_files():
    path = "/etc/ollama-multigpu/instances/gpu0.env"
    (filled,) = WithSecrets().filters()["with_secrets"](
        [{"path": path, "content": 'A_KEY="(hidden)"\n'}], {"A_KEY": "x"}
    )
    assert filled["path"] == path and filled["content"].splitlines()[1:] == ['A_KEY="x"']


def test_credentials_are_taken_out_of_a_text_and_put_into_an_address():
    shown = WithoutCredentials().filters()["without_credentials"]("no answer from https://u:p@h/x")
    assert shown == "no answer from https://***@h/x"
    filled = WithCredentials().filters()["with_credentials"]("https://***@h/x/y", "https://u:p@h/x")
    assert filled == "https://u:p@h/x/y"
