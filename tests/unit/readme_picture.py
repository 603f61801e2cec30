# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The picture of README.md: the GPUs of a host as the report draws them, in a file of their own."""

from __future__ import annotations

import re

from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.bars import WORDS
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.colours import LIGHT, PAGE, PARTS
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import html_page

from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import report_of, variables
from tests.unit.plugins.plugin_utils.report.made_plans import planned

WIDTH, MARGIN, ROW, BAR, HEAD = 760, 8, 22, 44, 20
_MODEL = {"name": "llama4:16x17b", "context_length": 32768}
#: What the page's style has for everything, and for the parts, whose class is their first letter.
_STYLE = "text{font:12px sans-serif;fill:%(ink)s}rect{stroke:%(ink)s;height:20px}.seen{transform:translateY(23px)}"


def picture():
    """The two GPUs of the guide for two GPUs, predicted above and observed below."""
    report = report_of(**{"gpu-a.example.org": variables(planned(_MODEL, name="NVIDIA RTX A6000"))})
    page = html_page(report)
    drawings = re.findall(r"<svg [^>]*>(.*?)</svg>", page, re.DOTALL)
    (host,) = report.hosts
    assert len(drawings) == len(host.gpus) == 2
    lines = [
        _text(MARGIN, 0, "%s: %s. Above what the plan predicts, below what NVML reports" % (host.name, host.state))
    ]
    for place, (gpu, drawing) in enumerate(zip(host.gpus, drawings)):
        top = ROW + place * (HEAD + BAR + MARGIN)
        lines.append(_text(MARGIN, top, "%s  %s" % (gpu.label, _MODEL["name"])))
        lines.append(
            '<svg x="%d" y="%d" width="%d" height="%d">%s</svg>'
            % (MARGIN, top + HEAD, WIDTH - 2 * MARGIN, BAR, _shifted(drawing))
        )
    bottom = ROW + 2 * (HEAD + BAR + MARGIN)
    for place, part in enumerate(PARTS):
        left = MARGIN + place * 120
        lines.append('<rect class="%s" x="%d" y="%d" width="14"/>' % (part[0], left, bottom))
        lines.append(_text(left + 20, bottom, WORDS[part]))
    return _document(bottom + ROW + MARGIN, lines)


def _shifted(drawing):
    """The drawing of the page in one line for each part, its texts moved as the page's style moves them."""
    moved = re.sub(r'<text class="(\w)" x', r'<text class="\1" dx="4" dy="14" x', drawing)
    return re.sub(r"\s*\n\s*", "", moved).replace("<rect", "\n<rect").replace("</g>", "\n</g>")


def _document(height, lines):
    parts = "".join(
        "rect.%s{fill:%s}text.%s{fill:%s}" % (part[0], fill, part[0], ink) for part, (fill, ink) in PARTS.items()
    )
    return "\n".join(
        [
            "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->",
            "<!-- SPDX-FileCopyrightText: The gpufleet.ollama contributors -->",
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="GPUs of a host">'
            % (WIDTH, height),
            "<style>%s%s</style>" % (_STYLE % PAGE[LIGHT], parts),
            '<rect width="%d" style="height:%dpx;stroke:none;fill:%s"/>' % (WIDTH, height, PAGE[LIGHT]["paper"]),
            *lines,
            "</svg>",
            "",
        ]
    )


def _text(left, top, words):
    return '<text x="%d" y="%d">%s</text>' % (left, top + 15, words)
