# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A header must list the tensors that fill its file."""

from __future__ import annotations

import io

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.extent import check_extent
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.gguf.header import HeaderError, read_header

from tests.rig.models import catalog


@pytest.mark.parametrize("name", list(catalog.MODELS))
def test_the_extent_of_every_model_of_the_rig_fits(name):
    header, size = catalog.header_of(name)
    stream = io.BytesIO(header)
    read = read_header(lambda count: stream.read(max(count, 1 << 20)))
    check_extent(read, size)
    for wrong in (size - size // 100, size + size // 50):
        with pytest.raises(HeaderError, match="serves another header"):
            check_extent(read, wrong)
    if name == "tiny:latest":  # the last tensor need not be padded
        last = read.tensors[-1]
        shorter = read._replace(tensors=read.tensors[:-1] + [last._replace(bytes=last.bytes - 4)])
        check_extent(shorter, size - 4)
        with pytest.raises(HeaderError, match="alignment"):
            check_extent(read._replace(keys=dict(read.keys, **{"general.alignment": 1 << 30})), size)
