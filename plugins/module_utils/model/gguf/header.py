# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Streaming reader of a GGUF header (versions 2 and 3, little-endian). Pure: a given function returns the next bytes.

Layout (llama.cpp docs/gguf.md): magic, u32 version, u64 tensors, u64 keys; each key is a string, u32 type, value; each
tensor is a string, u32 dimensions, u64 each, u32 type, u64 offset. The vocabulary (hundreds of thousands of strings)
comes before the tensors and is skipped; only short arrays of numbers are kept. Every count is checked before use.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Callable, NamedTuple, Sequence

from .types import TENSOR_TYPES, tensor_bytes

MAX_KEYS = 65536
MAX_TENSORS = 32768  # the largest models have some two thousand
MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
MAX_KEY_BYTES = 65535
MAX_VALUE_BYTES = 16 * 1024 * 1024  # a chat template is a few KiB
MAX_TENSOR_NAME_BYTES = 256  # GGML_MAX_NAME is 64 by default
MAX_KEPT_VALUE_BYTES = 65536
MAX_KEPT_BYTES = 8 * 1024 * 1024  # of all keys and values together, in memory
ELEMENT_BYTES = 40  # of a number in a Python list, at most
CHARACTER_BYTES = 4  # of a character in a Python text, at most
MAX_NESTED_ARRAYS = 65536  # no real header nests any
MAX_KEPT_ELEMENTS = 4096  # one number per layer; vocabularies are longer
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
    """The file is not a GGUF file that a plan can be made for. The text is one sentence."""


class Tensor(NamedTuple):
    """A tensor. `shape` has the elements per dimension, the row first; `bytes` is None for an unknown `type`.

    `offset` is where it begins in the data section; None where that was not read from a file.
    """

    name: str
    shape: Sequence[int]
    type: str
    bytes: int | None
    offset: int | None = None


class Header(NamedTuple):
    """A header. `keys` are scalars, texts and short lists; `lengths` are those of arrays.

    `size_bytes` is its own size, and `sha256` that of these bytes, hexadecimal; "" where it was not read from a file.
    """

    version: int
    keys: dict[str, Any]
    lengths: dict[str, int]
    tensors: list[Tensor]
    size_bytes: int
    sha256: str = ""


class _Window:
    """The bytes that are not yet consumed: one chunk, or the longest item. `read(size)` returns more."""

    def __init__(self, read: Callable[[int], bytes], limit: int) -> None:
        self._read = read
        self._limit = limit
        self._came = 0
        self._kept = 0
        self._hash = hashlib.sha256()
        self.nested = 0
        self.data = b""
        self.at = 0

    @property
    def consumed(self) -> int:
        """Bytes up to the current position."""
        return self._came - len(self.data) + self.at

    def fill(self, size: int) -> None:
        """Make `size` bytes available from `at`. Raises HeaderError when the file or the limit ends first."""
        if len(self.data) - self.at >= size:
            return
        self._hash.update(self.data[: self.at])
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

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes up to the current position, hexadecimal."""
        found = self._hash.copy()
        found.update(self.data[: self.at])
        return found.hexdigest()

    def take(self, packing: struct.Struct) -> Any:
        """Return the next value, or a tuple of several."""
        self.fill(packing.size)
        value = packing.unpack_from(self.data, self.at)
        self.at += packing.size
        return value[0] if len(value) == 1 else value

    def skip(self, size: int) -> None:
        """Move on without keeping the bytes."""
        while size > 0:
            here = min(size, len(self.data) - self.at)
            if here == 0:
                self.fill(1)
                continue
            self.at += here
            size -= here

    def keep(self, size: int) -> None:
        """Count memory that the header will hold. Raises HeaderError when it is more than any real header needs."""
        self._kept += size
        if self._kept > MAX_KEPT_BYTES:
            raise HeaderError(
                "the keys and values of the GGUF header take more than %d MiB; the file is damaged"
                % (MAX_KEPT_BYTES // 1048576)
            )

    def forget(self) -> None:
        """Start to count from 0 again: tensors are limited by their number."""
        self._kept = 0

    def text(self, limit: int, what: str, kept: int | None = None) -> str:
        """Return a text of at most `limit` bytes, or its first `kept` bytes; the rest is skipped."""
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

    def skip_texts(self, count: int) -> None:
        """Skip `count` strings.

        The loop runs for every token of a vocabulary, so it has local variables only and no calls inside the window.
        """
        unpack, data, at = _U64.unpack_from, self.data, self.at
        end = len(data)
        for _text in range(count):
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


def read_header(read: Callable[[int], bytes], limit: int = 64 * 1024 * 1024) -> Header:
    """Return the header of a GGUF file.

    Args:
        read: returns the next bytes of the file, at least as many as asked for except at the end.
        limit: the most bytes to read.

    Raises:
        HeaderError: the file is no GGUF file, or is damaged.
    """
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
    keys: dict[str, Any] = {}
    lengths: dict[str, int] = {}
    for _key in range(key_count):
        key = window.text(MAX_KEY_BYTES, "a key")
        if key in keys or key in lengths:
            raise HeaderError("the GGUF header has the key %r twice; the file is damaged" % key[:80])
        window.keep(200)
        _read_value(window, key, keys, lengths)
    alignment = keys.get("general.alignment", 32)
    # llama.cpp does not load a file with another alignment either (gguf.cpp).
    if isinstance(alignment, int) and (alignment <= 0 or alignment & (alignment - 1)):
        raise HeaderError(
            "the GGUF header has an alignment (general.alignment) of %d, which is no power of two; the file is damaged"
            % alignment
        )
    window.forget()
    tensors = [_read_tensor(window) for _tensor in range(tensor_count)]
    check_names(tensors)
    return Header(version, keys, lengths, tensors, window.consumed, window.sha256())


def integer(value: Any) -> int | None:
    """Return a value if it is an integer, otherwise None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def check_names(tensors: Sequence[Tensor]) -> None:
    """Raise HeaderError if two tensors have the same name (llama.cpp does not load such a file either)."""
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            raise HeaderError("the model has the tensor %r twice; the file is damaged" % tensor.name[:80])
        names.add(tensor.name)


def check_shape(name: str, shape: Sequence[int]) -> None:
    """Raise HeaderError if the shape (elements per dimension) of a tensor is empty, or too large to count."""
    elements = 1
    for dimension in shape:
        elements *= dimension
    if not 0 < elements < MAX_ELEMENTS or min(shape, default=1) < 0:
        raise HeaderError("the tensor %r has the impossible shape %.200s; the file is damaged" % (name[:80], shape))


def _read_value(window: _Window, key: str, keys: dict[str, Any], lengths: dict[str, int]) -> None:
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


def _read_array(window: _Window, key: str, kind: int, count: int, depth: int) -> list[Any] | None:
    """Return the elements of a short array of numbers; None for another array, which is skipped."""
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
        for _array in range(count):
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


def _read_tensor(window: _Window) -> Tensor:
    name = window.text(MAX_TENSOR_NAME_BYTES, "a tensor name")
    dimensions = window.take(_U32)
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise HeaderError(
            "the tensor %r has %d dimensions, but GGUF allows 1 to %d; the file is damaged"
            % (name[:80], dimensions, MAX_DIMENSIONS)
        )
    shape = [window.take(_U64) for _dimension in range(dimensions)]
    kind, offset = window.take(_TENSOR_TAIL)
    check_shape(name, shape)
    type_name = TENSOR_TYPES[kind][0] if kind in TENSOR_TYPES else "type %d" % kind
    return Tensor(name, shape, type_name, tensor_bytes(shape, type_name), offset)
