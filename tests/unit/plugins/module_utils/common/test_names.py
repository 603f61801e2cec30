# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import (
    InvalidName,
    normalise,
    normalise_digest,
    parse,
    registry_host,
    with_registry,
    with_suffix,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "text, short, path",
    [
        ("llama3", "llama3:latest", "registry.ollama.ai/library/llama3/latest"),
        ("llama4:16x17b", "llama4:16x17b", "registry.ollama.ai/library/llama4/16x17b"),
        ("me/mine:v1", "me/mine:v1", "registry.ollama.ai/me/mine/v1"),
        ("127.0.0.1:5001/library/tiny", "127.0.0.1:5001/library/tiny:latest", "127.0.0.1:5001/library/tiny/latest"),
        ("http://127.0.0.1:5001/library/tiny:v2", "127.0.0.1:5001/library/tiny:v2", "127.0.0.1:5001/library/tiny/v2"),
        ("hf.co/org/repo:Q4_K_M", "hf.co/org/repo:Q4_K_M", "hf.co/org/repo/Q4_K_M"),
    ],
)
def test_names_are_completed_as_ollama_does(text, short, path):
    assert str(parse(text)) == normalise(text) == short
    assert parse(text).manifest_path() == "manifests/" + path


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        5,
        "../x",
        "../../etc/passwd",
        "a/../b",
        "/etc/x",
        "a:{{7*7}}",
        "a b",
        "a\n",
        "a:b\n",
        "::bad::",
        "a:",
        ":x",
        "a//b",
        "a/b/c/d",
        "-x",
        ".x",
        "x:.y",
        "ns.dot/x",
        "x" * 81,
        "a\x00",
        "a@sha256:" + "1" * 64,
        "$(id)",
        "a;b",
        "ä",
    ],
)
def test_hostile_and_malformed_names_are_refused_in_one_sentence(text):
    with pytest.raises(InvalidName) as caught:
        parse(text)
    assert "\n" not in str(caught.value) and repr(text) in str(caught.value)


@given(st.text(alphabet="ab./:-_{}\n ", max_size=20))
def test_no_name_leaves_the_store(text):
    try:
        path = parse(text).manifest_path()
    except InvalidName:
        return
    parts = path.split("/")
    assert len(parts) == 5 and not any(part in ("", ".", "..") for part in parts)


def test_names_match_without_regard_to_case():
    assert parse("Llama3:8B").same(parse("llama3:8b"))
    assert not parse("llama3:8b").same(parse("llama3"))


def test_the_suffix_goes_to_the_end_of_the_tag():
    assert with_suffix("llama4:16x17b", "-optimized") == "llama4:16x17b-optimized"
    assert with_suffix("llama3", "-optimized") == "llama3:latest-optimized"
    for suffix in ("", "/x", ":x", "a b", None, "-" * 80):
        with pytest.raises(InvalidName):
            with_suffix("llama3", suffix)


def test_a_mirror_stands_in_for_the_default_registry_only():
    assert with_registry("llama3:8b", "mirror:5000") == "mirror:5000/library/llama3:8b"
    assert with_registry("llama3:8b", "http://mirror:5000/") == "mirror:5000/library/llama3:8b"
    assert with_registry("hf.co/a/b:c", "mirror:5000") == "hf.co/a/b:c"
    assert with_registry("llama3", None) == "llama3:latest"
    for registry in ("a b", "h:0", "h:99999", "h:x", "../x", "h/path"):
        with pytest.raises(InvalidName):
            registry_host(registry)


def test_digests():
    assert (
        normalise_digest("A" * 64)
        == normalise_digest("sha256:" + "a" * 64)
        == normalise_digest("sha256-" + "a" * 64)
        == "sha256:" + "a" * 64
    )
    for text in ("sha256:abc", "", None, "sha512:" + "a" * 64, "a" * 65, "a" * 64 + "\n"):
        with pytest.raises(InvalidName):
            normalise_digest(text)
