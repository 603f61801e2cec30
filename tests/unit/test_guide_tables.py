# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the guides show of plans and releases is what the code says today, and they name each file on a host."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths

from tests.unit import guide_tables, metrics_files
from tests.unit.readme_picture import picture

GUIDES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "docsite" / "rst"


@pytest.mark.parametrize(
    "guide, text",
    [
        ("quickstart", guide_tables.two_gpus),
        ("several", guide_tables.several_models),
        ("terminal", guide_tables.progress),
        ("releases", guide_tables.known_releases),
        ("releases", guide_tables.settings_by_release),
        ("releases", guide_tables.engines),
        ("metrics", metrics_files.table),
        ("metrics", metrics_files.alert_table),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_guide_shows_what_the_code_says(guide, text):
    expected = text()
    assert "\n\n%s\n" % expected in (GUIDES / (guide + ".rst")).read_text(encoding="utf-8"), "\n" + expected


def test_the_picture_of_the_readme_is_what_the_report_draws():
    drawn = picture()
    assert (GUIDES.parents[1] / "report.svg").read_text(encoding="utf-8") == drawn, "\n" + drawn


def test_the_guide_names_what_is_on_a_host():
    """Each unit of paths.py, and each path or a directory above it that is not one of the three for everything."""
    text = (GUIDES / "hosts.rst").read_text(encoding="utf-8")
    roots = {paths.CONFIGURATION, paths.INSTALLATION, paths.STATE_DIRECTORY}
    elsewhere = {paths.HOME, paths.UPSTREAM_HOME, paths.EXISTING_UNIT, paths.UNIT_DIRECTORY, paths.FACTS_DIRECTORY}
    elsewhere |= {paths.NFT, paths.FIREWALLD_UNIT}  # of the distribution
    missing = []
    for name, value in vars(paths).items():
        if not name.isupper() or not isinstance(value, str) or value in elsewhere:
            continue
        if value.startswith("/") and not name.endswith(("_UNIT_FILE", "_TIMER_FILE")):
            above = {str(path) for path in pathlib.PurePosixPath(value).parents} - roots
            if not any("``%s``" % path in text for path in {value} | above):
                missing.append(name)
        elif name.endswith(("_UNIT", "_TIMER")) and "``%s``" % value not in text:
            missing.append(name)
    assert missing == []
