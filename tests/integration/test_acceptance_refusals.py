# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""Wrong input and missing requirements give one clear message with the value and the remedy, and change nothing.

All cases are hosts of one run: inventory names with their own variables, most of them on the same rig host.
"""

from __future__ import annotations

import re

import pytest

from tests.integration.acceptance import SET, Site, gpu, on
from tests.rig.hosts import fleet
from tests.rig.hosts.podman import podman

pytestmark = pytest.mark.hosts

TAKEN_PORT = 5999
LISTENER = (
    "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', %d)); s.listen(); time.sleep(3600)" % TAKEN_PORT
)
BYTES = r"\b\d{10,} bytes\b"
OTHER_DIGEST = "sha256:" + "a" * 64


def tiny(**settings):
    """Variables of a host that serves the small model with these settings."""
    return {"ollama_multigpu_models": [{"name": "tiny", "insecure": True, **settings}]}


#: host: (variables, words of the message; a word may be a regular expression)
CASES = {
    "layers-as-gpus": (
        tiny(optimized={"parameters": {"num_gpu": 2}}),
        ["num_gpu 2", "layers, not of GPUs", "2 of its 9 layers", "allow_cpu_offload: true"],
    ),
    "unknown-tag": (tiny(name="tiny:nosuch"), ["no model tiny:nosuch", "check the name and the tag"]),
    "no-registry": (
        {**tiny(), "ollama_multigpu_registry": "127.0.0.1:9"},
        ["127.0.0.1:9", "connection refused", "mirror"],
    ),
    "wrong-pin": (tiny(digest=OTHER_DIGEST), [OTHER_DIGEST, "change the pin"]),
    "taken-port": (
        {**tiny(), "ollama_multigpu_base_port": TAKEN_PORT},
        [r"Port 5999\b", r"python3 \(pid \d+\)", "ollama_multigpu_base_port"],
    ),
    "high-port": ({**tiny(), "ollama_multigpu_base_port": 70000}, ["70000", "between 1 and 65535", "11434"]),
    "last-port": ({**tiny(), "ollama_multigpu_base_port": 65535}, ["65536", "lower base_port"]),
    "many-tokens": (tiny(context_length="many"), ["context_length", "'many'", "number of tokens"]),
    "headroom-in-words": (
        {**tiny(), "ollama_multigpu_headroom_bytes": "1 GiB"},
        ["ollama_multigpu_headroom_bytes", "1 GiB", "int"],
    ),
    "misspelt-variable": (
        {**tiny(), "ollama_multigpu_modles": []},
        ["ollama_multigpu_modles", "did you mean ollama_multigpu_models"],
    ),
    "misspelt-key": (tiny(kv_cache_typ="q8_0"), ["kv_cache_typ", "kv_cache_type"]),
    "unknown-gpu": (
        {**tiny(), "ollama_multigpu_gpus": ["GPU-nope"]},
        ["'GPU-nope'", "index, UUID or PCI address", "0000:01:00.0", "0000:41:00.0"],
    ),
    "path-as-name": (tiny(name="../x"), [r"'\.\./x'", "a name looks like"]),
    "template-as-name": (tiny(name="!unsafe a:{{7*7}}"), [r"'a:\{\{7\*7\}\}'", "a name looks like"]),
    "scalar-as-mapping": (
        tiny(optimized=True),
        ["optimized of model tiny is true", "give a mapping with suffix, parameters, system, template"],
    ),
    "misspelt-part": (
        tiny(optimized={"parameter": {}}),
        ["optimized of model tiny has the unknown key parameter: did you mean parameters?"],
    ),
    "address-of-another": (
        {**tiny(), "ollama_multigpu_listen_address": "192.0.2.7", "ollama_multigpu_acknowledged": ["listen_address"]},
        ["192.0.2.7", "no address of address-of-another", "0.0.0.0"],
    ),
    "open-to-everybody": (
        {**tiny(), "ollama_multigpu_listen_address": "192.0.2.7"},
        ["which has no authentication", "name the clients", "ollama_multigpu_allow_from"],
    ),
    "library-of-others": (
        {**tiny(), "ollama_multigpu_environment": {"LD_PRELOAD": "/tmp/x.so"}},
        ["LD_PRELOAD", "remove it"],
    ),
    "newline": (
        {**tiny(), "ollama_multigpu_environment": {"GREETING": "one\ntwo"}},
        ["GREETING", "newline", "remove it"],
    ),
    "too-long": (
        {
            "ollama_multigpu_models": [
                {"name": "llama3.1:8b", "context_length": 131072, "parallel": 4, "insecure": True}
            ]
        },
        [
            BYTES,
            r"context_length: at most \d+ tokens fit",
            "kv_cache_type: q8_0",
            "more GPUs",
            "allow_cpu_offload: true",
        ],
    ),
    "too-heavy": (
        {"ollama_multigpu_models": [{"name": "llama4:16x17b", "insecure": True}]},
        [BYTES, "quantization", "more GPUs", "allow_cpu_offload: true"],
    ),
    "no-library": ({**tiny(), "ansible_host": fleet.container_name(SET, "bare")}, ["libnvidia-ml.so.1", "driver"]),
    "mismatch": (
        {**tiny(), "ansible_host": fleet.container_name(SET, "upgraded")},
        ["different versions", "Reboot the host"],
    ),
    "old-release": ({**tiny(), "ollama_multigpu_version": "0.32.9"}, [r"0\.32\.9", r"0\.32\.10", "share a digest"]),
    "bad-sum": (
        {**tiny(), "ansible_host": fleet.container_name(SET, "fresh"), "ollama_multigpu_release_checksum": "b" * 64},
        ["checksum", "b" * 64, "ollama_multigpu_release_checksum"],
    ),
}
HOSTS = ("plain", "bare", "upgraded", "fresh")


@pytest.fixture(name="outcome", scope="module")
def _outcome(podman_hosts, collections, tmp_path_factory):
    """One run of the site playbook on hosts that all have a fault."""
    site = Site(collections, tmp_path_factory.mktemp("acceptance-refusals"))
    fleet.up(
        SET,
        {"plain": "rtx-4090-x2", "bare": "none", "upgraded": "rtx-4090-x2", "fresh": "rtx-4090-x2"},
        say=lambda text: None,
    )
    try:
        fleet.serve(SET, say=lambda text: None)
        gpu("upgraded", "set", "fault.nvmlInit", "18")
        podman("exec", "-d", fleet.container_name(SET, "plain"), "python3", "-c", LISTENER)
        site.inventory(
            {
                name: {"ansible_host": fleet.container_name(SET, "plain"), **variables}
                for name, (variables, unused) in CASES.items()
            }
        )
        with site.untouched(*HOSTS):
            outcome = site.play("site", expect=2)
        assert on("fresh", "sh", "-c", "ls -d /usr/local/lib/ollama* /etc/ollama* 2>/dev/null; true") == ""
        yield outcome
    finally:
        fleet.down(SET)


@pytest.mark.parametrize("host", sorted(CASES))
def test_refused_with_one_clear_sentence(outcome, host):
    messages = outcome.failures.get(host)
    assert messages, "%s was not refused" % host
    message = messages[-1]
    for word in CASES[host][1]:
        assert re.search(word, message), "%r says nothing of %r" % (message, word)
    assert len(message) < 1200 and "{'" not in message, message
    # A host whose variables are refused is never reached and has no count.
    assert outcome.counts.get(host, {"changed": 0})["changed"] == 0


def test_nothing_else_went_wrong(outcome):
    assert set(outcome.failures) == set(CASES)
    assert not [
        message for messages in outcome.failures.values() for message in messages if "MODULE FAILURE" in message
    ]
