# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: The gpufleet.ollama contributors
"""The peers' formulas on figures worked out by hand from their sources; errors and limits of the bench."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib

import pytest
from ansible_collections.gpufleet.ollama.plugins.module_utils.model.schema import Layer, ModelFacts

from tests.bench import gateway, memory, opening, peers
from tests.bench.report import Limits, spread
from tests.browser import chromium
from tests.rig.settings import RigError

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
ROW = {"n_ctx": 8192, "n_parallel": 1, "n_ubatch": 512, "flash_attn": "on", "cache_type": "f16"}
MODEL = ModelFacts(  # the figures of llama3.1:8b, its layers alike
    architecture="llama",
    block_count=32,
    embedding_length=4096,
    head_count=[32] * 32,
    head_count_kv=[8] * 32,
    vocab_size=128256,
    key_length=128,
    value_length=128,
    file_bytes=4692 * MIB,
    output_bytes=411 * MIB,
    tied_embeddings=False,
    embedding_bytes=281 * MIB,
    layers=[Layer(weight_bytes=125 * MIB)] * 32,
)


def test_the_pre_check_is_the_file_and_an_f16_cache():
    assert peers.pre_check(MODEL, dict(ROW, cache_type="q4_0")) == {
        "weights": 4692,
        "KV cache": 1024,
        "total": 5716,
    }  # 2 * 32 * 8 * 128 * 8192 * 2 bytes


def test_the_pre_check_counts_one_head_where_a_layer_has_none():
    hybrid = dataclasses.replace(MODEL, head_count_kv=[0, 8] * 16)
    assert peers.pre_check(hybrid, ROW)["KV cache"] == 128
    assert (
        peers.pre_check(dataclasses.replace(MODEL, head_count=[0] * 32, head_count_kv=[0] * 32), ROW)["KV cache"] == 0
    )


def test_0_11_4_counts_graph_and_a_layer_in_reserve():
    found = peers.ollama_0_11_4(MODEL, ROW)
    graph = 4 * 512 * (1 + 4 * 4096 + 8192 * 33) / MIB  # the larger of the two terms of "llama"
    assert (found["weights"], found["KV cache"], found["compute"]) == (32 * 125 + 411, 1024, pytest.approx(graph))
    assert found["total"] == pytest.approx(32 * 125 + 411 + 1024 + graph + 125 + 1024 / 32)
    assert peers.ollama_0_11_4(MODEL, dict(ROW, cache_type="q8_0"))["KV cache"] == 512
    assert peers.ollama_0_11_4(MODEL, dict(ROW, cache_type="q8_0", flash_attn="off"))["KV cache"] == 1024


def test_the_regression_is_the_published_one():
    def published(context, bits, beside):
        return (4692 / 32 - 17.99552795246051 + 3.148552680382576e-05 * 8 * bits * context) * (
            32 + beside
        ) + 1516.522943869404

    # 50.778 * 4096 / 8192 = 25.4; * 4096 / 65536 = 3.2: 16 bits less 3 and 9.99 is more than the least
    assert peers.regression(MODEL, ROW)["total"] == pytest.approx(published(8192, 16, 0.9690636483914102) - 300)
    assert peers.regression(MODEL, dict(ROW, n_ctx=65536))["total"] == pytest.approx(
        published(65536, 16, 16 - 12.987899908205632) - 300
    )
    assert peers.regression(MODEL, dict(ROW, cache_type="q4_0"))["total"] == pytest.approx(
        published(8192, 4, 0.9690636483914102) - 300
    )


def test_errors_lose_their_sign_and_missing_parts_are_left_out():
    assert spread([-3, 1, 2]) == (2, 3, 3) and spread([]) is None
    errors = memory.Errors()
    errors.add({"total": 90}, {"total": 100, "compute": 5})
    errors.add({"total": 104, "compute": 4}, {"total": 100, "compute": 5})
    assert (
        errors.mib("total") == (7, 10, 10) and errors.cent("compute") == (20, 20, 20) and errors.mib("weights") is None
    )


def test_a_missed_limit_is_said_and_remembered(capsys):
    limits = Limits()
    limits.hold("one", "1", "at most 2", True)
    assert limits.show()
    limits.hold("three", "3", "at most 2", False)
    assert not limits.show() and "MISSED three" in capsys.readouterr().out


def test_the_guide_says_which_limits_the_gateway_has():
    words = (
        "with %s streams, the time to the first byte is more than %.2f times that of direct access, or the requests "
        "per second are less than %.2f times."
    )
    streams = " or ".join(map(str, gateway.HELD_STREAMS))
    guide = " ".join((CHECKOUT / "docs" / "docsite" / "rst" / "gateway.rst").read_text(encoding="utf-8").split())
    assert words % (streams, gateway.MOST_LATER, gateway.LEAST_THROUGHPUT) in guide
    (like_a_model, *others) = gateway.KINDS
    assert like_a_model[1:] == ({"num_predict": 20, "rig_silence": 0.05, "rig_pause": 0.005}, True)
    assert [kind[2] for kind in others] == [False]
    assert "silent for 50 ms and then sends 20 words, one every 5 ms" in guide


class Browser:
    """A browser in which a page takes as many seconds as it has open hosts, or `all_open` if that is given."""

    def __init__(self, directory, all_open=None):
        self.directory, self.all_open = directory, all_open

    def turn_to(self, name):
        hosts = (self.directory / name).read_text(encoding="utf-8").count("<details open>")
        return 1.0 if hosts <= 1 else self.all_open or float(hosts)


@pytest.mark.parametrize(("all_open", "met"), [(None, True), (1.9, False)])
def test_a_report_that_opens_no_faster_than_with_all_hosts_open_is_a_miss(monkeypatch, tmp_path, all_open, met):
    monkeypatch.setattr(opening, "FLEETS", {"2 hosts": 2, opening.FEW: 2, opening.MANY: 3})
    monkeypatch.setattr(chromium, "ensure", lambda: None)
    monkeypatch.setattr(
        chromium, "opened", lambda page: contextlib.nullcontext(Browser(page.parent, all_open=all_open))
    )
    limits = Limits()
    opening.measure(tmp_path, limits)
    _made, (what, _value, limit, is_met, _detail) = limits.lines
    assert (what, limit, is_met) == ("1,000 hosts / the same all open, opened", "at most 0.50", met)


def test_without_chromium_the_report_is_made_and_not_opened(monkeypatch, tmp_path, capsys):
    def missing():
        raise RigError("podman is missing")

    monkeypatch.setattr(opening, "FLEETS", {"2 hosts": 2, opening.FEW: 2, opening.MANY: 3})
    monkeypatch.setattr(chromium, "ensure", missing)
    limits = Limits()
    opening.measure(tmp_path, limits)
    assert [line[0] for line in limits.lines] == ["report of 1,000 hosts / of 100, made"]
    assert "how fast it opens is not measured: podman is missing" in capsys.readouterr().out


def test_the_guide_says_which_limit_the_opening_has():
    guide = " ".join((CHECKOUT / "docs" / "docsite" / "rst" / "report.rst").read_text(encoding="utf-8").split())
    assert "takes more than %.2f times as long as with all hosts open." % opening.MOST_OF_OPEN in guide
