# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Which values are secret, and how what holds them is shown."""

from __future__ import annotations

import time
import types

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.common import secrets

HIDDEN = secrets.HIDDEN


@pytest.mark.parametrize(
    "name, value",
    [
        ("OLLAMA_API_KEY", "abc"),
        ("HF_TOKEN", "abc"),
        ("LLAMA_ARG_HF_TOKEN", "abc"),
        ("LLAMA_ARG_API_KEY_FILE", "/root/key"),
        ("OPENAI_KEY", "abc"),
        ("DB_PASSWORD", "abc"),
        ("PGPASSWORD", "abc"),
        ("MYSQL_PWD", "abc"),
        ("BASIC_AUTH", "abc"),
        ("OLLAMA_AUTH", "abc"),
        ("AWS_SECRET_ACCESS_KEY", "abc"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/root/x.json"),
        ("CUDA_LICENSE_TOKEN", "abc"),
        ("http_proxy", "http://user:word@proxy:3128"),
        ("HTTPS_PROXY", "http://user:pa/ss,wo)rd@proxy:3128"),
        ("HTTPS_PROXY", "user:word@proxy:3128"),
        ("HTTPS_PROXY", "http://token@proxy"),
        ("ALL_PROXY", "socks5://user:word@proxy"),
        ("OLLAMA_ORIGINS", "https://a.example,https://user:b@example"),
        ("OLLAMA_ORIGINS", "https://a.example/?key=abc"),
        # What nobody knows may be anything.
        ("MY_SETTING", "abc"),
        ("SOME_ENDPOINT", 5),
        ("OLLAMA_NEW_SETTING", "abc"),
        ("LLAMA_ARG_NEW_SETTING", "abc"),
        ("OLLAMA_HOST", HIDDEN),
    ],
)
def test_secret_values_are_hidden(name, value):
    assert secrets.is_secret(name, value) and secrets.shown(name, value) == HIDDEN


@pytest.mark.parametrize(
    "name, value",
    [
        ("OLLAMA_AUTH", "1"),
        ("OLLAMA_KEEP_ALIVE", "-1"),
        ("OLLAMA_HOST", "127.0.0.1:11434"),
        ("OLLAMA_MODELS", "/var/lib/x/instances/gpu0"),
        ("OLLAMA_ORIGINS", "https://a.example,https://*.example"),
        ("OLLAMA_CONTEXT_LENGTH", 8192),
        ("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2"),
        ("CUDA_LAUNCH_BLOCKING", True),
        ("GGML_CUDA_NO_PINNED", "1"),
        ("LLAMA_ARG_TENSOR_SPLIT", "1,1"),
        ("HTTPS_PROXY", "http://proxy:3128"),
        ("no_proxy", "localhost,.example"),
        ("PATH", "/usr/bin"),
        ("HF_TOKEN", None),
    ],
)
def test_the_rest_is_shown(name, value):
    assert secrets.shown(name, value) == value


def test_an_environment_is_shown_and_filled_again():
    true = {"OLLAMA_DEBUG": "1", "A_TOKEN": 12, "B": True, "HTTP_PROXY": "http://u:p@h"}
    shown = secrets.shown_environment(true)
    assert shown == {"OLLAMA_DEBUG": "1", "A_TOKEN": HIDDEN, "B": HIDDEN, "HTTP_PROXY": HIDDEN}
    assert secrets.shown_environment(shown) == shown
    assert secrets.hidden_names(shown) == sorted(secrets.secret_values(true)) == ["A_TOKEN", "B", "HTTP_PROXY"]
    assert secrets.filled(shown, true) == dict(true, A_TOKEN="12", B="1")
    with pytest.raises(ValueError, match="values of A_TOKEN, B are hidden in the plan"):
        secrets.filled(shown, {"HTTP_PROXY": "x", "B": None})


@pytest.mark.parametrize("instances", [None, "x", ["x"], [{"environment": "x"}], [{}]])
def test_a_damaged_plan_stays_as_it_is(instances):
    assert secrets.shown_plan({"instances": instances}) == {"instances": instances}


def test_a_plan_is_shown():
    plan = {"a": 1, "instances": [{"name": "gpu0", "environment": {"A_KEY": "x", "OLLAMA_DEBUG": "1"}}]}
    assert secrets.shown_plan(plan) == {
        "a": 1,
        "instances": [{"name": "gpu0", "environment": {"A_KEY": HIDDEN, "OLLAMA_DEBUG": "1"}}],
    }
    assert plan["instances"][0]["environment"]["A_KEY"] == "x"


@pytest.mark.parametrize(
    "address, shown",
    [
        ("https://mirror.example/v1", "https://mirror.example/v1"),
        ("https://user:word@mirror.example/v1", "https://***@mirror.example/v1"),
        ("https://token@mirror.example:8443/v1", "https://***@mirror.example:8443/v1"),
        ("https://user:wo/r@d@mirror.example/v1", "https://***@mirror.example/v1"),
        ("https://mirror.example/sums?sig=abc&x", "https://mirror.example/sums?***"),
        ("user:word@mirror.example", "***@mirror.example"),
        ("mirror.example:5000", "mirror.example:5000"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_credentials(address, shown):
    assert secrets.shown_address(address) == shown
    assert secrets.filled_address(shown, address) == address


def test_an_address_is_filled_with_the_credentials_of_its_directory():
    source = "https://user:word@mirror.example/v1"
    assert secrets.filled_address("https://***@mirror.example/v1/a.zst", source) == source + "/a.zst"
    assert (
        secrets.filled_address("https://other.example/a.zst", "https://other.example") == "https://other.example/a.zst"
    )


@pytest.mark.parametrize(
    "text, shown",
    [
        ("cannot read http://u:p@h:1/x: refused", "cannot read http://***@h:1/x: refused"),
        ("'https://u:p,q@h/x'", "'https://***@h/x'"),
        (
            "Max retries exceeded with url: /v2/x?token=abc (Caused by",
            "Max retries exceeded with url: /v2/x?*** (Caused by",
        ),
        ("see https://h/x?sig=abc.", "see https://h/x?***"),
        ("registry 'u:p@h:5000' is no host", "registry '***@h:5000' is no host"),
        ("llama4:16x17b@sha256:abc", "llama4:16x17b@sha256:abc"),
        ("is this a registry? Set x=y", "is this a registry? Set x=y"),
        ("unit ollama@gpu0.service: failed", "unit ollama@gpu0.service: failed"),
        ("Instance gpu0: ollama@gpu0.service", "Instance gpu0: ollama@gpu0.service"),
    ],
)
def test_a_text_is_shown_without_credentials(text, shown):
    assert secrets.without_credentials(text) == shown


def test_a_module_returns_no_options_that_are_not_logged():
    module = types.SimpleNamespace(
        params={"plan": {"a": "an"}, "empty": None, "url": "http://u:p@h", "models": [{"url": "http://u:p@h"}], "n": 1},
        argument_spec={"plan": {"no_log": True}, "empty": {"no_log": True}, "url": {}, "models": {}, "n": {}},
        no_log_values={"an"},
    )
    assert secrets.take_options(module)["plan"] == {"a": "an"}
    assert module.params == {
        "plan": secrets.NOT_LOGGED,
        "empty": None,
        "url": "http://***@h",
        "models": [{"url": "http://***@h"}],
        "n": 1,
    }
    assert module.no_log_values == set()


@pytest.mark.parametrize(
    "part", ["x", "/", "/?", "/(?", "/a?b", "http://", "a:", "+", ",", "a:a,", "a,b:c@", "://", "?=", "sha256:a@"]
)
def test_a_long_text_is_read_in_a_moment(part):
    """A host may answer any text; an expression that begins anew at each letter would take minutes."""
    text = part * 20000
    start = time.process_time()  # of this process: other programs do not count
    assert secrets.without_credentials(text) == secrets.without_credentials(secrets.without_credentials(text))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "text, shown",
    [
        ("GET /v2/a/b?c/d?e=f=g) failed", "GET /v2/a/b?***) failed"),
        ("at /a?=b and /a?b", "at /a?=b and /a?b"),
        ("a=u:p@h and (u:p@h) and x,u:p@[::1]", "a=***@h and ***@h) and ***@[::1]"),
        ("/u:p@h and a:b@sha256:c and u://p@h", "/u:p@h and a:b@sha256:c and u://***@h"),
        ("u:p@h@i:q@j", "***@h@***@j"),
    ],
)
def test_each_word_of_a_text_is_looked_at_once(text, shown):
    assert secrets.without_credentials(text) == shown
