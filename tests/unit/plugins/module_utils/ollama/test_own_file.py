# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The manifest that a file of the user gets."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import manifest as media
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.own_file import OwnFile, parameters_in_words

OWN = OwnFile("file", "/m.gguf", "a" * 64, 674240, "llama", "8.0B", "Q4_K_M")


def test_the_manifest_has_the_file_as_it_is_and_a_configuration():
    manifest = OWN.manifest()
    assert [(layer.media_type, layer.digest, layer.size_bytes) for layer in manifest.layers] == [
        (media.MODEL, "sha256:" + "a" * 64, 674240)
    ]
    assert manifest.config.digest == "sha256:" + hashlib.sha256(OWN.config()).hexdigest()
    # What a plan pins says nothing of the place of the file.
    other = OwnFile.of(dict(OWN.told(), kind="url", where="https://example.com/m.gguf"))
    assert other.manifest().digest == manifest.digest
    assert OwnFile.of(dict(OWN.told(), sha256="B" * 64)).manifest().digest != manifest.digest


def test_a_plan_tells_it_and_it_is_read_again():
    assert OwnFile.of(OWN.told()) == OWN
    assert OwnFile.of(dict(OWN.told(), model_type=None, file_type=None)).model_type == ""


@pytest.mark.parametrize("change", [{"kind": "ftp"}, {"sha256": "x"}, {"size_bytes": "many"}])
def test_what_is_no_file(change):
    with pytest.raises(ValueError):
        OwnFile.of(dict(OWN.told(), **change))


@pytest.mark.parametrize(
    "count, words",
    [(8_030_261_312, "8.0B"), (330_000, "330.00K"), (494_032_768, "494.03M"), (12, "12"), (None, ""), (0, "")],
)
def test_parameters_in_words(count, words):
    assert parameters_in_words(count) == words
