# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What changes_info answers from as much as is known, what the role's tasks take, and archives of releases."""

from __future__ import annotations

from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.module_result import answer
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

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
        {"names": [], "host": None, "plan": None, "servers": {}, "applied_plan": {}, "libraries": {}}, **options
    )
    return answer(dict(values, settings=dict(SETTINGS, **(settings or {}))), "a", check_mode)


def test_the_variables_alone():
    assert asked() == {"changed": False, "obstacles": [], "msg": ""}
    found = asked(names=["ollama_multigpu_modles_dir"], settings={"ollama_multigpu_version": "v1"})
    assert len(found["obstacles"]) == 2 and found["msg"] == " ".join(found["obstacles"])


def test_names_alone():
    """Playbooks that use few of the variables do not refuse what they do not use."""
    wrong = {"ollama_multigpu_version": "v1", "ollama_multigpu_models": []}
    names = [*wrong, "ollama_multigpu_models_chat", "ollama_multigpu_endpoints"]
    assert asked(names=names, names_only=True, settings=wrong)["obstacles"] == []
    (said,) = asked(names=[*names, "ollama_multigpu_modles_dir"], names_only=True, settings=wrong)["obstacles"]
    assert said.startswith("ollama_multigpu_modles_dir is not a variable of this role: did you mean")


def test_lists_of_models_are_variables_and_must_not_contradict_each_other():
    chat = "ollama_multigpu_models_chat"
    lists = {"ollama_multigpu_models": [{"name": "a", "parallel": 2}], chat: [{"name": "a", "parallel": 4}]}
    assert asked(names=[chat, "ollama_multigpu_models"], settings={"ollama_multigpu_models": [{"name": "a"}]}) == {
        "changed": False,
        "obstacles": [],
        "msg": "",
    }
    (said,) = asked(names=[chat], model_lists=lists)["obstacles"]
    assert said.startswith("ollama_multigpu_models and ollama_multigpu_models_chat say otherwise of a: parallel is 2")
    way_back = asked(names=[chat], model_lists=lists, rollback_to="previous")
    assert way_back["obstacles"] == [], "a kept plan has its own models"


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
        "stores": ("/models/fetch", "/models/instances/gpu0", "/old/models"),
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


def test_a_further_device_is_allowed_by_the_unit_which_starts_the_instances_anew():
    now = plan(model())
    options = {"host": applied_host(now, applied_plan=now), "plan": now, "servers": serving(now)}
    found = asked(settings={"ollama_multigpu_devices": ["/dev/dri"]}, **options)
    assert [(one["kind"], one["what"]) for one in found["changes"]][:1] == [("write", paths.TEMPLATE_UNIT_FILE)]
    assert "restart" in [one["kind"] for one in found["changes"]]
    assert "DeviceAllow=char-drm rw\n" in str(found["work"]["switches"]).replace("\\n", "\n")


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


HIDDEN = {"HTTPS_PROXY": "(hidden)", "B_KEY": "(hidden)", "C_KEY": "(hidden)", "OLLAMA_ORIGINS": "https://a"}
SECRET = {"HTTPS_PROXY": "http://a:MARK@proxy", "B_KEY": "MARK", "C_KEY": "MARK\n"}


def test_the_secrets_of_an_adopted_ollama_are_in_no_result():
    settings = {"ollama_multigpu_existing": "adopt"}
    for environment in (HIDDEN, dict(HIDDEN, **SECRET)):
        state = host(existing=dict(EXISTING, environment=environment))
        asking = {"settings": settings, "secrets": SECRET}
        found = asked(host=state, **asking)
        # A value that no file can carry is dropped, as one that is not hidden.
        kept = {name: value for name, value in HIDDEN.items() if name != "C_KEY"}
        assert found["plan_input"]["environment"] == kept and "MARK" not in str(found)
        wanted = plan(model())
        wanted["instances"][0]["environment"].update(kept)
        found = asked(host=state, plan=wanted, **asking)
        assert found["adoption_record"]["environment"] == HIDDEN
        assert found["work"]["switches"][0]["files"] and "MARK" not in str(found)
        assert "C_KEY is not carried over" in str(found["summary"])


