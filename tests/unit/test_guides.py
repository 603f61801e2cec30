# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Commands, variables and units that the guides show exist."""

from __future__ import annotations

import pathlib
import re
import shlex
import textwrap

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.model_lists import is_list_name
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import main as program

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
ROLE = CHECKOUT / "roles" / "ollama_multigpu"
PLACE = CHECKOUT / "docs" / "docsite"
GUIDES = sorted((PLACE / "rst").glob("*.rst"))
#: Options of ansible-playbook that stand alone.
_ALONE = ("--check", "--diff")


def _load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


GATEWAY = _load(CHECKOUT / "roles" / "ollama_gateway" / "meta" / "argument_specs.yml")["argument_specs"]["main"][
    "options"
]
#: The role sets it for other plays.
RESULTS = {"ollama_multigpu_endpoints"}
VARIABLES = RESULTS | set(_load(ROLE / "vars" / "main.yml")["__ollama_multigpu_inputs"]) | set(GATEWAY)
MODEL = _load(ROLE / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]["ollama_multigpu_models"]


def _blocks(path, language):
    """The code blocks of a guide in one language."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"^\.\. code-block:: %s\n\n((?:[ ]+.*\n|\n)+)" % language, text, re.M)
    return [textwrap.dedent(block) for block in found]


def _commands(path):
    """The command lines of a guide, each as a list of words."""
    for block in _blocks(path, "shell"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip():
                yield shlex.split(line)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_variables_exist(path):
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"\bollama_multigpu_[a-z_]+", text))
    assert {name for name in named if not is_list_name(name)} <= VARIABLES | {"ollama_multigpu_models_"}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_commands_exist(path):
    for words in _commands(path):
        given = words[1:] if words[0] == "sudo" else words
        checks = {
            "ansible-playbook": _check_playbook,
            "ollama-multigpu": _check_program,
            "systemctl": _check_units,
            "journalctl": _check_units,
        }
        checks[given[0]](given[1:])


def _check_playbook(words):
    left = list(words)
    for option in ("-i", "-e", "--limit", "--tags"):
        while option in left:
            place = left.index(option)
            if option == "-e":
                assert left[place + 1].partition("=")[0] in VARIABLES, words
            del left[place : place + 2]
    (playbook,) = [word for word in left if word not in _ALONE]
    assert (CHECKOUT / "playbooks" / (playbook[len("gpufleet.ollama.") :] + ".yml")).is_file(), words


def _check_program(words):
    program._parser().parse_args(words)


def _check_units(words):
    units = {value for name, value in vars(paths).items() if name.endswith("_UNIT") or name.endswith("_TIMER")}
    for unit in [word for word in words if word.endswith((".service", ".timer"))]:
        assert re.sub("@[^.]*", "@", unit) in units, unit


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_variables_of_the_examples_can_be_given(path):
    for block in _blocks(path, "yaml"):
        content = yaml.safe_load(block)
        if path.stem == "gitops" and not _is_of_the_role(content):
            for words in _scripts(content):
                _check_playbook(words)
            continue
        assert {name for name in content if not is_list_name(name)} <= VARIABLES
        for name in content:
            for model in content[name] if name == "ollama_multigpu_models" or is_list_name(name) else []:
                assert set(model) <= set(MODEL["options"])


def _is_of_the_role(content):
    return isinstance(content, dict) and all(str(name).startswith("ollama_") for name in content)


def _scripts(content):
    """The runs of ansible-playbook in an example of a pipeline."""
    if isinstance(content, str):
        return [shlex.split(content)[1:]] if content.startswith("ansible-playbook ") else []
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else []
    return [words for value in values for words in _scripts(value)]


def test_the_exit_codes_are_those_of_the_program():
    text = (PLACE / "rst" / "program.rst").read_text(encoding="utf-8")
    told = re.findall(r"^   \* - (\d+)\n     - (.*)$", text, re.M)
    codes = re.findall(r"^  (\d+) ", program._EXIT_CODES, re.M)
    assert [code for code, _meaning in told] == codes


def test_the_pages_of_the_site_are_the_guides():
    (section,) = _load(PLACE / "extra-docs.yml")["sections"]
    assert sorted(section["toctree"]) == [path.stem for path in GUIDES]
