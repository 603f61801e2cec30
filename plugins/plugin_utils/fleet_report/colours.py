# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Colours of the report, for light and dark screens. Pure.

The parts of a GPU's memory have colours of the palette of Okabe and Ito ("Color Universal Design", 2008), which people
with each kind of colour blindness tell apart; each part has a label as well, and a line around it. Contrast is that of
WCAG 2.2 (1.4.3: 4.5 for text; 1.4.11: 3 for lines).
"""

from __future__ import annotations

LIGHT, DARK = "light", "dark"

#: {name: colour} of a page. `paper` is behind everything, `panel` behind tables' heads and summaries.
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
#: Of texts, and of lines; all on `paper` and on `panel`.
OF_TEXT = ("ink", "quiet", "link", "good", "note", "bad")
OF_LINES = ("rule",)

#: {part of the memory: (colour, colour of the text on it)}; the same on light and dark screens.
PARTS = {
    "weights": ("#0072b2", "#ffffff"),
    "kv": ("#e69f00", "#000000"),
    "compute": ("#009e73", "#000000"),
    "models": ("#56b4e9", "#000000"),
    "others": ("#999999", "#000000"),
}


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours ("#0072b2"), 1 to 21, as WCAG 2.2 defines it."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of a colour of sRGB (WCAG 2.2, definition of terms)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