def test_a_change_of_a_secret_alone_writes_its_file_and_restarts_its_instance():
    wanted = plan(model())
    wanted["instances"][0]["environment"].update({"A_TOKEN": "(hidden)", "B_TOKEN": "(hidden)", "C_TOKEN": "(hidden)"})
    given = {
        "ollama_multigpu_environment": {"A_TOKEN": "MARK", "C_TOKEN": None},
        "ollama_multigpu_environment_unchecked": {"B_TOKEN": True},
    }
    values = {"A_TOKEN": "MARK", "B_TOKEN": "1", "C_TOKEN": "MARK"}
    options = {"plan": wanted, "secrets": {"A_TOKEN": "x", "C_TOKEN": "MARK"}, "servers": serving(wanted)}
    given["ollama_multigpu_environment"].pop("C_TOKEN")
    state = applied_host(wanted, values=values)
    assert asked(host=state, settings=given, **options)["changes"] == []
    given["ollama_multigpu_environment"] = {"A_TOKEN": "MARK2"}
    found = asked(host=state, settings=given, **options)
    assert "MARK" not in str(found)
    path = "/etc/ollama-multigpu/instances/gpu0.env"
    assert [(change["kind"], change["what"]) for change in found["changes"]] == [
        ("write", path),
        ("restart", "ollama@gpu0.service"),
        ("load", "llama3.1:8b"),
        ("write", "/etc/ollama-multigpu/plans/2"),
    ]
    assert found["changes"][1]["reason"] == "the environment file %s is written." % path
    # Its mode alone is no reason.
    state["files"][path]["mode"] = "0600"
    given["ollama_multigpu_environment"] = {"A_TOKEN": "MARK"}
    (switch,) = asked(host=state, settings=given, **options)["work"]["switches"]
    assert switch["restart"] == [] and [file["path"] for file in switch["files"]] == [path]


def test_the_release_is_told_without_credentials():
    url = "https://user:MARK@mirror.example.com/v0.32.15"
    settings = {"ollama_multigpu_release_url": url, "ollama_multigpu_release_checksum": url + "/sha256sum.txt"}
    found = asked(host=host(), settings=settings)
    assert found["release"]["url"] == "https://***@mirror.example.com/v0.32.15/ollama-linux-amd64.tar.zst"
    assert found["release"]["checksum"] == "https://***@mirror.example.com/v0.32.15/sha256sum.txt"
    assert "MARK" not in str(found)
    complete = {"current": "0.32.15", "complete": {"0.32.15": found["release"]["checksum"]}, "leftovers": []}
    wanted = plan(model())
    state = applied_host(wanted, release=complete)
    assert asked(host=state, plan=wanted, settings=settings, servers=serving(wanted))["work"]["fetch_release"] is False


def test_a_way_back_is_answered_step_by_step():
    """First which plan it leads to, then what stands in the way, then what changes."""
    old, new = plan(model(parameters={"num_ctx": 2048})), plan(model())
    state = applied_host(new)
    kept_old = applied_host(old)["history"]["plans"][0]
    state["history"]["plans"] = [kept_old, dict(state["history"]["plans"][0], number=2, order=2)]
    given = {"ollama_multigpu_models": [], "ollama_multigpu_acknowledged": []}
    names = ["ollama_multigpu_models"]
    # A kept plan has its own models.
    assert asked(settings=given, names=names)["obstacles"]
    assert asked(settings=given, names=names, rollback_to="previous")["obstacles"] == []

    first = asked(settings=given, names=names, rollback_to="previous", host=state)
    assert first["rollback"] == {"number": 1, "rolled_back_from": 2, "note": ""} and first["obstacles"] == []
    refused = asked(settings=given, rollback_to=7, host=state)
    assert refused["rollback"]["number"] is None and refused["msg"].startswith("a keeps no plan 7")

    read = {"kept_plan": old, "gpu_inventory": {"gpus": []}}
    gone = asked(settings=given, rollback_to=1, host=state, **read)
    assert "uses GPU-a, which the driver does not list" in gone["msg"]
    read["gpu_inventory"] = {"gpus": [{"uuid": "GPU-a"}]}
    second = asked(settings=given, rollback_to=1, host=state, **read)
    assert second["obstacles"] == [] and second["rollback"]["settings"]["ollama_multigpu_version"] == "0.32.15"

    values = dict(given, **second["rollback"]["settings"])
    third = asked(settings=values, rollback_to=1, host=state, plan=old, servers=serving(old))
    assert third["obstacles"] == [] and third["work"]["history"] == {"number": 1, "rolled_back_from": 2}
    # The same plan that is no rollback gives none up, and models that the host has stay.
    assert asked(settings=values, host=state, plan=old)["work"]["history"] == {"number": 1, "rolled_back_from": None}


def test_an_address_that_nobody_knows_is_an_obstacle_where_it_is_to_be_told():
    wanted = plan(model())
    wanted["instances"][0]["address"] = "0.0.0.0"
    for told, known, words in (
        ("", None, []),
        ("x.json", "192.0.2.7", []),
        ("x.json", None, ["set ollama_multigpu_adv"]),
    ):
        settings = {"ollama_multigpu_endpoints_file": told}
        found = asked(host=host(default_address=known), plan=wanted, settings=settings)["obstacles"]
        assert len(found) == len(words) and all(word in found[0] for word in words)
