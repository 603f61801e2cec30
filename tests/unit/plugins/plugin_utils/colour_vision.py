# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""How far two colours ("#0072b2") are apart for people who see colours in another way."""

from __future__ import annotations

#: What becomes of linear RGB without one kind of cones: the matrices for severity 1.0 of Machado, Oliveira and
#: Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009,
#: doi 10.1109/TVCG.2009.113).
VISIONS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
#: Linear sRGB -> XYZ, and the white of both (IEC 61966-2-1, D65).
_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_WHITE = (0.9505, 1.0, 1.089)


def linear(colour):
    """The channels of a colour in linear light (WCAG 2.2, definition of relative luminance)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]


def distance(one, other, vision):
    """The distance of two colours in CIELAB (CIE 1976). From 2.3 on, people see a difference when they look for it."""
    pairs = zip(_lab(_seen(linear(one), vision)), _lab(_seen(linear(other), vision)))
    return sum((this - that) ** 2 for this, that in pairs) ** 0.5


def _product(matrix, values):
    return [sum(factor * value for factor, value in zip(row, values)) for row in matrix]


def _seen(channels, vision):
    return [min(max(one, 0.0), 1.0) for one in _product(VISIONS[vision], channels)]


def _lab(channels):
    roots = []
    for value, white in zip(_product(_XYZ, channels), _WHITE):
        part = value / white
        roots.append(part ** (1 / 3) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116)
    x, y, z = roots
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def of_terminal(number):
    """A colour from 16 on of a terminal with 256 colours, as xterm has them: a cube of 6 steps, then grey."""
    if number >= 232:
        return "#" + 3 * ("%02x" % (8 + 10 * (number - 232)))
    steps = (0, 95, 135, 175, 215, 255)
    place = number - 16
    return "#%02x%02x%02x" % (steps[place // 36], steps[place // 6 % 6], steps[place % 6])
