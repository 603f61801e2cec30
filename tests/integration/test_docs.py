# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The documentation is valid and can be built as pages; the changelog fragments are valid."""

from __future__ import annotations

import shutil

import pytest

from tests.integration.support import CHECKOUT, copy_checkout, environment, module_names, run, tool


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
