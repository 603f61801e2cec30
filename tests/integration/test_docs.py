# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The documentation is valid and can be built as pages; the changelog fragments are valid and make a changelog."""

from __future__ import annotations

import html
import re
import shutil

import pytest
import yaml

from tests.integration.support import CHECKOUT, copy_checkout, environment, galaxy, module_names, run, tool


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    place = tmp_path_factory.mktemp("docs") / "ansible_collections" / "gpufleet" / "ollama"
    copy_checkout(place, keep=lambda name: not name.startswith("tests/"))
    return place


def test_plugin_docs(tree):
    run(
        [
            tool("antsibull-docs"),
            "lint-collection-docs",
            "--plugin-docs",
            "--skip-rstcheck",
            "--disallow-unknown-collection-refs",
            ".",
        ],
        cwd=tree,
        env=environment(collections=tree.parents[2]),
    )


def test_pages_build(tree, tmp_path):
    """Builds the pages of all modules and of the role as a documentation site does, without warnings."""
    env = environment(collections=tree.parents[2])
    site = tmp_path / "site"
    site.mkdir(mode=0o700)
    run(
        [
            tool("antsibull-docs"),
            "sphinx-init",
            "--use-current",
            "--squash-hierarchy",
            "--sphinx-theme",
            "alabaster",
            "--dest-dir",
            site,
            "gpufleet.ollama",
        ],
        cwd=tree,
        env=env,
    )
    run(
        [
            tool("antsibull-docs"),
            "collection",
            "--use-current",
            "--squash-hierarchy",
            "--dest-dir",
            site / "rst",
            "gpufleet.ollama",
        ],
        cwd=tree,
        env=env,
    )
    # antsibull-docs copies no pictures.
    shutil.copytree(tree / "docs" / "docsite" / "rst" / "pictures", site / "rst" / "docsite" / "pictures")
    told = run([tool("sphinx-build"), "-q", "-b", "html", "-c", site, site / "rst", site / "html"], cwd=site, env=env)
    # Pages of modules refer to those of Ansible, which are not here; the guides refer to pages of this site only.
    assert [line for line in told.splitlines() if "/rst/docsite/" in line] == []
    for name in module_names():
        assert (site / "html" / ("%s_module.html" % name)).exists(), name
    assert (site / "html" / "ollama_multigpu_role.html").exists()
    for path in (tree / "docs" / "docsite" / "rst" / "pictures").iterdir():
        assert (site / "html" / "_images" / path.name).exists(), path.name


def test_changelog_fragments():
    run([tool("antsibull-changelog"), "lint"], cwd=CHECKOUT, env=environment())


def plain(markdown):
    """Markdown of antsibull-changelog as its fragments have it: without escapes, and code as in reStructuredText."""
    return html.unescape(re.sub(r"</?code>", "``", re.sub(r"\\(.)", r"\1", markdown)))


def test_a_release_makes_a_changelog_that_a_person_can_read(tree, tmp_path):
    """In a copy: the text of each fragment below its heading, and each module, filter and role with its description."""
    place = tmp_path / "ansible_collections" / "gpufleet" / "ollama"
    shutil.copytree(tree, place)
    run(["git", "init", "--quiet", "."], cwd=place)
    run(["git", "add", "--all", "."], cwd=place)
    fragments = [yaml.safe_load(path.read_text()) for path in sorted((place / "changelogs" / "fragments").iterdir())]
    config = yaml.safe_load((place / "changelogs" / "config.yaml").read_text())
    command = [tool("antsibull-changelog"), "release", "--version", galaxy()["version"], "--date", "2026-12-01"]
    run(command, cwd=place, env=environment())
    assert not list((place / "changelogs" / "fragments").iterdir()), "what is released is in changelog.yaml"
    parts = re.split(r"^#{3,} (.+)$", plain((place / config["output"][0]["file"]).read_text()), flags=re.MULTILINE)
    told = {title: " ".join(text.split()) for title, text in zip(parts[1::2], parts[2::2])}
    titles = {**dict(config["sections"]), config["prelude_section_name"]: config["prelude_section_title"]}
    missing = [
        (title, entry)
        for fragment in fragments
        for name, entries in fragment.items()
        for title, entry in [(titles.get(name), one) for one in ([entries] if isinstance(entries, str) else entries)]
        if name != config["trivial_section_name"] and " ".join(entry.split()) not in told.get(title, "")
    ]
    assert missing == []
    assert re.findall(r"\* gpufleet\.ollama\.(\w+) - [A-Z]", told["New Modules"]) == module_names()
    assert told["New Roles"].count("* gpufleet.ollama.") == len(list((CHECKOUT / "roles").iterdir()))
