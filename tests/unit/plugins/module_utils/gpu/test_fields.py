# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A field that a GPU, driver or binding does not have costs only itself."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.gpu.fields import FieldError, Fields, Unavailable, call


class Binding:
    """A binding with some functions of NVML."""

    class NVMLError(Exception):
        def __init__(self, value):
            super().__init__("error %d" % value)
            self.value = value

    class NVMLLibraryMismatchError(Exception):
        pass

    def name(self, handle):
        return b"NVIDIA " + handle

    def unsupported(self):
        raise self.NVMLError(3)

    def not_in_the_driver(self):
        raise self.NVMLLibraryMismatchError()

    def forbidden(self):
        raise self.NVMLError(4)


def test_the_first_function_that_works_answers():
    assert call(Binding(), ("unknown", "name"), b"A6000") == b"NVIDIA A6000"
    with pytest.raises(Unavailable, match="unknown"):
        call(Binding(), ("unknown", "unsupported", "not_in_the_driver"))
    with pytest.raises(FieldError) as caught:
        call(Binding(), ("forbidden", "name"))
    assert (caught.value.code, caught.value.name) == (4, "error 4")


def test_what_cannot_be_read_is_collected():
    fields = Fields(Binding())
    assert fields.read("name", "name", b"A6000") == "NVIDIA A6000"
    assert fields.read("length", ("unknown", "name"), b"A6000", convert=len) == 12
    assert fields.read("old", "unsupported") is None and fields.read("new", "not_in_the_driver") is None
    assert fields.read("mode", "forbidden", convert=bool) is None
    assert fields.unsupported == ["old", "new"]
    assert fields.errors == {"mode": {"code": 4, "name": "error 4"}}
