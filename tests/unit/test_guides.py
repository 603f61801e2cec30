# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Variables, playbooks, commands and options of others that the guides name exist."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.model_lists import is_list_name
from ansible_collections.gpufleet.ollama.plugins.module_utils.program import main as program
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.report import plan_summary

from tests import shown

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
ROLE = CHECKOUT / "roles" / "ollama_multigpu"
PLACE = CHECKOUT / "docs" / "docsite"
GUIDES = sorted((PLACE / "rst").glob("*.rst"))


def _load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


GATEWAY = _load(CHECKOUT / "roles" / "ollama_gateway" / "meta" / "argument_specs.yml")["argument_specs"]["main"][
    "options"
]
#: The role sets it for other plays.
RESULTS = {"ollama_multigpu_endpoints"}
VARIABLES = RESULTS | set(_load(ROLE / "vars" / "main.yml")["__ollama_multigpu_inputs"]) | set(GATEWAY)
MODEL = _load(ROLE / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]["ollama_multigpu_models"]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_variables_exist(path):
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"\bollama_multigpu_[a-z_]+", text))
    assert {name for name in named if not is_list_name(name)} <= VARIABLES | {"ollama_multigpu_models_"}


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_what_the_text_names_exists(path):
    """Playbooks, and commands of the program. Those of the code blocks are run (test_shown.py)."""
    text = path.read_text(encoding="utf-8")
    for words in re.findall(r"``(?:sudo )?ollama-multigpu ([^`]+)``", text):
        program._parser().parse_args(shlex.split(words))
    playbooks = {found.stem for found in (CHECKOUT / "playbooks").glob("*.yml")}
    named = set(re.findall(r"``gpufleet\.ollama\.(\w+)``", text)) - {"fleet"}
    assert named <= playbooks, "of the callback is only the name fleet"


def test_the_exit_codes_are_those_of_the_program():
    text = (PLACE / "rst" / "program.rst").read_text(encoding="utf-8")
    told = re.findall(r"^   \* - (\d+)\n     - (.*)$", text, re.M)
    codes = re.findall(r"^  (\d+) ", program._EXIT_CODES, re.M)
    assert [code for code, _meaning in told] == codes


def test_the_pages_of_the_site_are_the_guides():
    (section,) = _load(PLACE / "extra-docs.yml")["sections"]
    assert sorted(section["toctree"]) == [path.stem for path in GUIDES]


def test_the_job_template_of_awx_has_options_of_its_module():
    """Their names, types and choices were recorded from the source of awx.awx.job_template."""
    recorded = _load(CHECKOUT / "tests" / "fixtures" / "pipelines" / "awx-job-template.json")
    (task,) = yaml.safe_load(shown.block("gitops", "yaml", 6))
    checked = ArgumentSpecValidator(recorded["options"]).validate(task["awx.awx.job_template"])
    assert checked.error_messages == [] and len(recorded["options"]) == 57


def test_the_summary_of_plans_is_as_long_as_the_guide_says():
    """GitHub takes comments of 65536 characters."""
    text = " ".join((PLACE / "rst" / "gitops.rst").read_text(encoding="utf-8").split())
    assert "It has at most %d characters, because GitHub allows 65536" % plan_summary.LONGEST in text
