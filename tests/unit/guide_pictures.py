# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The pictures of README.md and of the guide about plans: GPUs of a host as the report draws them, each in a file.

After a change of the report or of what is here, write them again with

    tests/setup/with-env python -c "import tests.conftest; from tests.unit import guide_pictures as g; g.write()"
"""

from __future__ import annotations

import dataclasses
import pathlib
import re

from ansible_collections.gpufleet.ollama.plugins.module_utils.common.sizes import gib
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.bars import WORDS
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.colours import LIGHT, PAGE, PARTS
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.fleet_report.html import html_page

from tests.oracle import hosts
from tests.unit.plugins.plugin_utils.fleet_report.made_hosts import report_of, variables
from tests.unit.plugins.plugin_utils.report.made_plans import planned

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
WIDTH, MARGIN, ROW, BAR, HEAD = 760, 8, 22, 44, 20
#: What the page's style has for everything, and for the parts, whose class is their first letter.
_STYLE = "text{font:12px sans-serif;fill:%(ink)s}rect{stroke:%(ink)s;height:20px}.seen{transform:translateY(23px)}"
_LARGE = {"name": "llama4:16x17b", "context_length": 32768}
_SMALL, _MIDDLE = {"name": "llama3.1:8b"}, {"name": "gemma3:27b", "context_length": 16384}
_A6000, _RTX4090 = ("NVIDIA RTX A6000", hosts.A6000), ("NVIDIA GeForce RTX 4090", hosts.RTX4090)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture: the models of a host, its GPUs, and how many MiB other processes have of each.

    `title` is its first line, `%s` in it is the state of the host. `observed` adds what NVML reports to each GPU.
    """

    title: str
    models: tuple[dict, ...]
    board: tuple[str, tuple[int, int]]
    others: tuple[int, int] = (0, 0)
    observed: bool = False

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(total, free) MiB of the GPUs."""
        total, free = self.board[1]
        return tuple((total, free - taken) for taken in self.others)


PICTURES = {
    "report.svg": Picture(
        "gpu-a.example.org: %s. Above what the plan predicts, below what NVML reports", (_LARGE,), _A6000, observed=True
    ),
    "docsite/rst/pictures/replicate.svg": Picture(
        "One model that fits on each of two GPUs: a copy on each", (_SMALL,), _RTX4090
    ),
    "docsite/rst/pictures/split.svg": Picture(
        "One model that no GPU has room for: its layers are split", (_LARGE,), _A6000
    ),
    "docsite/rst/pictures/several.svg": Picture(
        "Two models: the fullest GPU is as empty as possible", (_MIDDLE, _SMALL), _A6000
    ),
    "docsite/rst/pictures/others.svg": Picture(
        "The same, where another program has 30 GiB of the first GPU", (_MIDDLE, _SMALL), _A6000, (30 * 1024, 0)
    ),
}


def drawn(picture: Picture) -> str:
    """The GPUs of a host as an SVG file: what the plan has on each, and the key of the colours."""
    plan = planned(*picture.models, gpus=picture.sizes, name=picture.board[0])
    report = report_of(**{"gpu-a.example.org": variables(plan, picture.sizes)})
    (host,) = report.hosts
    drawings = re.findall(r"<svg [^>]*>(.*?)</svg>", html_page(report), re.DOTALL)
    assert len(drawings) == len(host.gpus) == 2
    title = picture.title % host.state if "%s" in picture.title else picture.title
    lines, top, height = [_text(MARGIN, 0, title)], ROW, BAR if picture.observed else BAR // 2
    for gpu, drawing in zip(host.gpus, drawings):
        lines.append(_text(MARGIN, top, _label(plan, gpu)))
        lines.append(
            '<svg x="%d" y="%d" width="%d" height="%d">%s</svg>'
            % (MARGIN, top + HEAD, WIDTH - 2 * MARGIN, height, _shifted(drawing, picture.observed))
        )
        top += HEAD + height + MARGIN
    parts = [part for part in PARTS if picture.observed or part != "models"]
    for place, part in enumerate(parts):
        left = MARGIN + place * 120
        lines.append('<rect class="%s" x="%d" y="%d" width="14"/>' % (part[0], left, top))
        lines.append(_text(left + 20, top, WORDS[part]))
    left = MARGIN + len(parts) * 120
    lines.append('<rect style="fill:none" x="%d" y="%d" width="14"/>' % (left, top))
    lines.append(_text(left + 20, top, "free"))
    return _document(top + ROW + MARGIN, title, lines)


def _label(plan, gpu):
    """A GPU with its size, and the models on it."""
    models = ", ".join(_models(plan, gpu.uuid)) or "no model"
    return "%s, %s: %s" % (gpu.label, gib(gpu.total_bytes), models)


def _models(plan, uuid):
    """The models on a GPU, with the layers that are there."""
    for instance in plan["instances"]:
        for model in instance["models"]:
            for device in model["predicted"]["devices"]:
                if device["uuid"] == uuid:
                    yield "%s, %d of %d layers" % (model["name"], device["layers"], model["predicted"]["total_layers"])


def _shifted(drawing, observed):
    """The drawing of the page in one line for each part, its texts moved as the page's style moves them."""
    if not observed:
        drawing = re.sub(r'<g class="seen">.*?</g>', "", drawing, flags=re.DOTALL)
    # The frame is the whole memory; what is free stays white.
    frame = '<rect width="100%" style="fill:none"/>'
    drawing = frame + re.sub(r"(<g[^>]*>)", r"\1" + frame, drawing)
    moved = re.sub(r'<text class="(\w)"', r'<text class="\1" dx="4" dy="14"', drawing)
    return re.sub(r"\s*\n\s*", "", moved).replace("<rect", "\n<rect").replace("</g>", "\n</g>")


def _document(height, title, lines):
    parts = "".join(
        "rect.%s{fill:%s}text.%s{fill:%s}" % (part[0], fill, part[0], ink) for part, (fill, ink) in PARTS.items()
    )
    return "\n".join(
        [
            "<!-- SPDX-License-Identifier: GPL-3.0-or-later -->",
            "<!-- SPDX-FileCopyrightText: The gpufleet.ollama contributors -->",
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">'
            % (WIDTH, height, title),
            "<style>%s%s</style>" % (_STYLE % PAGE[LIGHT], parts),
            '<rect width="%d" style="height:%dpx;stroke:none;fill:%s"/>' % (WIDTH, height, PAGE[LIGHT]["paper"]),
            *lines,
            "</svg>",
            "",
        ]
    )


def _text(left, top, words):
    return '<text x="%d" y="%d">%s</text>' % (left, top + 15, words)


def write() -> None:
    """Write the pictures."""
    for name, picture in PICTURES.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(drawn(picture), encoding="utf-8")
