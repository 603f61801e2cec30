# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Compare the tensors that a GGUF header lists with the size of its file. Pure.

Layout (llama.cpp ggml/src/gguf.cpp, gguf_init_from_file): the data section begins at the next multiple of
general.alignment (32 by default) after the header; the tensors follow one another there in the order of the header,
each at a multiple of the alignment. llama.cpp (gguf_writer_base::write_tensor_data, and gguf-py) pads the last tensor
too, Ollama (fs/ggml/gguf.go) does not. Nothing else follows. llama.cpp refuses a tensor that begins elsewhere.
"""

from __future__ import annotations

from .header import Header, HeaderError

DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 65536  # real files have 32, some 64; a huge one would hide any difference


def check_complete(header: Header, size_bytes: int) -> None:
    """Raise HeaderError where a file ends before its tensors do; llama.cpp does not load it either.

    Args:
        header: of the file.
        size_bytes: size of the file.
    """
    end = _ends(header)[0]
    if end > size_bytes:
        raise HeaderError(
            "the file has %d bytes, %d fewer than its header and tensors take; it is cut off, so get it again"
            % (size_bytes, end - size_bytes)
        )


def check_extent(header: Header, size_bytes: int) -> None:
    """Raise HeaderError unless header and tensors fill a file exactly, with or without the padding of the last tensor.

    A header that lists more or less than its file holds was exchanged or is damaged, and a plan made from it is wrong.

    Args:
        header: of the file.
        size_bytes: size of the file by its manifest.
    """
    ends = _ends(header)
    if size_bytes not in ends:
        raise HeaderError(
            "the GGUF header lists %d bytes of header and tensors, but its manifest says that the file has %d; the "
            "registry serves another header than that of the model, so use another registry" % (ends[0], size_bytes)
        )


def _ends(header: Header) -> tuple[int, int]:
    """Return where the last tensor ends and where its padding ends, in bytes from the start of the file.

    A tensor of an unknown type counts nothing: model_facts refuses it, and says which type is unknown.

    Raises:
        HeaderError: a tensor does not begin where the one before it ends, or the alignment is none.
    """
    alignment = header.keys.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= MAX_ALIGNMENT:
        raise HeaderError(
            "the GGUF header has an alignment (general.alignment) of %.40r, but no model has more than %d; "
            "the file is damaged" % (alignment, MAX_ALIGNMENT)
        )
    data = _aligned(header.size_bytes, alignment)
    end, padded, known = header.size_bytes, data, True
    for tensor in header.tensors:
        if known and tensor.offset not in (None, padded - data):
            raise HeaderError(
                "the tensor %r begins at byte %d of the data by the GGUF header, but at byte %d by the tensors before "
                "it; the file is damaged, so get it again" % (tensor.name[:80], tensor.offset, padded - data)
            )
        known = known and tensor.bytes is not None
        end = padded + (tensor.bytes or 0)
        padded = _aligned(end, alignment)
    return end, padded


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
