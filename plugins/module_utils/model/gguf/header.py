# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Streaming reader of a GGUF header (versions 2 and 3, little-endian). Pure: it is given a function that hands out the next bytes.

Layout (llama.cpp docs/gguf.md): magic, u32 version, u64 tensors, u64 keys; each key a string, u32 type, value; each tensor a string,
u32 dimensions, u64 each, u32 type, u64 offset. The vocabulary (hundreds of thousands of strings) comes before the tensors and is walked
over without being kept; only short arrays of numbers are kept. Every count is checked before it is believed.
"""

from __future__ import annotations

import struct
from collections import namedtuple

from .types import TENSOR_TYPES, tensor_bytes

MAX_KEYS = 65536
MAX_TENSORS = 32768  # the largest models have some two thousand
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_KEY_BYTES = 65535
MAX_VALUE_BYTES = 16 * 1024 * 1024  # a chat template is a few KiB
MAX_TENSOR_NAME_BYTES = 256  # GGML_MAX_NAME is 64 by default
MAX_KEPT_VALUE_BYTES = 65536
MAX_KEPT_BYTES = 8 * 1024 * 1024  # of all keys and values together, as they lie in memory
ELEMENT_BYTES = 40  # of a number in a Python list, at most
CHARACTER_BYTES = 4  # of a character in a Python text, at most
MAX_NESTED_ARRAYS = 65536  # no real header nests any
MAX_KEPT_ELEMENTS = 4096  # one number a layer; vocabularies are longer
MAX_ARRAY_DEPTH = 4
MAX_ELEMENTS = 2**63

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TENSOR_TAIL = struct.Struct("<IQ")
_KEY_TYPES = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING = 8
_ARRAY = 9


class HeaderError(ValueError):
    """The file is no GGUF that can be planned with. The text is one sentence."""


# name: str; shape: elements a dimension, the row first; type: name, or "type 77" if unknown; bytes: int, or None for an unknown type
Tensor = namedtuple("Tensor", "name shape type bytes")

# version: int; keys: {key: scalar, text or short list}; lengths: {key: elements of an array}; tensors: [Tensor]; size_bytes: int, the header itself
Header = namedtuple("Header", "version keys lengths tensors size_bytes")


class _Window(object):
    """The bytes not yet consumed, refilled from `read(size)`, which returns b"" at the end. Holds one chunk and the longest item at a time."""

    def __init__(self, read, limit):
        self._read = read
        self._limit = limit
        self._came = 0
        self._kept = 0
        self.nested = 0
        self.data = b""
        self.at = 0

    @property
    def consumed(self):
        return self._came - len(self.data) + self.at

    def fill(self, size):
        """Make `size` bytes available from `at`. Raises HeaderError when the file or the limit ends before."""
        if len(self.data) - self.at >= size:
            return
        parts = [self.data[self.at :]]
        have = len(parts[0])
        while have < size:
            if self._came >= self._limit:
                raise HeaderError(
                    "the GGUF header goes on after %d MiB, which no model needs; the file is damaged"
                    % (self._limit // 1048576)
                )
            part = self._read(size - have)
            if not part:
                raise HeaderError("the GGUF header is cut off after %d bytes; get the file again" % self._came)
            parts.append(part)
            have += len(part)
            self._came += len(part)
        self.data = b"".join(parts)
        self.at = 0

    def take(self, packing):
        self.fill(packing.size)
        value = packing.unpack_from(self.data, self.at)
        self.at += packing.size
        return value[0] if len(value) == 1 else value

    def skip(self, size):
        while size > 0:
            here = min(size, len(self.data) - self.at)
            if here == 0:
                self.fill(1)
                continue
            self.at += here
            size -= here

    def keep(self, size):
        """Account for memory that the header will hold. Raises HeaderError when it is more than any real header needs."""
        self._kept += size
        if self._kept > MAX_KEPT_BYTES:
            raise HeaderError(
                "the keys and values of the GGUF header take more than %d MiB; the file is damaged"
                % (MAX_KEPT_BYTES // 1048576)
            )

    def forget(self):
        """Begin to account anew: tensors are limited by their number."""
        self._kept = 0

    def text(self, limit, what, kept=None):
        """A text of at most `limit` bytes, of which the first `kept` are returned and the rest is walked over."""
        size = self.take(_U64)
        if size > limit:
            raise HeaderError(
                "%s of %d bytes in the GGUF header is longer than any real one; the file is damaged" % (what, size)
            )
        here = size if kept is None else min(size, kept)
        self.keep(here * CHARACTER_BYTES)
        self.fill(here)
        raw = self.data[self.at : self.at + here]
        self.at += here
        self.skip(size - here)
        return bytes(raw).decode("utf-8", "replace")

    def skip_texts(self, count):
        """Walk over `count` strings. This loop sees every token of a vocabulary: locals only, and no call for a string inside the window."""
        unpack, data, at = _U64.unpack_from, self.data, self.at
        end = len(data)
        for unused in range(count):
            if at + 8 > end:
                self.at = at
                self.fill(8)
                data, at, end = self.data, self.at, len(self.data)
            at += 8 + unpack(data, at)[0]
            if at > end:
                if at - end > MAX_VALUE_BYTES:
                    raise HeaderError(
                        "a string of more than %d bytes in the GGUF header; the file is damaged" % MAX_VALUE_BYTES
                    )
                self.at = end
                self.skip(at - end)
                data, at, end = self.data, self.at, len(self.data)
        self.at = at


def read_header(read, limit=64 * 1024 * 1024):
    """Header of the GGUF that `read(at least so many bytes)` hands out from its start; `limit`: bytes to look at, at most. Raises HeaderError."""
    window = _Window(read, limit)
    window.fill(8)
    magic = bytes(window.data[:4])
    window.at = 4
    if magic != b"GGUF":
        raise HeaderError("the file does not begin with GGUF (but with %r), so it is no GGUF model" % magic)
    version = window.take(_U32)
    if version > 65535:
        raise HeaderError("the GGUF file is big-endian, which Ollama cannot load; get the little-endian file")
    if version not in (2, 3):
        raise HeaderError("the GGUF file has version %d, but only 2 and 3 are known; convert it again" % version)
    tensor_count, key_count = window.take(_U64), window.take(_U64)
    if key_count > MAX_KEYS or tensor_count > MAX_TENSORS:
        raise HeaderError(
            "the GGUF header claims %d keys and %d tensors; the file is damaged" % (key_count, tensor_count)
        )
    keys, lengths = {}, {}
    for unused in range(key_count):
        key = window.text(MAX_KEY_BYTES, "a key")
        if key in keys or key in lengths:
            raise HeaderError("the GGUF header has the key %r twice; the file is damaged" % key[:80])
        window.keep(200)
        _read_value(window, key, keys, lengths)
    alignment = keys.get("general.alignment", 32)
    if isinstance(alignment, int) and (
        alignment <= 0 or alignment & (alignment - 1)
    ):  # llama.cpp does not load it either (gguf.cpp)
        raise HeaderError(
            "the GGUF header has an alignment (general.alignment) of %d, which is no power of two; the file is damaged"
            % alignment
        )
    window.forget()
    tensors = [_read_tensor(window) for unused in range(tensor_count)]
    check_names(tensors)
    return Header(version, keys, lengths, tensors, window.consumed)


def check_names(tensors):
    """Raise HeaderError if a tensor is there twice (llama.cpp does not load such a file either)."""
    names = set()
    for tensor in tensors:
        if tensor.name in names:
            raise HeaderError("the model has the tensor %r twice; the file is damaged" % tensor.name[:80])
        names.add(tensor.name)


def check_shape(name, shape):
    """Raise HeaderError if a tensor of this shape (elements a dimension) is none: empty, or more than can be counted."""
    elements = 1
    for dimension in shape:
        elements *= dimension
    if not 0 < elements < MAX_ELEMENTS or min(shape, default=1) < 0:
        raise HeaderError("the tensor %r has the impossible shape %.200s; the file is damaged" % (name[:80], shape))


def _read_value(window, key, keys, lengths):
    kind = window.take(_U32)
    if kind == _STRING:
        keys[key] = window.text(MAX_VALUE_BYTES, "the value of %r" % key[:80], MAX_KEPT_VALUE_BYTES)
    elif kind == _ARRAY:
        kind, count = window.take(_U32), window.take(_U64)
        lengths[key] = count
        values = _read_array(window, key, kind, count, 1)
        if values is not None:
            keys[key] = values
    elif kind in _KEY_TYPES:
        keys[key] = window.take(_KEY_TYPES[kind])
    else:
        raise HeaderError(
            "the key %r of the GGUF header has the unknown type %d; the file is damaged or newer than this collection"
            % (key[:80], kind)
        )


def _read_array(window, key, kind, count, depth):
    """Elements of a short array of numbers as a list; None where they were walked over."""
    if kind in _KEY_TYPES:
        packing = _KEY_TYPES[kind]
        if count > MAX_KEPT_ELEMENTS:
            window.skip(count * packing.size)  # a wrong count ends at the limit or at the end of the file
            return None
        window.keep(count * ELEMENT_BYTES)
        window.fill(count * packing.size)
        values = [value for (value,) in packing.iter_unpack(window.data[window.at : window.at + count * packing.size])]
        window.at += count * packing.size
        return values
    if kind == _STRING:
        window.skip_texts(count)
    elif kind == _ARRAY:
        if depth >= MAX_ARRAY_DEPTH:
            raise HeaderError(
                "the key %r of the GGUF header nests arrays more than %d deep; the file is damaged"
                % (key[:80], MAX_ARRAY_DEPTH)
            )
        for unused in range(count):
            window.nested += 1
            if window.nested > MAX_NESTED_ARRAYS:
                raise HeaderError(
                    "the GGUF header has more than %d arrays in arrays; the file is damaged" % MAX_NESTED_ARRAYS
                )
            inner, length = window.take(_U32), window.take(_U64)
            _read_array(window, key, inner, length, depth + 1)
    else:
        raise HeaderError(
            "the array %r of the GGUF header has the unknown type %d; the file is damaged or newer than this collection"
            % (key[:80], kind)
        )
    return None


def _read_tensor(window):
    name = window.text(MAX_TENSOR_NAME_BYTES, "a tensor name")
    dimensions = window.take(_U32)
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise HeaderError(
            "the tensor %r has %d dimensions, but GGUF allows 1 to %d; the file is damaged"
            % (name[:80], dimensions, MAX_DIMENSIONS)
        )
    shape = [window.take(_U64) for unused in range(dimensions)]
    kind, unused = window.take(_TENSOR_TAIL)
    check_shape(name, shape)
    type_name = TENSOR_TYPES[kind][0] if kind in TENSOR_TYPES else "type %d" % kind
    return Tensor(name, shape, type_name, tensor_bytes(shape, type_name))
