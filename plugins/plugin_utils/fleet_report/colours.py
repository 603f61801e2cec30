# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Colours of the report, for light and dark screens. Pure.

The parts of a GPU's memory have colours of the palette of Okabe and Ito ("Color Universal Design", 2008) and a grey,
which people with each kind of colour blindness tell apart; each part has a label as well, and a line around it. States
are told apart by signs and words, because no three dark or three light colours are for everybody. Contrast is that of
WCAG 2.2 (1.4.3: 4.5 for text; 1.4.11: 3 for lines).
"""

from __future__ import annotations

LIGHT, DARK = "light", "dark"

#: {name: colour} of a page. `paper` is behind everything, `panel` behind tables' heads and summaries; `rule` is the
#: colour of lines, and the others are those of texts.
PAGE = {
    LIGHT: {
        "paper": "#ffffff",
        "panel": "#f2f4f7",
        "ink": "#1b1d21",
        "quiet": "#50555c",
        "rule": "#767b84",
        "link": "#00508f",
        "good": "#0a5c2b",
        "note": "#6f4400",
        "bad": "#9c0f0f",
    },
    DARK: {
        "paper": "#15171b",
        "panel": "#23262c",
        "ink": "#eceef1",
        "quiet": "#b4bac3",
        "rule": "#8b919b",
        "link": "#8fc1ff",
        "good": "#7fdc9a",
        "note": "#ffcb6b",
        "bad": "#ffa3a3",
    },
}

#: {part of the memory: (colour, colour of the text on it)}; the same on light and dark screens.
PARTS = {
    "weights": ("#0072b2", "#ffffff"),
    "kv": ("#e69f00", "#000000"),
    "compute": ("#009e73", "#000000"),
    "models": ("#56b4e9", "#000000"),
    "others": ("#b8b8b8", "#000000"),
}

#: Lines of drawings, of the same palette; each is told apart from both papers, which its yellow and orange are not.
LINES = ("#0072b2", "#d55e00", "#009e73", "#b5669a")
