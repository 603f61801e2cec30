# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Each value of the report, as shapes.py has it, is in the HTML and in the Markdown."""

from __future__ import annotations

import dataclasses
import html
import itertools
import re
import typing

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import MIB, gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report import shapes
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import exact
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.markdown import markdown_page
from markdown_it import MarkdownIt

from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import Page

#: What is for the next run (`baseline`) and for programs that read the JSON.
OF_THE_JSON = {"FleetReport.baseline", "FleetReport.version"}
#: {field: its value and how it is told}, where that is not a value of its own.
TOLD = {
    "FleetReport.complete": (False, "The run has not come to its end"),
    "GpuReport.health": ("degraded", "degraded"),
    "HostReport.state": ("not proven", "not proven"),
    "HostReport.is_drift": (True, "Differs from the plan"),
    "LoadRow.is_untouched": (False, ""),
    "MeasuredRow.is_untouched": (False, ""),
}


_NO_VALUE = type(None)


class Filled:
    """A report in which each value is another one: `told` has the forms of each value, one of which is in a page."""

    def __init__(self):
        self._numbers = itertools.count(101)
        self.told = {}
        self.report = self._of(shapes.FleetReport, "")

    def _of(self, kind, field):
        """A value of a type, for the field "CLASS.NAME"."""
        if dataclasses.is_dataclass(kind):
            hints = typing.get_type_hints(kind)
            fields = {one.name: "%s.%s" % (kind.__name__, one.name) for one in dataclasses.fields(kind)}
            return kind(**{name: self._of(hints[name], field) for name, field in fields.items()})
        if field in TOLD:
            value, words = TOLD[field]
            self.told.setdefault(field, []).append([words])
            return value
        (*arguments,) = (one for one in typing.get_args(kind) if one is not _NO_VALUE)
        if typing.get_origin(kind) is typing.Union:
            return self._of(arguments[0], field)
        if typing.get_origin(kind) is list:
            return [self._of(arguments[0], field) for _number in range(2)]
        if typing.get_origin(kind) is dict:
            return {self._key(field): self._of(arguments[1], field)}
        return self._leaf(kind, field)

    def _key(self, field):
        """Speeds are those of "MODEL on INSTANCE"."""
        return " on ".join(self._leaf(str, field) for _word in range(2 if "tokens" in field else 1))

    def _leaf(self, kind, field):
        number = next(self._numbers)
        if kind is not int or not field.endswith("_bytes"):
            value = {str: "word%d", int: "%d", float: "%d.5"}.get(kind, "%d") % number
            self.told.setdefault(field, []).append([value])
            return value if kind is str else float(value) if kind is float else int(value)
        value = number * (1024 + 1) * MIB
        forms = [gib(value), " ".join(exact(value).split()), str(value), str(value // MIB)]
        self.told.setdefault(field, []).append(forms)
        return value


FILLED = Filled()


def html_text():
    """What a reader sees, and the bytes in attributes, for programs."""
    page = Page.of(FILLED.report)
    data = [value for _tag, found in page.nodes for name, value in found.items() if name.startswith("data-")]
    return " ".join([page.text, *data])


def markdown_text():
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(markdown_page(FILLED.report))
    return html.unescape(re.sub(r"<[^>]*>", " ", rendered)).replace("\u200b", "")


@pytest.fixture(scope="module", params=[html_text, markdown_text], ids=["HTML", "Markdown"])
def text(request):
    return request.param()


@pytest.mark.parametrize("field", sorted(set(FILLED.told) - OF_THE_JSON))
def test_a_page_has_each_value(text, field):
    missing = [
        forms
        for forms in FILLED.told[field]
        if not any(re.search(r"(?<![\w.])%s(?!\w|\.\d)" % re.escape(form), text) for form in forms)
    ]
    assert not missing, text


def test_each_field_has_its_values():
    """None is left out by the types that the test knows."""
    classes = [one for one in vars(shapes).values() if isinstance(one, type) and dataclasses.is_dataclass(one)]
    fields = {"%s.%s" % (one.__name__, field.name) for one in classes for field in dataclasses.fields(one)}
    hints = {field: typing.get_type_hints(vars(shapes)[field.split(".")[0]])[field.split(".")[1]] for field in fields}
    holders = {field for field, hint in hints.items() if "shapes." in str(hint)}
    assert fields - holders == set(FILLED.told), fields
