# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Fingerprints of contents are equal where the contents are, also after a request was merged over them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama import model_content, modelfile
from ansible_collections.gpufleet.ollama.plugins.module_utils.ollama.fingerprint import fingerprint

BASE = {
    "from": ["sha256:" + "a" * 64],
    "adapters": [],
    "draft": "",
    "renderer": "",
    "parser": "",
    "requires": "",
    "architecture": "",
    "parameters": {"top_k": 40},
    "template": "{{ .Prompt }}",
    "system": "",
    "license": "x" * 20000,
    "messages": [{"role": "user", "content": "hi"}],
}


def request(**more):
    return dict(modelfile.empty_request(), **more)


def test_long_texts_become_digests():
    short = fingerprint(BASE)
    assert len(str(short)) < 500 and short["parameters"] == {"top_k": 40} and short["system"] == ""
    assert short["license"] != fingerprint(dict(BASE, license="x" * 20001))["license"]


@pytest.mark.parametrize(
    "wanted", [request(), request(parameters={"num_ctx": 1}), request(system="s"), request(template="t")]
)
def test_merging_fingerprints_is_the_fingerprint_of_merging(wanted):
    merged = model_content.desired(fingerprint(BASE), fingerprint(wanted))
    assert merged == fingerprint(model_content.desired(BASE, wanted))
