# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""No option of a module that can hold an environment, or an address, is shown in a result or in the host's log.

The options are read from the modules themselves, so that none can be forgotten.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import pathlib

import pytest
from ansible.module_utils import basic
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.secrets import take_options
from ansible_collections.gpufleet.ollama.plugins.modules import host_info, placement_info

from tests.integration.support import module_names
from tests.unit.plugins.modules.run_module import patch_module_args, run_module

MODULES = pathlib.Path(__file__).resolve().parents[4] / "plugins" / "modules"
NAMES = module_names()

#: Options that take any dictionary and are logged: what they hold is no environment.
HARMLESS = {
    ("benchmark_file", "benchmark"): "names and figures",
    ("benchmark_file", "untouched"): "names and figures",
    ("changes_info", "servers"): "server_info has hidden the values of secret variables",
    ("changes_info", "libraries"): "digests",
    ("changes_info", "gpu_inventory"): "facts of the GPUs",
    ("changes_info", "rollback_to"): "number of a kept plan",
    ("endpoints_file", "endpoints"): "names, addresses and sizes",
    ("evidence_file", "evidence"): "placement_check returns no environment",
    ("libraries", "copies"): "versions and digests",
    ("model", "parameters"): "parameters of a Modelfile",
    ("instance_models", "models.parameters"): "parameters of a Modelfile",
    ("instance_switch", "models.parameters"): "parameters of a Modelfile",
    ("plan_file", "gpu_inventory"): "facts of the GPUs",
    ("plan_history", "instances"): "placement_check returns no environment",
    ("plan_history", "seconds_without_answer"): "seconds",
    ("placement_info", "adapters"): "headers of adapters",
    ("placement_info", "cordon.gpu"): "index, UUID or PCI address of a GPU",
    ("placement_info", "cordon.until"): "date",
    ("placement_info", "gpu_inventory"): "facts of the GPUs",
    ("placement_info", "headers"): "headers of models",
    ("placement_info", "models.model"): "header of a model",
    ("placement_info", "models.parameters"): "parameters of a Modelfile",
    ("placement_info", "models.optimized.parameters"): "parameters of a Modelfile",
}


class Captured(Exception):
    """Ends a module's main() where it has named its options."""


def arguments_of(name, monkeypatch):
    """The arguments that a module gives to AnsibleModule."""
    module = importlib.import_module("ansible_collections.gpufleet.ollama.plugins.modules." + name)
    found = {}

    def capture(**arguments):
        found.update(arguments)
        raise Captured

    with monkeypatch.context() as patched:
        for name in ("AnsibleModule", "PlanModule"):
            patched.setattr(module, name, capture, raising=False)
        with pytest.raises(Captured):
            module.main()
    return found


