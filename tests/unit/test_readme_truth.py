# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Sentences of README.md, and of pages that say the same, are what code, tests and metadata hold."""

from __future__ import annotations

import inspect
import pathlib
import re

import pytest
import yaml
from ansible_collections.gpufleet.ollama.plugins.module_utils.changes import obstacles
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases import archives, v0_30
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.v0_30_release import ReleaseSince030
from ansible_collections.gpufleet.ollama.plugins.module_utils.releases.versions import release_of

from tests import shown
from tests.integration.test_cores import CORES
from tests.integration.test_sanity import HOST_PYTHONS
from tests.rig.ollama import build_archive
from tests.setup import environment
from tests.unit.plugins.module_utils.changes.builders import WANTED, host, model, plan
from tests.unit.test_guides import VARIABLES

CHECKOUT = shown.CHECKOUT
ROLES = sorted((CHECKOUT / "roles").iterdir())
#: The Python of each distribution and its name, from its own release notes.
DISTRIBUTIONS = {
    "Debian 12": ("3.11", "Debian", "bookworm"),
    "Debian 13": ("3.13", "Debian", "trixie"),
    "Ubuntu 24.04": ("3.12", "Ubuntu", "noble"),
}
DISTRIBUTION = re.compile(r"\b(?:Debian|Ubuntu|Fedora|RHEL|EL|Rocky Linux) [\d.]*\d")


def text(page="README.md"):
    """A page in one line."""
    return " ".join(shown.pages()[page].read_text(encoding="utf-8").split())


