# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Each code block of README, guides and READMEs is run by a test, or compared with what the code prints; variables and
inventories are checked here, as the roles check them.
"""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.model_lists import is_list_name, merged_models
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes.role_variables import settings_problems

from tests import shown

ROLES = shown.CHECKOUT / "roles"
OPTIONS = {
    role: yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    for role in ("ollama_multigpu", "ollama_gateway")
}
CONNECTION = {"ansible_user"}

BLOCKS = [block for page in shown.pages() for block in shown.blocks(page)]
ASKED = shown.asked_for()
RUN = {call[0] for name in ("play_shown", "run_shown", "shown.command") for call in ASKED[name] if call}
RUN |= {line for call in ASKED["shown.commands"] if call for line in shown.commands(call[0])}
TAKEN = {(*call, 0)[:3] for call in ASKED["shown.block"] if call}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_test_runs_or_compares_what_is_shown(block):
    if block.language in shown.COMMANDS:
        assert [line for line in shown.command_lines(block) if line not in RUN] == []
    elif (block.page, block.language, block.number) not in TAKEN:
        content = yaml.safe_load(block.text) if block.language.startswith("yaml") else None
        assert isinstance(content, dict), "no test takes it:\n" + block.text
        found = list(inventory_hosts(content)) or [content]
        assert [problem for variables in found for problem in problems_of(variables)] == []


def inventory_hosts(content):
    """The variables of each host of an inventory in YAML, with those of its groups."""
    for group in content.values():
        if isinstance(group, dict) and "hosts" in group:
            assert set(group) <= {"hosts", "vars", "children"}
            for variables in group["hosts"].values():
                yield {**group.get("vars", {}), **(variables or {})}


def problems_of(variables):
    """What the roles would refuse of variables of a host, and the names that neither of them has."""
    gateway = {name: value for name, value in variables.items() if name in OPTIONS["ollama_gateway"]}
    fleet = {name: value for name, value in variables.items() if name.startswith("ollama_multigpu_")}
    unknown = set(variables) - set(gateway) - set(fleet) - CONNECTION
    spec = {name: {**option, "required": False} for name, option in OPTIONS["ollama_gateway"].items()}
    lists = {name: fleet.pop(name) for name in list(fleet) if is_list_name(name)}
    settings = dict.fromkeys(OPTIONS["ollama_multigpu"], None)
    models = merged_models(fleet.get("ollama_multigpu_models", []), lists)
    settings.update(fleet, ollama_multigpu_models=models or [{"name": "tiny"}])
    found = ["%s is unknown" % name for name in sorted(unknown)]
    found += ArgumentSpecValidator(spec).validate(gateway).error_messages
    return found + settings_problems({name: settings[name] for name in OPTIONS["ollama_multigpu"]}, sorted(fleet))


def make(*arguments):
    """Output of make in the checkout."""
    done = subprocess.run(["make", *arguments], cwd=shown.CHECKOUT, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode("utf-8")


def test_make_help_lists_the_targets():
    told = make(*shown.command("make help").split()[1:])
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (shown.CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert re.findall(r"^  make (\S+)", told, re.MULTILINE) == targets.split()


def test_other_targets_run_the_tests_that_their_comments_name():
    """They cannot be run inside of a test: they are what runs it."""
    for line, wanted in (
        (shown.command("make test"), ["tests"]),
        (shown.command("make test-full"), ["tests"]),
        (shown.command("make units"), ["tests/unit", "tests/oracle"]),
        (shown.command("make lint"), ["tests/integration/test_%s.py" % name for name in ("lint", "importer", "docs")]),
    ):
        told = make("--dry-run", *line.split()[1:])
        paths = [word for word in told.split() if word.startswith("tests") and "setup" not in word]
        assert paths == wanted and all((shown.CHECKOUT / path).exists() for path in paths), told
        assert ("GPUFLEET_FULL=1" in told) == line.endswith("full")


@pytest.mark.parametrize(
    "text, words",
    [
        ("ollama_multigpu_modells: []", "not a variable of this role"),
        ("ollama_multigpu_models: [{name: tiny, strategi: split}]", "strategi"),
        ("ollama_multigpu_models_own: [{name: tiny, optimised: {}}]", "optimised"),
        ("ollama_multigpu_listen_address: 0.0.0.0", "listen_address"),
        ("ollama_gateway_keys: [{name: anna, prio: 1}]", "prio"),
        ("any: {}", "unknown"),
    ],
)
def test_what_a_role_refuses_is_noticed(text, words):
    assert words in " ".join(problems_of(yaml.safe_load(text)))


def test_no_test_asks_for_what_is_not_shown():
    assert RUN <= set(shown.all_commands())
    assert TAKEN <= {(block.page, block.language, block.number) for block in BLOCKS}


def test_what_a_test_only_mentions_is_not_run(tmp_path, monkeypatch):
    """A line counts where it is handed to a function that runs it, and not in a comment or another text."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(
        '"""Not play_shown("first")."""\nnames = ["second"]  # play_shown("third")\n'
        'site.play_shown("fourth", expect=0)\nsite.command("fifth")\nshown({"plan": "sixth"})\n'
    )
    monkeypatch.setattr(shown, "CHECKOUT", tmp_path)
    assert [calls for calls in shown.asked_for().values() if calls] == [{("fourth",)}]


def test_the_blocks_of_a_page_are_found(tmp_path, monkeypatch):
    (tmp_path / "one.rst").write_text(
        "Text\n\n.. code-block:: shell\n\n   one \\\n       two  # said\n   # nothing\n\n   three\n\nText\n"
        "\n.. code-block:: yaml\n\n   a:\n\n     b: 1\n"
    )
    (tmp_path / "README.md").write_text("# A\n\n```console\n$ four\n```\n\nText\n\n    five\n\nText\n")
    monkeypatch.setattr(shown, "pages", lambda: {name: tmp_path / name for name in ("one.rst", "README.md")})
    shown.blocks.cache_clear()
    try:
        assert shown.all_commands() == {"one two": ["one.rst"], "three": ["one.rst"], "four": ["README.md"]}
        one, readme = shown.pages()
        assert shown.block(one, "yaml") == "a:\n\n  b: 1\n"
        assert shown.block(readme, "indented") == "five\n"
    finally:
        shown.blocks.cache_clear()
