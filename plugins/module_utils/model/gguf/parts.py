# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Put the headers of the parts of a split model together. Pure."""

from __future__ import annotations

from typing import Iterable

from .header import MAX_TENSORS, Header, HeaderError, Tensor, check_names, integer


def merge(headers: Iterable[Header], parts: int | None = None) -> Header:
    """Return one Header of the parts of a split model: the keys of the first and the tensors of all.

    llama.cpp writes into each part its number (`split.no`, from 0), their count (`split.count`) and the number of
    tensors of all (`split.tensors.count`).

    Args:
        headers: in order; an iterator is read part by part, and only one header is kept at a time.
        parts: how many there are; None where `headers` is a list.

    Raises:
        HeaderError: the parts do not belong together.
    """
    if parts is None:
        headers = list(headers)
        parts = len(headers)
    first: Header | None = None
    tensors: list[Tensor] = []
    size = 0
    for place, header in enumerate(headers):
        _check_part(header, place, parts)
        first = first or header
        tensors.extend(header.tensors)
        size += header.size_bytes
        if parts > 1 and len(tensors) > MAX_TENSORS:
            raise HeaderError("the parts of the model have %d tensors together; the files are damaged" % len(tensors))
    if first is None:
        raise HeaderError("the model has no parts")
    if parts == 1:
        return first
    check_names(tensors)
    total = integer(first.keys.get("split.tensors.count"))
    if total is not None and total != len(tensors):
        raise HeaderError("the parts of the model have %d of its %d tensors; get all parts" % (len(tensors), total))
    return Header(first.version, first.keys, first.lengths, tensors, size)


def _check_part(header: Header, place: int, parts: int) -> None:
    """Raise HeaderError where a header says that it is another part, or one of another number of parts."""
    count, number = integer(header.keys.get("split.count")), integer(header.keys.get("split.no"))
    if count is not None and count != parts and (count > 1 or parts > 1):
        raise HeaderError(
            "part %d of the model says that there are %d parts, but there are %d; get all parts, "
            "named -00001-of-%05d.gguf and so on" % (place + 1, count, parts, max(count, 1) % 100000)
        )
    if parts > 1 and number is not None and number != place:
        raise HeaderError("part %d of the model says that it is part %d; get the parts again" % (place + 1, number + 1))
