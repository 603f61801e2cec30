# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Tables of the guide for troubleshooting: findings by symptom, and the remedies of the tests that provoke them."""

from __future__ import annotations

import ast
import pathlib
import re

from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.kinds import KINDS

from tests.unit.plugins.module_utils.diagnose.builders import found
from tests.unit.plugins.module_utils.diagnose.test_kinds import MODULES

_PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
_ORDER = {"certain": 0, "likely": 1, "possible": 2}


def _example(kind):
    """The finding of the test that provokes a kind."""
    (evidence,) = [module.CASES[kind][0] for module in MODULES if kind in module.CASES]
    return found(evidence)[kind]


def of_symptom(symptom):
    """The findings that explain a symptom, the surest first, as a list of text."""
    kinds = [kind for kind, one in KINDS.items() if symptom in one.symptoms]
    ordered = sorted(kinds, key=lambda kind: _ORDER[_example(kind).confidence])
    return "".join("* ``%s`` (%s): %s\n" % (kind, _example(kind).confidence, KINDS[kind].text) for kind in ordered)


def remedies():
    """What the program says to do about each finding of a diagnosis, in the example of its test."""
    lines = []
    for kind in KINDS:
        example = _example(kind)
        variable = " Variable: ``%s``." % example.variable if example.variable else ""
        lines.append("* ``%s``: %s%s\n" % (kind, example.remedy.replace("*", "\\*"), variable))
    return "".join(lines)


def of_evidence():
    """The findings of a comparison with a plan: those that placement_check names in its documentation, and that of a
    switch. What the room evidence makes by name has to be among them.
    """
    text = (_PLUGINS / "modules" / "placement_check.py").read_text(encoding="utf-8")
    documented = re.search(r"\n +finding:\n +description:(.*?)\n +type: str\n", text, re.DOTALL).group(1)
    return set(re.findall(r"V\((\w+)\)", documented)) | {"slower"}


def made_by_name():
    """The findings that the room evidence makes of a literal name."""
    named = set()
    for path in (_PLUGINS / "module_utils" / "evidence").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            made = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Diagnosis", "Finding", "Fault")
            # Or (finding, evidence, remedy), of which a Finding is made later.
            values = node.args if made else node.elts if isinstance(node, ast.Tuple) and len(node.elts) == 3 else []
            constant = [isinstance(one, ast.Constant) for one in values]
            if constant and constant[0] and not all(constant):
                named.add(values[0].value)
    return named
