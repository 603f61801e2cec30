# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""GGUF version 3 headers, written by hand: key-values, tensor infos, offsets. No weights.

Layout: magic, version, tensor count, key-value count, key-values, tensor infos, padding to 32, tensor data (each tensor
at a multiple of 32).
"""

from __future__ import annotations

import struct

ALIGNMENT = 32
#: type name -> (number in the file, elements a block, bytes a block)
TYPES = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q8_0": (8, 32, 34),
    "Q4_K": (12, 256, 144),
    "Q6_K": (14, 256, 210),
    "MXFP4": (39, 32, 17),
}


def tensor_bytes(kind, shape):
    """Bytes of a tensor: elements / block * bytes a block."""
    elements = 1
    for dimension in shape:
        elements *= dimension
    _number, block, size = TYPES[kind]
    assert elements % block == 0, (kind, shape)
    return elements // block * size


def aligned(offset):
    """The next multiple of the alignment."""
    return (offset + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def _string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(value):
    """(type number, bytes) of a key's value; a list of strings, of floats or of ints is an array."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, _string(value)
    if value and isinstance(value[0], str):
        return 9, struct.pack("<IQ", 8, len(value)) + b"".join(map(_string, value))
    number, letter = (6, "f") if value and isinstance(value[0], float) else (5, "i")
    return 9, struct.pack("<IQ", number, len(value)) + struct.pack("<%d%s" % (len(value), letter), *value)


# llama.cpp insists on these types for the numbers of a split model.
_SPLIT = {
    "split.no": lambda value: (2, struct.pack("<H", value)),
    "split.count": lambda value: (2, struct.pack("<H", value)),
    "split.tensors.count": lambda value: (5, struct.pack("<i", value)),
}


def header(pairs, tensors):
    """({key: value}, [(name, type, shape)]) -> (header bytes up to the first
    tensor, bytes of all tensors with their padding).
    """
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(pairs))]
    for key, value in pairs.items():
        number, data = _SPLIT[key](value) if key in _SPLIT else _value(value)
        parts += [_string(key), struct.pack("<I", number), data]
    offset = 0
    for name, kind, shape in tensors:
        parts.append(
            _string(name)
            + struct.pack("<I%dQ" % len(shape), len(shape), *shape)
            + struct.pack("<IQ", TYPES[kind][0], offset)
        )
        offset = aligned(offset + tensor_bytes(kind, shape))
    data = b"".join(parts)
    return data + bytes(aligned(len(data)) - len(data)), offset
