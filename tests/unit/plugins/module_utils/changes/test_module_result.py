# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What changes_info answers from as much as is known, what the role's tasks take, and archives of releases."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.module_result import answer

from tests.unit.plugins.module_utils.changes.builders import EXISTING, applied_host, entry, host, model, plan, serving

OPTIMIZED = "llama3.1:8b-optimized"
SETTINGS = {
    "ollama_multigpu_version": "0.32.15",
    "ollama_multigpu_release_url": "https://mirror.example.com/v0.32.15/",
    "ollama_multigpu_release_checksum": "sha256:" + "a" * 64,
    "ollama_multigpu_models_dir": "/models",
    "ollama_multigpu_existing": "refuse",
    "ollama_multigpu_listen_address": "127.0.0.1",
}


def asked(check_mode=False, settings=None, **options):
    values = dict(
        {"names": [], "host": None, "plan": None, "servers": {}, "applied_plan": {}, "reread": [], "libraries": {}},
        **options,
    )
    return answer(dict(values, settings=dict(SETTINGS, **(settings or {}))), "a", check_mode)


def test_the_variables_alone():
    assert asked() == {"changed": False, "obstacles": [], "msg": ""}
    found = asked(names=["ollama_multigpu_modles_dir"], settings={"ollama_multigpu_version": "v1"})
    assert len(found["obstacles"]) == 2 and found["msg"] == " ".join(found["obstacles"])


def test_a_host_without_a_plan():
    found = asked(host=host(instances=[entry("gpu0")], existing=EXISTING))
    assert found["obstacles"] == []
    assert found["release"] == {
        "version": "0.32.15",
        "directory": "/usr/local/lib/ollama-multigpu/releases/0.32.15",
        "archive": "ollama-linux-amd64.tar.zst",
        "url": "https://mirror.example.com/v0.32.15/ollama-linux-amd64.tar.zst",
        "checksum": "a" * 64,
    }
    assert found["plan_input"] == {
        "environment": {},
        "own_units": ("ollama@gpu0.service",),
        "stores": ("/models/instances/gpu0", "/old/models"),
    }


def test_an_adopted_variable_that_opens_the_service_is_planned_with_where_it_is_acknowledged():
    state = host(existing=dict(EXISTING, environment={"OLLAMA_ORIGINS": "*"}))
    adopt = {"ollama_multigpu_existing": "adopt"}
    assert asked(host=state, settings=adopt)["plan_input"]["environment"] == {}
    adopt["ollama_multigpu_acknowledged"] = ["OLLAMA_ORIGINS"]
    assert asked(host=state, settings=adopt)["plan_input"]["environment"] == {"OLLAMA_ORIGINS": "*"}


def test_the_plan_before_is_the_one_on_the_host_or_the_one_given():
    def layers(count):
        return plan(model(predicted={"ubatch": 512, "devices": [{"uuid": "GPU-a", "layers": count}]}))

    now, before = layers(2), layers(1)
    state = applied_host(now, applied_plan=now)
    options = {"host": state, "plan": now, "servers": serving(now)}
    assert asked(**options)["changes"] == []
    assert [change["kind"] for change in asked(applied_plan=before, **options)["changes"]] == ["unload", "load"]


def test_a_value_that_no_file_can_carry_is_an_obstacle():
    wanted = plan(model())
    wanted["instances"][0]["environment"]["A"] = "x\ny"
    assert "control character" in asked(host=host(), plan=wanted)["msg"]
    assert_nothing_to_do(asked(host=host(), plan=wanted))


def assert_nothing_to_do(found):
    """The role's tasks find all keys, and do nothing."""
    assert found["changes"] == [] and found["summary"] == ["Obstacle: " + found["msg"]]
    assert set(found["work"]) == set(asked(host=host(), plan=plan(model()))["work"]) and not any(found["work"].values())


def test_a_value_that_is_no_text_is_an_obstacle():
    wanted = plan(model())
    wanted["instances"][0]["environment"]["A"] = "x\udcff"
    found = asked(host=host(), plan=wanted)
    assert "not valid UTF-8" in found["msg"]
    assert_nothing_to_do(found)


def test_the_environment_of_an_adopted_ollama_is_not_in_a_result_with_obstacles():
    existing = dict(EXISTING, environment={"HTTPS_PROXY": "http://a:secret@proxy"})
    settings = {"ollama_multigpu_existing": "adopt"}
    assert "secret" in str(asked(host=host(existing=existing), settings=settings))
    found = asked(host=host(existing=existing, systemd=False), settings=settings)
    assert found["obstacles"] and "secret" not in str(found)
