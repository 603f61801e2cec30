# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Lists of the guides for diagnosis and troubleshooting: findings by symptom and by subject, and their remedies."""

from __future__ import annotations

import ast
import pathlib
import re

from ansible_collections.gpufleet.ollama.plugins.module_utils.diagnose.kinds import GROUPS, KINDS

from tests.unit.plugins.module_utils.diagnose.builders import found
from tests.unit.plugins.module_utils.diagnose.test_kinds import MODULES

_PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
#: Remedies of so many characters are repeated where several findings have the same one.
_SHORT = 100


def example(kind):
    """The finding of the test that provokes a kind."""
    (evidence,) = [module.CASES[kind][0] for module in MODULES if kind in module.CASES]
    return found(evidence)[kind]


def remedy(kind):
    """What to do about a finding on any host: without the values of the test that provokes it."""
    return KINDS[kind].remedy or example(kind).remedy


def of_symptom(symptom):
    """The findings that explain a symptom by what they are about, each a link to its remedy."""
    lines = []
    for group, kinds in GROUPS.items():
        links = ", ".join("`%s`_" % kind for kind, one in kinds.items() if symptom in one.symptoms)
        lines += ["* %s: %s\n" % (group, links)] if links else []
    return "".join(lines)


def remedies(group):
    """The findings about one subject: what is wrong, how sure it is in the example of its test, and what to do."""
    lines, known = [], {}
    for kind in GROUPS[group]:
        variable = example(kind).variable
        told = remedy(kind).replace("*", "\\*") + (" Variable: ``%s``." % variable if variable else "")
        first = known.setdefault(told, kind)
        told = told if first == kind or len(told) < _SHORT else "The remedy is that of `%s`_." % first
        lines.append("* _`%s` (%s): %s. %s\n" % (kind, example(kind).confidence, KINDS[kind].text, told))
    return "".join(lines)


def tested(how):
    """The findings that are provoked in one way, RIG or RECORDED."""
    return ", ".join("``%s``" % kind for kind, one in KINDS.items() if one.tested == how)


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
