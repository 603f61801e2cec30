# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The filters that the role decides and reports with."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.ollama.plugins.filter.environment_value import environment_value
from ansible_collections.gpufleet.ollama.plugins.filter.evidence_lines import evidence_lines
from ansible_collections.gpufleet.ollama.plugins.filter.host_problems import host_problems
from ansible_collections.gpufleet.ollama.plugins.filter.model_steps import model_steps
from ansible_collections.gpufleet.ollama.plugins.filter.plan_endpoints import plan_endpoints
from ansible_collections.gpufleet.ollama.plugins.filter.plan_lines import plan_lines
from ansible_collections.gpufleet.ollama.plugins.filter.settings_problems import settings_problems
from ansible_collections.gpufleet.ollama.plugins.filter.unplanned_models import unplanned_models
from ansible_collections.gpufleet.ollama.plugins.filter.with_headers import with_headers

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


def host(**more):
    return dict(
        {
            "existing": None,
            "adopted": {},
            "command": "absent",
            "zstd": True,
            "release": {"complete": {}},
            "listeners": [],
        },
        **more,
    )


# --- environment_value -------------------------------------------------------------------------------------------------------


def systemd_reads(text):
    """What systemd takes from a double-quoted value (src/basic/env-file.c: a backslash is dropped before the characters in SHELL_NEED_ESCAPE only)."""
    assert text[0] == text[-1] == '"'
    value, rest = "", text[1:-1]
    while rest:
        if rest[0] == "\\" and rest[1:2] in ('"', "\\", "`", "$"):
            value, rest = value + rest[1], rest[2:]
        else:
            assert rest[0] != '"', "the value ends too early"
            value, rest = value + rest[0], rest[1:]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        "100%",
        "%h",
        "a b",
        " lead and trail ",
        "$HOME ${X}",
        'say "hi"',
        "it's",
        "back\\slash",
        "\\",
        "\\n",
        "`id`",
        "tab\there",
        "#no comment",
        "a=b;c",
        "ü",
    ],
)
def test_a_value_arrives_unchanged(value):
    assert systemd_reads(environment_value(value)) == value


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash as a second reader")
@pytest.mark.parametrize("value", ["100%", "$HOME", 'say "hi"', "back\\slash", "`id`"])
def test_a_shell_reads_the_same(value):
    text = subprocess.run(
        ["bash", "-c", "printf %%s %s" % environment_value(value).replace("%", "%")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert text == value


@pytest.mark.parametrize("value", ["two\nlines", "\r", "\x00", "\x7f"])
def test_a_control_character_is_refused(value):
    with pytest.raises(AnsibleFilterError, match="control character"):
        environment_value(value)


# --- settings_problems -------------------------------------------------------------------------------------------------------


def problems(names=(), decided=("OLLAMA_HOST",), **settings):
    return settings_problems(
        {"ollama_multigpu_" + name: value for name, value in settings.items()}, list(names), list(decided)
    )


def test_good_settings_have_no_problem():
    assert (
        problems(
            ["ollama_multigpu_base_port"],
            base_port=65535,
            models_dir="/srv/models",
            version="0.32.15",
            release_url="https://example.com/v1",
            release_checksum="a" * 64,
            listen_address="::1",
            headroom_bytes=0,
            environment={"HTTPS_PROXY": "http://p"},
            models=[{"name": "a"}, {"name": "b"}],
        )
        == []
    )


def test_what_is_made_of_a_model_and_where_it_listens():
    whole = {"suffix": "-x", "parameters": {"temperature": 0.3}, "system": "s", "template": None}
    assert (
        problems(
            models=[
                {"name": "a", "optimized": whole},
                {"name": "b", "optimized": {}},
                {"name": "c", "optimized": None},
            ],
            listen_address="[::]",
        )
        == []
    )


def test_a_slip_of_the_pen_is_named_with_what_was_meant():
    assert problems(["ollama_multigpu_base_prot"], base_port=1) == [
        "ollama_multigpu_base_prot is not a variable of this role: did you mean ollama_multigpu_base_port?"
    ]


@pytest.mark.parametrize(
    "settings, word",
    [
        ({"base_port": 65536}, "65536"),
        ({"base_port": 0}, "between 1"),
        ({"base_port": "many"}, "many"),
        ({"models_dir": "models"}, "absolute"),
        ({"models_dir": "/srv/../etc"}, "without '..'"),
        ({"models_dir": "/a b"}, "/a b"),
        ({"version": "v0.32.15"}, "leading v"),
        ({"version": "latest"}, "latest"),
        ({"release_url": "ftp://x"}, "http"),
        ({"release_checksum": "abc"}, "SHA-256"),
        ({"listen_address": "localhost"}, "IP address"),
        ({"headroom_bytes": -1}, "-1"),
        ({"environment": {"A-B": "x"}}, "A-B"),
        ({"environment": {"OLLAMA_HOST": "x"}}, "the plan decides"),
        ({"environment": {"A": "x\ny"}}, "newline"),
        ({"environment": {"A": ["x"]}}, "plain value"),
        ({"models": []}, "at least one"),
        ({"models": [{"name": "a"}, {"name": "a"}]}, "more than once"),
        ({"listen_address": "[::"}, "IP address"),
        ({"listen_address": "fe80::1%eth0"}, "IP address"),
        ({"listen_address": "[127.0.0.1]"}, "IP address"),
        ({"environment": {"LD_PRELOAD": "/x.so"}}, "remove it"),
        ({"environment": {"LD_LIBRARY_PATH": "/cuda"}}, "LD_LIBRARY_PATH"),
        (
            {"models": [{"name": "a", "optimized": True}]},
            "optimized of a is true: give a mapping with suffix, parameters, system, template",
        ),
        ({"models": [{"name": "a", "optimized": "x"}]}, "'x'"),
        ({"models": [{"name": "a", "optimized": {"parameter": {}}}]}, "unknown key parameter"),
        ({"models": [{"name": "a", "optimized": {"parameters": "num_ctx 4"}}]}, "parameters is 'num_ctx 4'"),
        ({"models": [{"name": "a", "optimized": {"suffix": 1}}]}, "suffix is 1"),
    ],
)
def test_each_bad_value_gets_one_sentence(settings, word):
    found = problems(**settings)
    assert len(found) == 1 and word in found[0] and found[0].endswith(".")


# --- host_problems -----------------------------------------------------------------------------------------------------------

EXISTING = {
    "unit": "ollama.service",
    "path": "/etc/systemd/system/ollama.service",
    "active": True,
    "enabled": True,
    "store": "/old/models",
    "same_file_system": True,
    "environment": {},
    "drop_ins": [],
}


def test_an_empty_host_has_no_problem():
    assert host_problems(plan(model()), host()) == []


@pytest.mark.parametrize(
    "state, word",
    [
        ({"existing": EXISTING}, "ollama_multigpu_existing to adopt"),
        ({"command": "foreign"}, "/usr/local/bin/ollama"),
        ({"zstd": False}, "package zstd"),
        (
            {
                "listeners": [
                    {"address": "0.0.0.0", "port": 11434, "pid": 7, "process": "nginx", "unit": "nginx.service"}
                ]
            },
            "nginx (pid 7) of nginx.service",
        ),
        (
            {"listeners": [{"address": "127.0.0.1", "port": 11434, "pid": None, "process": None, "unit": None}]},
            "another process",
        ),
    ],
)
def test_each_obstacle_gets_one_sentence(state, word):
    found = host_problems(plan(model()), host(**state))
    assert len(found) == 1 and word in found[0]


@pytest.mark.parametrize(
    "state",
    [
        {
            "listeners": [
                {"address": "127.0.0.1", "port": 11434, "pid": 7, "process": "ollama", "unit": "ollama@gpu0-1.service"}
            ]
        },  # one of ours
        {
            "listeners": [
                {"address": "192.0.2.1", "port": 11434, "pid": 7, "process": "nginx", "unit": "nginx.service"}
            ]
        },  # another address
        {"zstd": False, "release": {"complete": {"0.32.15": "x"}}},
        {"existing": EXISTING, "adopted": {"unit": "ollama.service"}},
        {"command": "ours"},
    ],
)
def test_what_is_no_obstacle(state):
    assert host_problems(plan(model()), host(**state)) == []


def test_adopting_frees_the_port_and_needs_one_file_system():
    holder = [{"address": "127.0.0.1", "port": 11434, "pid": 7, "process": "ollama", "unit": "ollama.service"}]
    assert host_problems(plan(model()), host(existing=EXISTING, listeners=holder, command="foreign"), True) == []
    apart = dict(EXISTING, same_file_system=False)
    assert "ollama_multigpu_models_dir to /old/models" in host_problems(plan(model()), host(existing=apart), True)[0]


def test_brackets_are_no_part_of_an_address():
    wanted = plan(model())
    wanted["instances"][0]["address"] = "[::1]"
    assert host_problems(
        wanted, host(listeners=[{"address": "::1", "port": 11434, "pid": 7, "process": "nginx", "unit": None}])
    )


# --- the rest ----------------------------------------------------------------------------------------------------------------


def test_steps_come_in_an_order_that_works():
    both = plan(model(), model("tiny", "tiny:latest-optimized"))
    both["instances"] += plan(model(), name="gpu1", port=11435)["instances"]
    steps = model_steps(both, ["/models", "/models/instances/gpu1"])
    assert [(step["instance"], step["name"], step["from"], step["served"]) for step in steps] == [
        ("gpu0", "llama3.1:8b", "", True),
        ("gpu0", "tiny", "", False),
        ("gpu0", "tiny:latest-optimized", "tiny", True),
        ("gpu1", "llama3.1:8b", "", True),
    ]
    assert "/models/instances/gpu1" in steps[0]["link_from"] and "/models/instances/gpu0" not in steps[0]["link_from"]
    assert steps[0]["parameters"] == {} and steps[2]["parameters"] == {"num_ctx": 4096}


def test_a_model_that_is_to_lie_otherwise_is_moved():
    def placed(layers, ubatch=512, name="gpu0", **more):
        one = model("tiny", "tiny:latest-optimized", **more)
        one["predicted"] = dict(
            one["predicted"], ubatch=ubatch, devices=[dict(one["predicted"]["devices"][0], layers=layers)]
        )
        return plan(one, name=name)

    def moved(now, before):
        return [step["name"] for step in model_steps(now, applied=before) if step["moved"]]

    assert moved(placed(33), placed(33, keep_alive=5)) == []
    assert moved(placed(33), {}) == [] and moved(placed(33), placed(22, name="gpu1")) == []
    assert moved(placed(22), placed(33)) == ["tiny:latest-optimized"]
    assert moved(placed(33, ubatch=1024), placed(33)) == ["tiny:latest-optimized"]
    plain = plan(model())
    other = plan(model(predicted=dict(model()["predicted"], ubatch=1)))
    assert moved(plain, other) == ["llama3.1:8b"]


def test_a_plan_reads_as_text():
    text = "\n".join(plan_lines(plan(model(create_as="llama3.1:8b-optimized"))))
    assert "bytes predicted" in text
    measured = model()
    measured["predicted"]["basis"] = "measured"
    assert "bytes measured by the engine" in "\n".join(plan_lines(plan(measured)))
    for word in (
        "feasible",
        "GPU 0 0000:01:00.0",
        "24564 MiB",
        "llama3.1:8b-optimized: 33 of 33 layers",
        "weights 4000 MiB",
        "num_gpu=999: no fallback",
        "Warning: mind the gap",
    ):
        assert word in text


def test_evidence_reads_as_a_table_with_a_verdict():
    device = {
        "uuid": "GPU-a",
        "predicted_bytes": 100 * MIB,
        "engine_bytes": None,
        "observed_bytes": 90 * MIB,
        "utilization_peak": 40,
    }
    checks = [
        {"name": "layers", "passed": True, "expected": 1, "observed": 1},
        {"name": "busy", "passed": None, "expected": 1, "observed": None},
    ]
    evidence = {
        "verdict": "pass",
        "instances": [
            {"name": "gpu0", "models": [{"name": "m", "checks": checks, "layers_offloaded": 33, "devices": [device]}]}
        ],
        "diagnosis": [{"finding": "foreign_process", "evidence": "x.", "remedy": "y."}],
    }
    lines = evidence_lines(evidence, "a")
    assert lines[1].split() == ["a", "m", "gpu0", "GPU-a", "100", "MiB", "-", "90", "MiB", "40", "%", "33", "pass"]
    assert lines[-2:] == ["foreign_process: x. Remedy: y.", "Verdict: pass"]
    checks[0]["passed"] = False
    assert evidence_lines(evidence)[1].split()[-1] == "fail"


def test_endpoints_name_the_models_as_clients_do():
    assert plan_endpoints(plan(model(create_as="x:y-optimized")))["endpoints"][0]["models"] == ["x:y-optimized"]


def test_headers_are_joined_in_order():
    assert with_headers([{"name": "a"}, {"name": "b"}], [{"model": 1}, {"model": 2}]) == [
        {"name": "a", "model": 1},
        {"name": "b", "model": 2},
    ]


def offers(*names, instance="gpu0"):
    return {instance: {"models": [{"name": name} for name in names]}}


def test_what_the_plan_gives_an_instance_or_makes_from_it_is_planned():
    wanted = plan(model("tiny", create_as="tiny:latest-optimized"))
    assert unplanned_models(wanted, offers("tiny:latest", "tiny:latest-optimized")) == []


def test_names_are_compared_as_ollama_does():
    # Ollama's names ignore case; the default registry, namespace and tag may be left out.
    assert unplanned_models(plan(model("registry.ollama.ai/library/Tiny:latest")), offers("tiny:latest")) == []


def test_a_model_that_is_not_planned_is_named_with_its_place():
    wanted = plan(model("tiny", create_as="tiny:latest-optimized"))
    assert unplanned_models(wanted, offers("tiny:latest", "small:latest", "tiny:latest-old")) == [
        {"name": name, "instance": "gpu0", "url": "http://127.0.0.1:11434", "store": "/models/instances/gpu0"}
        for name in ("small:latest", "tiny:latest-old")
    ]


@pytest.mark.parametrize("servers", [{}, {"gpu0": {}}, {"gpu0": {"models": None}}, offers("small", instance="gpu7")])
def test_an_instance_that_does_not_answer_has_nothing_to_remove(servers):
    assert unplanned_models(plan(model()), servers) == []