def section(title):
    """The text of a section of the README, in one line."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^## %s\n(.*?)(?=^## |\Z)" % re.escape(title), readme, re.MULTILINE | re.DOTALL)
    return " ".join(found.split())


def minor(version):
    return version.rpartition(".")[0]


def order(version):
    return tuple(map(int, version.split(".")))


# -- with what it was tested -------------------------------------------------------------------------------------------


def test_the_versions_of_ansible_are_those_that_are_run():
    oldest, newest = re.search(r"ansible-core ([\d.]+) and ([\d.]+);", section("Tested with")).groups()
    assert (oldest, newest) == (minor(next(iter(CORES))), minor(list(CORES)[-1]))
    assert "ansible-core %s and %s run the playbooks" % (oldest, newest) in text("CONTRIBUTING.md")
    runtime = yaml.safe_load((CHECKOUT / "meta" / "runtime.yml").read_text())
    assert runtime["requires_ansible"] == ">=%s.0" % oldest


def test_the_versions_of_python_are_those_of_the_tests():
    told = re.search(r"Python ([\d.]+) to ([\d.]+) on the controller and ([\d.]+) to ([\d.]+) on hosts", text())
    first, last, oldest, newest = told.groups()
    assert [oldest, newest] == [HOST_PYTHONS[0], HOST_PYTHONS[-1]]
    controllers = [one for one in HOST_PYTHONS if one in environment.CONTROLLERS]
    assert [first, last] == [controllers[0], controllers[-1]], "those that the sanity tests have as well"
    assert {first, last} <= {version for versions in CORES.values() for version in versions}


def test_the_release_of_ollama_is_that_of_the_double():
    (told,) = re.findall(r"a double of Ollama ([\d.]+) that", section("Tested with"))
    assert told == inspect.signature(build_archive.build).parameters["version"].default
    assert list((CHECKOUT / "tests" / "fixtures" / "recordings").glob("ollama-%s-*" % told))


def test_the_oldest_release_is_the_one_that_the_role_accepts():
    told = re.findall(r"Ollama ([\d.]+) and later", section("Tested with"))
    assert told == [archives.OLDEST_ALLOWED]
    assert "installs ``%s`` and later" % archives.OLDEST_ALLOWED in text("releases")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_the_metadata_of_a_role_have_the_distributions_that_are_tested(role):
    tested = DISTRIBUTION.findall(section("Tested with"))
    platforms = yaml.safe_load((role / "meta" / "main.yml").read_text())["galaxy_info"]["platforms"]
    listed = [(one["name"], version) for one in platforms for version in one["versions"]]
    assert listed == [DISTRIBUTIONS[name][1:] for name in tested]


def test_the_distributions_have_a_python_that_the_tests_can_use():
    told = DISTRIBUTION.findall(section("Try it without a GPU"))
    assert told == list(DISTRIBUTIONS) == DISTRIBUTION.findall(text("CONTRIBUTING.md"))
    assert told == DISTRIBUTION.findall(text("contributing"))
    assert {DISTRIBUTIONS[name][0] for name in told} <= set(environment.CONTROLLERS)
    assert set(DISTRIBUTION.findall(text())) == set(told)


# -- what a host needs -------------------------------------------------------------------------------------------------


def test_a_host_is_refused_without_what_it_needs():
    told = re.search(r"Hosts need ([^.]*?), Python ([\d.]+) or later, (\w+) and (\w+)\.", text())
    needed, python, sudo, zstd = told.groups()
    assert needed == "systemd, an NVIDIA driver" and "The host needs %s" % told.group().partition("need ")[2] in text(
        "quickstart"
    )
    assert ["systemd" in one for one in obstacles.host_obstacles(host(systemd=False), WANTED, "a")] == [True]
    assert ["package %s" % zstd in one for one in obstacles.plan_obstacles(plan(model()), host(zstd=False))] == [True]
    assert (
        python == HOST_PYTHONS[0]
        and 'target-version = "py%s"' % python.replace(".", "") in (CHECKOUT / "ruff.toml").read_text()
    )
    methods = set(re.findall(r"become_method: *(\S+)", _texts("roles/*/tasks")))
    assert sudo == "sudo" and not methods, "Ansible's own"


def _texts(pattern):
    return "\n".join(path.read_text() for top in CHECKOUT.glob(pattern) for path in top.rglob("*.yml"))


# -- what Ollama does --------------------------------------------------------------------------------------------------


def test_how_ollama_chooses_gpus_is_the_rule_that_is_compared_with_recordings():
    told = re.search(r"Since ([\d.]+), a model goes to one GPU if .* at most (\d+) % of the free memory", text())
    version, percent = told.groups()
    assert isinstance(release_of(version + ".0"), ReleaseSince030)
    assert not isinstance(release_of("0.%d.0" % (order(version)[1] - 1)), ReleaseSince030)
    free, usable = 24 * 1024**3, 24 * 1024**3 * int(percent) // 100
    gpus = [{"uuid": name, "free_bytes": free} for name in "ab"]
    chosen = [v0_30.choose_gpus(gpus, size, {}, {})[0] for size in (usable, usable + 1)]
    assert chosen == [[0], [0, 1]]


# -- playbooks, variables and the callback -----------------------------------------------------------------------------


def test_the_table_has_each_playbook_and_no_other():
    rows = re.findall(r"\| `gpufleet\.ollama\.(\w+)` \|", section("Playbooks"))
    assert sorted(rows) == sorted(path.stem for path in (CHECKOUT / "playbooks").glob("*.yml"))
    named = set(re.findall(r"\bgpufleet\.ollama\.(\w+)", text()))
    assert named == set(rows) | {"fleet"}, "of the callback is the name fleet"


def test_the_playbooks_run_on_the_hosts_that_the_readme_names():
    groups = {}
    for path in (CHECKOUT / "playbooks").glob("*.yml"):
        for play in yaml.safe_load(path.read_text()):
            found = re.findall(r"\{\{ (\w+) \| default\('(\w+)'\) \}\}", str(play.get("hosts")))
            groups.update({path.stem: pair for pair in found})
    of_gateways = [stem for stem, pair in groups.items() if pair == ("ollama_gateway_hosts", "ollama_gateways")]
    assert sorted(of_gateways) == ["gateway", "gateway_remove"]
    told = section("Playbooks")
    assert "on `ollama_gateway_hosts`, by default the group `ollama_gateways`" in told
    assert "All but those of the gateway run on `ollama_multigpu_hosts`, by default all hosts." in told
    others = {path.stem for path in (CHECKOUT / "playbooks").glob("*.yml")} - set(of_gateways)
    assert {stem: groups.get(stem) for stem in others} == dict.fromkeys(others, ("ollama_multigpu_hosts", "all"))


def test_the_variables_exist():
    named = set(re.findall(r"\bollama_(?:multigpu|gateway)_[a-z_]+", text()))
    assert named <= VARIABLES | {"ollama_gateway_hosts"}


def test_the_callback_is_the_one_of_the_demo():
    assert "`stdout_callback = gpufleet.ollama.fleet` below `[defaults]`" in section("On your hosts")
    assert shown.block("terminal", "ini") == "[defaults]\nstdout_callback = gpufleet.ollama.fleet\n"
    assert "\n# stdout_callback = gpufleet.ollama.fleet\n" in (CHECKOUT / "ansible.cfg").read_text()
    assert 'ANSIBLE_STDOUT_CALLBACK="gpufleet.ollama.fleet"' in (CHECKOUT / "tests" / "demo" / "run").read_text()
    assert (CHECKOUT / "plugins" / "callback" / "fleet.py").is_file()


def test_the_quick_start_has_five_lines():
    """test_archive.py runs the first three; the last two are the runs of the other guides."""
    (block,) = [one for one in shown.blocks("README.md") if "make build" in one.text]
    assert len(block.text.splitlines()) == len(shown.command_lines(block)) == 5


def test_the_page_for_contributors_names_the_parts_of_the_rules():
    rules = pathlib.Path(shown.pages()["CONTRIBUTING.md"]).read_text(encoding="utf-8")
    parts = re.findall(r"^## (.+)$", rules, re.MULTILINE)
    page = shown.pages()["contributing"].read_text(encoding="utf-8")
    assert re.findall(r"^\* \*(.+)\*: ", page, re.MULTILINE) == parts
    assert "has three parts" in page and len(parts) == 3
    assert set(shown.commands("contributing")) <= set(shown.commands("CONTRIBUTING.md"))
