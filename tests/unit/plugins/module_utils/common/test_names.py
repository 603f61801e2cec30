# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common.names import (
    InvalidName,
    draft_name,
    full_name,
    further_names,
    key_of,
    normalise_digest,
    optimized_name,
    parse,
    registry_host,
    served_name,
    with_registry,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.rig.ollama.double import names as double
from tests.rig.ollama.double.errors import ApiError


@pytest.mark.parametrize(
    "text, short, path",
    [
        ("llama3", "llama3:latest", "registry.ollama.ai/library/llama3/latest"),
        ("llama4:16x17b", "llama4:16x17b", "registry.ollama.ai/library/llama4/16x17b"),
        ("me/mine:v1", "me/mine:v1", "registry.ollama.ai/me/mine/v1"),
        ("127.0.0.1:5001/library/tiny", "127.0.0.1:5001/library/tiny:latest", "127.0.0.1:5001/library/tiny/latest"),
        ("http://127.0.0.1:5001/library/tiny:v2", "127.0.0.1:5001/library/tiny:v2", "127.0.0.1:5001/library/tiny/v2"),
        ("HTTPS://reg.example/me/x", "reg.example/me/x:latest", "reg.example/me/x/latest"),
        ("registry.ollama.ai/library/a", "a:latest", "registry.ollama.ai/library/a/latest"),
        ("a..b:v..1", "a..b:v..1", "registry.ollama.ai/library/a..b/v..1"),
        ("h.x/me/m", "h.x/me/m:latest", "h.x/me/m/latest"),
        ("h" * 350 + "/n/m", "h" * 350 + "/n/m:latest", "h" * 350 + "/n/m/latest"),
        ("hf.co/org/repo:Q4_K_M", "hf.co/org/repo:Q4_K_M", "hf.co/org/repo/Q4_K_M"),
    ],
)
def test_names_are_completed_as_ollama_does(text, short, path):
    assert str(parse(text)) == full_name(text) == short
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
        # A namespace has neither a dot nor a colon: with two parts, the first one is no host.
        "ns.dot/x",
        "localhost:5000/m",
        "http://llama3",
        "https://host/m",
        "ftp://host/n/m",
        "h" * 351 + "/n/m",
        "n" * 81 + "/m",
        "m:" + "t" * 81,
        "_/" + "-m",
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
    assert optimized_name("llama4:16x17b", "-optimized") == "llama4:16x17b-optimized"
    assert optimized_name("llama3", "-optimized") == "llama3:latest-optimized"
    for suffix in ("", "/x", ":x", "a b", None, "-" * 80):
        with pytest.raises(InvalidName):
            optimized_name("llama3", suffix)


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


@given(st.text(alphabet="aA1._-:/@ ", max_size=12), st.text(alphabet="a.:/", max_size=4))
def test_the_stand_in_of_the_server_takes_the_same_names(start, end):
    """The double was written from name.go by itself; it takes more of what begins like a URL."""
    text = start + end
    if "://" in text:
        return
    try:
        expected = double.parse(text).shortest
    except ApiError:
        expected = None
    try:
        found = full_name(text)
    except InvalidName:
        found = None
    assert found == expected


@pytest.mark.parametrize(
    "text, other, same",
    [
        ("llama3", "LLAMA3:Latest", True),
        ("library/llama3", "registry.ollama.ai/library/llama3:latest", True),
        ("someone/llama3", "llama3", False),
        ("h:5000/library/llama3", "llama3", False),
        ("llama3:8b", "llama3", False),
        ("not a name", "not a name", True),
        ("not a name", "llama3", False),
    ],
)
def test_two_texts_name_the_same_model(text, other, same):
    for one, two in ((text, other), (other, text)):
        assert (key_of(one) == key_of(two)) is same


@pytest.mark.parametrize(
    "model, name",
    [
        ({"name": "llama3"}, "llama3:latest"),
        ({"name": "llama3", "create_as": "llama3:latest-optimized"}, "llama3:latest-optimized"),
        ({"name": "h:5000/n/llama3", "create_as": None}, "h:5000/n/llama3:latest"),
        # The API does not show the parts that are the defaults.
        ({"name": "registry.ollama.ai/library/llama3"}, "llama3:latest"),
        ({"name": "not a name"}, "not a name"),
    ],
)
def test_a_model_is_served_under_the_name_that_the_api_shows(model, name):
    assert served_name(model) == name


def test_an_optimized_model_has_a_name_that_the_api_shows():
    assert optimized_name("registry.ollama.ai/library/llama3", "-x") == "llama3:latest-x"
    assert optimized_name("h:5000/n/llama3") == "h:5000/n/llama3:latest-optimized"


@pytest.mark.parametrize("call", [parse, registry_host, with_registry])
@pytest.mark.parametrize("text", ["user:MARK@host:5000/x/y", "https://MARK@host/x/y", "https://user:MARK@host"])
def test_no_message_tells_a_password(call, text):
    with pytest.raises(InvalidName) as caught:
        call(*(["tiny", text] if call is with_registry else [text]))
    assert "MARK" not in str(caught.value)


def test_a_registry_that_is_refused_is_told_without_a_token():
    with pytest.raises(InvalidName) as caught:
        registry_host("MARK@host:5000")
    assert "MARK" not in str(caught.value)


def test_a_draft_that_is_named_is_a_further_name():
    model = {"name": "tiny", "create_as": "tiny:latest-optimized", "draft": {"name": "Heads"}}
    assert further_names(model) == ["tiny:latest", "Heads:latest"] and draft_name(model) == "Heads"
    assert further_names(dict(model, draft=None)) == ["tiny:latest"]
