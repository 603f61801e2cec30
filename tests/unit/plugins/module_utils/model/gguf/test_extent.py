# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A header must list the tensors that fill its file."""

from __future__ import annotations

import io

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.extent import check_complete, check_extent
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError, read_header

from tests.rig.models import catalog


def read(name):
    header, size = catalog.header_of(name)
    stream = io.BytesIO(header)
    return read_header(lambda count: stream.read(max(count, 1 << 20))), size


@pytest.mark.parametrize("name", list(catalog.MODELS))
def test_the_tensors_of_a_file_fill_it_to_the_byte(name):
    header, size = read(name)
    check_extent(header, size)
    check_complete(header, size)
    for wrong in (size - 32, size - 1, size + 1, size + 32):
        with pytest.raises(HeaderError, match="serves another header"):
            check_extent(header, wrong)


def test_a_file_that_ends_before_its_tensors_is_cut_off():
    header, size = read("tiny")
    check_complete(header, size + 1000)  # what follows the tensors takes no memory
    with pytest.raises(HeaderError, match="the file has 674140 bytes, 100 fewer than .* cut off, so get it again"):
        check_complete(header, size - 100)


def test_the_last_tensor_may_be_padded_or_not():
    """llama.cpp's writer pads it, that of Ollama does not; a size in between is neither's."""
    header, size = read("tiny")
    last = header.tensors[-1]
    shorter = header._replace(tensors=header.tensors[:-1] + [last._replace(bytes=last.bytes - 20)])
    for right in (size - 20, size):
        check_extent(shorter, right)
    for wrong in (size - 21, size - 19, size - 1, size + 1):
        with pytest.raises(HeaderError, match="serves another header"):
            check_extent(shorter, wrong)
    check_complete(shorter, size - 20)
    with pytest.raises(HeaderError, match="1 fewer"):
        check_complete(shorter, size - 21)


def test_an_alignment_that_would_hide_any_difference_is_refused():
    header, size = read("tiny")
    with pytest.raises(HeaderError, match="alignment"):
        check_extent(header._replace(keys=dict(header.keys, **{"general.alignment": 1 << 30})), size)


@pytest.mark.parametrize("moved", [2**34, -32, 32])
def test_a_tensor_that_begins_beyond_the_file_or_in_another_one_is_refused(moved):
    """llama-server of build 11669: "gguf_init_from_reader: failed to read tensor data"."""
    header, size = read("tiny")
    tensors = list(header.tensors)
    tensors[3] = tensors[3]._replace(offset=tensors[3].offset + moved)
    for check in (check_extent, check_complete):
        with pytest.raises(HeaderError, match="begins at byte %d of the data" % tensors[3].offset):
            check(header._replace(tensors=tensors), size)
        check(header._replace(tensors=[tensor._replace(offset=None) for tensor in tensors]), size)
    tensors[2] = tensors[2]._replace(bytes=None, type="type 99")
    with pytest.raises(HeaderError, match="fewer|another header"):
        check_extent(header._replace(tensors=tensors), size)
