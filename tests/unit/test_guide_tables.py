# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""What the guides show of plans and releases is what the code says today, and they name each file on a host."""

from __future__ import annotations

import functools
import json
import pathlib
import re

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import paths
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import MIB
from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.kinds import (
    GROUPS,
    KINDS,
    RECORDED,
    RIG,
    SYMPTOMS,
)
from ansible_collections.gpufleet.ollama.plugins.module_utils.evidence import tolerances
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.endpoints import document

from tests import shown
from tests.unit import guide_findings, guide_pictures, guide_tables, metrics_files
from tests.unit.plugins.module_utils.diagnose.builders import UNIT, A

GUIDES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "docsite" / "rst"
#: Words of a remedy that stand for a value of the host.
PLACEHOLDER = r"\b(?:PID|SERVICE|UUID|WATTS|DIRECTORY)\b"
#: What is the same on every host, although it has a digit or a slash.
CONSTANT = {"f16", "q8_0", "q4_0", "0", "1"}


@pytest.mark.parametrize(
    "guide, text",
    [
        ("releases", guide_tables.known_releases),
        ("releases", guide_tables.settings_by_release),
        ("releases", guide_tables.engines),
        *(("troubleshooting", functools.partial(guide_findings.of_symptom, symptom)) for symptom in SYMPTOMS),
        *(("troubleshooting", functools.partial(guide_findings.remedies, group)) for group in GROUPS),
        *(("diagnose", functools.partial(guide_findings.tested, how)) for how in (RIG, RECORDED)),
        ("metrics", metrics_files.table),
        ("metrics", metrics_files.alert_table),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_guide_shows_what_the_code_says(guide, text):
    expected = text()
    assert "\n\n%s\n" % expected in (GUIDES / (guide + ".rst")).read_text(encoding="utf-8"), "\n" + expected


def test_the_guide_has_each_finding_of_a_comparison():
    text = (GUIDES / "troubleshooting.rst").read_text(encoding="utf-8")
    table = text.split("\nFindings of a comparison with the plan\n")[1].split("\nRemedies of the diagnosis\n")[0]
    rows = re.findall(r"^   \* - (``.*)\n     - .+\n     - .+$", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"``(\w+)``", row)} == guide_findings.of_evidence()
    assert guide_findings.made_by_name() <= guide_findings.of_evidence()
    assert all("\n%s\n---" % (symptom[:1].upper() + symptom[1:]) in text for symptom in SYMPTOMS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_remedy_in_the_guide_has_no_value_of_a_test(kind):
    """What was seen on the host of the test has values, such as a process; the guide has PID in its place."""
    made = guide_findings.example(kind)
    values = {A, UNIT} | {word.strip(".,:;()'") for word in made.evidence.split() if re.search(r"[\d/]", word)}
    words = {word.strip(".,:;()'") for word in re.split(r"[ =]", guide_findings.remedy(kind))}
    assert values & words <= CONSTANT


def test_a_remedy_with_values_is_the_one_of_the_guide():
    """Where the guide has words in capitals, the program puts values in their place and says nothing else."""
    filled = [kind for kind, one in KINDS.items() if re.search(PLACEHOLDER, one.remedy)]
    assert {"engine_left_behind", "mixed_libraries", "power_limit_lowered"} <= set(filled)
    for kind in filled:
        pattern = re.sub(PLACEHOLDER, r"\\S+", re.escape(KINDS[kind].remedy))
        assert re.fullmatch(pattern, guide_findings.example(kind).remedy), kind


@pytest.mark.parametrize("page", ["README.md", "evidence", "lies"])
def test_the_tolerances_on_a_page_are_those_of_the_code(page):
    """The README has them in short, the guide on the evidence all of them, and that on lies what stays undetected."""
    text = shown.pages()[page].read_text(encoding="utf-8")
    exact = "%d MiB or %g %%" % (tolerances.exact_tolerance(0) / MIB, 100 * tolerances.EXACT_SHARE)
    compute = "%d MiB or %g %%" % (tolerances.COMPUTE_BYTES / MIB, 100 * tolerances.COMPUTE_SHARE)
    more = ["%d MiB" % (tolerances.RUNTIME_BYTES / MIB), "{:,d} MiB".format(tolerances.PROJECTOR_COMPUTE_BYTES // MIB)]
    assert tolerances.LEAST_CONTEXT_SHARE == tolerances.MORE_CONTEXT_SHARE == 0.5 and re.search(
        "half (a CUDA|of it)", text
    )
    missing = [one for one in (exact, *more, *([] if page == "lies" else [compute])) if one not in text]
    assert missing == []


def test_the_guides_show_the_plans_of_their_inventories():
    assert shown.block("quickstart", "text") == guide_tables.two_gpus()
    assert shown.block("several", "text") == guide_tables.several_models()


def test_the_guide_shows_how_far_downloads_and_loads_are():
    assert shown.block("terminal", "text") == guide_tables.progress()


def test_the_file_of_endpoints_is_as_the_guide_shows_it():
    """Its `hosts` are left out there."""
    model = {"name": "llama3.1:8b", "names": ["llama3.1:8b"], "slots": 2, "context_length": 8192}
    instance = {
        "instance": "gpu0",
        "address": "gpu1.example.org",
        "listen_address": "192.0.2.7",
        "port": 11434,
        "gpu_uuids": ["GPU-1"],
        "serves": [{**model, "capabilities": ["completion"], "resident": True}],
    }
    made = document({"gpu1": {"ollama_version": "0.32.15", "endpoints": [instance]}})
    assert json.loads(shown.block("clients", "json")) == {"models": made["models"]}


@pytest.mark.parametrize("name", guide_pictures.PICTURES)
def test_a_picture_is_what_the_report_draws(name):
    drawn = guide_pictures.drawn(guide_pictures.PICTURES[name])
    assert (guide_pictures.DOCS / name).read_text(encoding="utf-8") == drawn, "\n" + drawn


def test_the_guides_show_each_picture():
    told = {
        (path.parent / name).resolve()
        for path in GUIDES.glob("*.rst")
        for name in re.findall(r"^ *\.\. image:: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert told == {guide_pictures.DOCS / name for name in guide_pictures.PICTURES if "/" in name}
    assert told == set(GUIDES.glob("pictures/*"))


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