def open_dictionaries(spec, prefix=""):
    """Names of the options that take any dictionary, or lists of them, and are logged."""
    found = []
    for name, option in spec.items():
        kinds = (option.get("type"), option.get("elements"))
        if option.get("no_log"):
            continue
        if option.get("options"):
            found += open_dictionaries(option["options"], prefix + name + ".")
        elif "dict" in kinds or kinds[0] == "raw" and name not in ("mode", "keep_alive", "context_length"):
            found.append(prefix + name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_an_option_that_takes_any_dictionary_is_not_logged(name, monkeypatch):
    unknown = [
        option
        for option in open_dictionaries(arguments_of(name, monkeypatch)["argument_spec"])
        if (name, option) not in HARMLESS
    ]
    assert not unknown, "can hold an environment: set no_log, or say in HARMLESS why it cannot"


def marked(option):
    """A value for an option, with a mark wherever it can have one."""
    if option.get("choices"):
        return [option["choices"][0]] if option["type"] == "list" else option["choices"][0]
    if option.get("options"):
        entry = {name: marked(one) for name, one in option["options"].items()}
        return [entry] if option["type"] == "list" else entry
    environment = {"A_TOKEN": "MARK", "HTTPS_PROXY": "http://user:MARK@proxy", "OLLAMA_X": "MARK", "THE": "an"}
    dictionary = dict(environment, environment=environment, instances=[{"environment": environment}])
    values = {"bool": True, "int": 1, "float": 1.0, "path": "/x", "raw": "0600", "str": "http://user:MARK@host/x"}
    # A dictionary that is logged is none of environments, as the test before makes sure.
    values["dict"] = dictionary if option.get("no_log") else {"key": "http://user:MARK@host/x"}
    value = values[option.get("elements") or option.get("type", "str")]
    return [value] if option.get("type") == "list" else value


@pytest.mark.parametrize("name", NAMES)
def test_no_option_is_shown_with_secrets(name, monkeypatch):
    spec = arguments_of(name, monkeypatch)["argument_spec"]
    logged, output = [], io.StringIO()
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda self, msg, log_args=None: logged.append((msg, log_args)))
    given = {option: marked(one) for option, one in spec.items()}
    with (
        patch_module_args(dict(given, _ansible_inject_invocation=True)),
        contextlib.redirect_stdout(output),
        pytest.raises(SystemExit),
    ):
        module = basic.AnsibleModule(argument_spec=spec)
        options = take_options(module)
        module.exit_json(words="the an is")
    result = json.loads(output.getvalue())
    assert set(result["invocation"]["module_args"]) == set(spec) and "MARK" not in str(result["invocation"])
    # What is not logged would be masked in the results, which then are no data any more.
    assert result["words"] == "the an is"
    for option, one in spec.items():
        if one.get("no_log") and option != "files":
            assert "MARK" in str(options[option]) and options[option] != module.params[option]
    # In a free text of a dictionary, Ansible itself logs what is there; the role gives none with credentials.
    assert logged and "A_TOKEN" not in str(logged)


def test_addresses_with_a_signature_are_not_logged(monkeypatch):
    """Ansible itself blanks a password in an address that it logs, and nothing else."""
    logged = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda self, msg, log_args=None: logged.append((msg, log_args)))
    given = {
        "version": "x",
        "url": "https://mirror.example/x?sig=MARK",
        "checksum": "https://mirror.example/s?sig=MARK",
    }
    found = run_module("release_files", given)
    assert found["failed"] and logged and "MARK" not in str(logged) + str(found)


#: What action plugins do without a host; their modules take no options there.
ON_CONTROLLER = ("benchmark_file", "endpoints_file", "evidence_file", "plan_file", "report", "show")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ON_CONTROLLER])
def test_a_module_takes_its_options_through_the_rule(name):
    tree = ast.parse((MODULES / (name + ".py")).read_text(encoding="utf-8"))
    calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    attributes = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert calls.count("take_options") == 1 and "params" not in attributes and "no_log_values" not in attributes


def test_host_info_returns_no_secrets_unless_it_is_asked_for_them(monkeypatch):
    environment = {"A_TOKEN": "MARK", "OLLAMA_DEBUG": "1"}
    state = {
        "applied_plan": {"instances": [{"environment": environment}]},
        "adopted": {},
        "existing": {"environment": environment, "store": ""},
        "instances": [],
        "left_behind": None,
    }
    monkeypatch.setattr(host_info, "host_state", lambda models_dir, address, **more: dict(state))
    found = run_module("host_info", {})
    assert "MARK" not in str(found) and found["host"]["secret_variables"] == ["A_TOKEN"]
    found = run_module("host_info", {"secrets": True})
    assert found.pop("secrets") == {"A_TOKEN": "MARK"} and "MARK" not in str(found)


def test_placement_info_returns_no_secrets(monkeypatch):
    environment = {"A_TOKEN": "MARK", "OLLAMA_DEBUG": "1"}
    plan = {"instances": [{"environment": environment}]}
    monkeypatch.setattr(placement_info, "make_plan", lambda request: plan)
    found = run_module("placement_info", {"gpu_inventory": {}, "models": [], "ollama_version": "0.32.15"})
    assert found["placement"] == {"instances": [{"environment": {"A_TOKEN": "(hidden)", "OLLAMA_DEBUG": "1"}}]}
