# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The certificate of a gateway."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.certificate import certificate
from ansible_collections.gpufleet.ollama.plugins.plugin_utils.gateway.shapes import GatewayError

from tests.unit.plugins.plugin_utils.gateway.builders import settings

PEM = "-----BEGIN %s-----\nAAAA\n-----END %s-----\n"
GIVEN = {"certificate": PEM % ("CERTIFICATE", "CERTIFICATE"), "certificate_key": PEM % ("PRIVATE KEY", "PRIVATE KEY")}


def made(shared_ip=None, **given):
    """One that the host makes."""
    return certificate(settings(tls="self_signed", **given), {}, shared_ip)


def test_a_host_makes_one_for_all_its_names():
    assert made().names == "DNS:a,DNS:localhost,IP:192.0.2.1,IP:127.0.0.1"
    assert made(host="192.0.2.9", address="front", listen_address="0.0.0.0").names == (
        "DNS:front,DNS:localhost,IP:192.0.2.9"
    )


def test_the_name_of_the_host_is_in_it_whatever_the_dns_would_take():
    """The gateway of a fleet looks for this name."""
    assert made(host="GPU_1").names == "DNS:gpu_1,DNS:localhost,IP:192.0.2.1,IP:127.0.0.1"
    assert made(host_names=["llm_1"]).names.startswith("DNS:a,DNS:llm_1,DNS:localhost,")
    for host in ("gpu 1", "-f", "a,DNS:evil", ""):
        assert made(host=host).names.startswith("DNS:localhost,IP:"), host


def test_other_names_are_another_file():
    """So the host makes a certificate for them, and HAProxy is reloaded with it."""
    others = [made(), made("192.0.2.10"), made(host_names=["llm.example"]), made(listen_address="192.0.2.3")]
    assert len({one.path for one in others}) == len({one.names for one in others}) == len(others)
    assert made() == made(port=1, keys=[{"name": "x"}]) and made().path.startswith("/etc/ollama-gateway/self-signed-")


def test_a_given_one_stays_whatever_the_names_are():
    found = [certificate(settings(tls="given", host_names=names), GIVEN, None) for names in ([], ["llm.example"])]
    assert found[0] == found[1] and found[0].names == ""
    assert found[0].file.content == GIVEN["certificate"] + GIVEN["certificate_key"]
    with pytest.raises(GatewayError, match="has no PRIVATE KEY"):
        certificate(settings(tls="given"), {**GIVEN, "certificate_key": ""}, None)


def test_there_may_be_none():
    assert certificate(settings(), {}, None).path is None
