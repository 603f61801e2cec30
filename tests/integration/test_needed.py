# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""A test that cannot run says so and why; in CI it fails."""

from __future__ import annotations

import contextlib

import pytest

from tests.integration import gateway_front, grafana, needed, prometheus, test_endpoints_clients
from tests.integration.needed import not_run, setup

FETCH = "the Debian package %s could not be fetched"
#: A skip that a test does not expect would skip this test, and it would not fail.
ENDS = (pytest.fail.Exception, pytest.skip.Exception)


@pytest.mark.parametrize("ci", ["true", "1", "True"])
def test_a_test_that_ci_cannot_run_fails(monkeypatch, ci):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ENDS, match="^NOT RUN, and CI has to run it: no disk$") as ended:
        not_run("no disk")
    assert ended.type is pytest.fail.Exception


@pytest.mark.parametrize("ci", [None, "", "false"])
def test_elsewhere_it_is_skipped(monkeypatch, ci):
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    with pytest.raises(ENDS, match="^NOT RUN: no disk$") as ended:
        not_run("no disk")
    assert ended.type is pytest.skip.Exception


def haproxy(tmp_path):
    with gateway_front.running(tmp_path, {}):
        pass


def hosts(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        needed.podman_hosts()


NEEDED = {
    "podman is missing": hosts,
    "nginx is missing: " + FETCH % "nginx": lambda tmp_path: test_endpoints_clients.nginx_program(),
    "promtool is missing: " + FETCH % "prometheus": lambda tmp_path: prometheus.program("promtool"),
    "haproxy is missing": haproxy,
    "grafana-foundation-sdk==[^ ]* cannot be fetched: ": lambda tmp_path: grafana.wheel(),
}


@pytest.mark.parametrize("why", NEEDED)
@pytest.mark.parametrize("ci", ["true", ""])
def test_what_cannot_be_had_is_told(monkeypatch, tmp_path, why, ci):
    def unpacked(packages):
        raise setup.SetupError(FETCH % next(iter(packages), None))

    monkeypatch.setattr(setup, "unpacked", unpacked)
    monkeypatch.setattr(gateway_front, "HAPROXY", None)
    monkeypatch.setattr(grafana, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(grafana, "locked", lambda name: contextlib.nullcontext())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ENDS, match="NOT RUN.*: " + why) as ended:
        NEEDED[why](tmp_path)
    assert ended.type is (pytest.fail.Exception if ci else pytest.skip.Exception)
