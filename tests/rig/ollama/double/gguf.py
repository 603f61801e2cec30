# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Headers of GGUF files: key-values and tensor infos.

Accepts unknown keys, and is fast for a vocabulary of 200,000 tokens.
"""

from __future__ import annotations

import os
import struct
from collections import namedtuple

Tensor = namedtuple("Tensor", "name type shape elements bytes")

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
# Number -> name, elements in a block, bytes of a block (ggml.c type_traits).
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    39: ("MXFP4", 32, 17),
}
# general.file_type -> name (fs/ggml/type.go).
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    32: "BF16",
    38: "MXFP4",
}
LONG = 5  # arrays of more elements are shown only when asked for


class NotGguf(ValueError):
    """The file is not a GGUF file."""


class Header:
    """The header of a file.

    `values` {key: value}, where long arrays are None unless they are read; `tensors`, a list of Tensor; `size` of the
    file in bytes.
    """

    def __init__(self, values, tensors, size):
        self.values, self.tensors, self.size = values, tensors, size
        self.architecture = values.get("general.architecture", "unknown")

    def get(self, key, default=None):
        """The value of a key of the model's architecture."""
        return self.values.get("%s.%s" % (self.architecture, key), default)

    def number(self, key, choose):
        """A number, or `choose` (min, max) of an array with one element per layer; 0 if the key is missing."""
        value = self.get(key, 0)
        return int(choose(value)) if isinstance(value, list) and value else int(value or 0)

    @property
    def parameter_count(self):
        """Number of elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def file_type(self):
        """Name of the quantization."""
        return FILE_TYPES.get(self.values.get("general.file_type"), "unknown")


class _Reader:
    def __init__(self, stream):
        self.stream = stream

    def unpack(self, code):
        """One little-endian number."""
        size = struct.calcsize("<" + code)
        data = self.stream.read(size)
        if len(data) < size:
            raise NotGguf("the header ends early")
        return struct.unpack("<" + code, data)[0]

    def string(self):
        """One length-prefixed text."""
        length = self.unpack("Q")
        if length > 1 << 24:
            raise NotGguf("a text of %d bytes" % length)
        return self.stream.read(length).decode("utf-8", "replace")

    def value(self, kind, full):
        """One value; a long array is skipped and None unless `full`."""
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            if kind not in _SCALARS:
                raise NotGguf("unknown type %d" % kind)
            return self.unpack(_SCALARS[kind])
        inner, count = self.unpack("I"), self.unpack("Q")
        if inner == _ARRAY:
            raise NotGguf("array in an array")
        if inner != _STRING:
            code = _SCALARS.get(inner)
            if code is None:
                raise NotGguf("unknown type %d" % inner)
            data = self.stream.read(struct.calcsize("<" + code) * count)
            # Numbers are always kept: per-layer arrays are needed, and unpacking them is one call.
            return list(struct.unpack("<%d%s" % (count, code), data))
        if full:
            return [self.string() for _index in range(count)]
        for _index in range(count):
            self.stream.seek(self.unpack("Q"), os.SEEK_CUR)
        return None


def read(path, full=False):
    """The Header of a file. `full` also reads long arrays of texts. Raises NotGguf, and OSError from opening."""
    with open(path, "rb", buffering=1 << 20) as stream:
        reader = _Reader(stream)
        if stream.read(4) != b"GGUF":
            raise NotGguf("no GGUF magic")
        version = reader.unpack("I")
        if version not in (2, 3):
            raise NotGguf("GGUF version %d" % version)
        tensor_count, value_count = reader.unpack("Q"), reader.unpack("Q")
        values = {}
        for _index in range(value_count):
            key = reader.string()
            values[key] = reader.value(reader.unpack("I"), full)
        tensors = []
        for _index in range(tensor_count):
            name = reader.string()
            shape = [reader.unpack("Q") for _dimension in range(reader.unpack("I"))]
            kind = reader.unpack("I")
            reader.unpack("Q")
            elements = 1
            for length in shape:
                elements *= length
            type_name, block, size = _TYPES.get(kind, ("unknown", 1, 0))
            tensors.append(Tensor(name, type_name, shape, elements, elements // block * size))
        return Header(values, tensors, os.fstat(stream.fileno()).st_size)
