# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Read the parts of a GGUF header that the stand-in needs: scalar keys, lengths of arrays, tensors with their bytes."""

from __future__ import annotations

import os
import struct

#: GGUF value types of fixed size -> struct letter
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
#: tensor type -> (name, elements a block, bytes a block)
TENSOR_TYPES = {
    0: ("f32", 1, 4),
    1: ("f16", 1, 2),
    2: ("q4_0", 32, 18),
    8: ("q8_0", 32, 34),
    12: ("q4_K", 256, 144),
    13: ("q5_K", 256, 176),
    14: ("q6_K", 256, 210),
    30: ("bf16", 1, 2),
    39: ("mxfp4", 32, 17),
}
MAX_HEADER = 64 * 1024 * 1024


class HeaderError(Exception):
    """The file is not a GGUF file that this reader supports."""


class Header:
    """pairs: {key: scalar, or length of an array}; tensors: [(name, type name, shape, bytes)]; path, file_bytes."""

    def __init__(self, path, pairs, tensors):
        self.path = path
        self.file_bytes = os.path.getsize(path)
        self.pairs = pairs
        self.tensors = tensors
        self.architecture = pairs["general.architecture"]

    def get(self, key, default=0):
        """Value of an architecture's key ("block_count")."""
        return self.pairs.get("%s.%s" % (self.architecture, key), default)

    @property
    def blocks(self):
        return self.get("block_count")

    @property
    def heads(self):
        return self.get("attention.head_count")

    @property
    def kv_heads(self):
        return self.get("attention.head_count_kv", self.heads)

    @property
    def width(self):
        return self.get("embedding_length")

    @property
    def key_size(self):
        return self.get("attention.key_length", self.width // max(1, self.heads))

    @property
    def value_size(self):
        return self.get("attention.value_length", self.width // max(1, self.heads))

    @property
    def vocabulary(self):
        return self.pairs.get("tokenizer.ggml.tokens", 0)

    def projector_bytes(self):
        """Bytes of the vision and audio tensors (v.*, mm.*, a.*)."""
        return sum(size for name, _kind, _shape, size in self.tensors if name.startswith(("v.", "mm.", "a.")))

    def layer_bytes(self):
        """([bytes of each block], bytes of the output layer, bytes of the token embedding), projector apart."""
        layers, output, embedding = [0] * self.blocks, 0, 0
        for name, _kind, _shape, size in self.tensors:
            if name.startswith("blk."):
                layers[int(name.split(".")[1])] += size
            elif name.startswith("token_embd"):
                embedding += size
            elif not name.startswith(("v.", "mm.", "a.")):
                output += size
        if not any(name == "output.weight" for name, _kind, _shape, _size in self.tensors):
            output += embedding  # tied: the embedding is there once more
        return layers, output, embedding


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, letter):
        value = struct.unpack_from("<" + letter, self.data, self.at)[0]
        self.at += struct.calcsize("<" + letter)
        return value

    def string(self):
        length = self.scalar("Q")
        value = self.data[self.at : self.at + length]
        self.at += length
        return value.decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind != 9:
            return self.scalar(SCALARS[kind])
        inner, count = self.scalar("I"), self.scalar("Q")
        if inner == 8:
            data, at, unpack = self.data, self.at, struct.Struct("<Q").unpack_from
            for _one in range(count):
                at += 8 + unpack(data, at)[0]
            self.at = at
        else:
            self.at += count * struct.calcsize(SCALARS[inner])
        return count


def read_header(path):
    """Header of a GGUF file; HeaderError with a sentence otherwise."""
    with open(path, "rb") as stream:
        data = stream.read(MAX_HEADER)
    if data[:4] != b"GGUF":
        raise HeaderError("invalid magic characters: '%s', expected 'GGUF'" % data[:4].decode("ascii", "replace"))
    reader = _Reader(data)
    reader.at = 8
    try:
        tensor_count, pair_count = reader.scalar("Q"), reader.scalar("Q")
        pairs = {}
        for _one in range(pair_count):
            key = reader.string()
            pairs[key] = reader.value(reader.scalar("I"))
        tensors = []
        for _one in range(tensor_count):
            name = reader.string()
            shape = [reader.scalar("Q") for _dimension in range(reader.scalar("I"))]
            kind, elements = reader.scalar("I"), 1
            reader.scalar("Q")
            for dimension in shape:
                elements *= dimension
            type_name, block, size = TENSOR_TYPES[kind]
            tensors.append((name, type_name, shape, elements // block * size))
        return Header(path, pairs, tensors)
    except (struct.error, KeyError) as error:
        raise HeaderError("failed to read key-value pairs or tensors: %s" % error)
